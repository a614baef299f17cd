"""What the page says: lengths, plans, progress, warnings and errors in plain words. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.serve.ui.recalling import Recalled

Json = Mapping[str, Any]

STAGES = {
    "fetch": "Reading your files",
    "probe": "Looking at the portrait",
    "plan": "Planning",
    "prepare": "Listening to the speech",
    "render": "Making the video",
    "assemble": "Putting picture and sound together",
    "check": "Checking the video",
    "store": "Saving the video",
}
STATUSES = {
    "IN_QUEUE": "Waiting",
    "IN_PROGRESS": "Running",
    "COMPLETED": "Done",
    "FAILED": "Failed",
    "CANCELLED": "Cancelled",
    "TIMED_OUT": "Took too long",
}
TITLES = {
    Code.INPUT: "Something in the form needs a change",
    Code.DOWNLOAD: "A link could not be read",
    Code.MEDIA: "This file cannot be used",
    Code.NO_FACE: "No usable face in the picture",
    Code.AUDIO: "No speech in the recording",
    Code.WEIGHTS: "The engine is not ready",
    Code.OOM: "Not enough memory",
    Code.GENERATION: "The engine failed",
    Code.ENCODE: "The video could not be written",
    Code.STORE: "The result could not be saved",
    Code.TIMEOUT: "It took too long",
    Code.CANCELLED: "Cancelled",
    Code.CAPACITY: "The server is not available just now",
    Code.UNSUPPORTED: "This is not possible here",
    Code.INTERNAL: "Something broke",
}
PLACES = {
    "portrait": "Portrait",
    "video": "Source video",
    "source": "Portrait",
    "audio": "Recording",
    "text": "Text",
    "voice": "Voice",
    "box": "Face",
    "engine": "Engine",
    "size": "Size",
    "quality": "Quality",
    "fps": "Frames per second",
    "seed": "Seed",
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "turns": "Turns",
    "speakers": "Speech",
    "steps": "Steps",
}
SLOTS = {
    "portrait": "The portrait",
    "video": "The source video",
    "first": "The recording",
    "second": "The recording of speaker 2",
}
GRADES = {"good": "good", "fair": "fair", "poor": "poor"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """An error as the page shows it."""

    title: str
    what: str
    hint: str
    places: tuple[str, ...]  # names of the form's fields
    retryable: bool
    code: str


def trouble(error: TalkheadError) -> Trouble:
    """Return an error in words."""
    places = dict.fromkeys(place(path) for path in error.fields)
    what = _sentence(error.message)
    return Trouble(
        TITLES[error.code],
        what,
        _sentence(error.hint),
        tuple(places),
        error.retryable,
        error.code.value,
    )


def place(path: str) -> str:
    """Return the form's name of a field such as speakers.1.audio."""
    parts = path.split(".")
    name = PLACES.get(parts[-1], parts[-1].replace("_", " ").capitalize())
    if parts[0] == "speakers" and len(parts) > 1 and parts[1].isdigit():
        speaker = f"speaker {int(parts[1]) + 1}"
        return f"{name} of {speaker}" if len(parts) > 2 else speaker.capitalize()
    return name


def duration(seconds: float) -> str:
    """Return seconds as people say them: 7 s, 1 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(count: float) -> str:
    """Return bytes as people say them."""
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    if count < 1e9:
        return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB"


def cost(seconds: float, price: float | None) -> str:
    """Return what so many seconds cost at a price per hour; empty without a price."""
    if not price or price <= 0:
        return ""
    return _amount(seconds / 3600 * price)


def spent(cost: Json | None) -> str:
    """Return what a result cost; empty where the operator has set no price."""
    if not cost:
        return ""
    amount = _amount(float(cost["amount"]))
    return f"{amount}, spent earlier" if cost.get("repeated") else amount


def _amount(amount: float) -> str:
    return "less than 0.01" if 0 < amount < 0.01 else f"{amount:.2f}"


def plan(found: Json, price: float | None, operators: Json | None = None) -> list[tuple[str, str]]:
    """Return a plan as pairs of a name and what is planned.

    What it costs is by the user's own price, else what the operator's comes to.
    """
    about = "about " if found.get("estimated") else ""
    work = float(found.get("estimated_seconds") or 0)
    pairs = [
        ("Length", about + duration(float(found["seconds"]))),
        ("Picture", f"{found['width']} × {found['height']}, {_rate(found['fps'])} a second"),
        ("Time", f"about {duration(work)}"),
        ("Memory", size(1e6 * float(found.get("estimated_memory_mb") or 0))),
        ("Engine", str(found["engine"])),
    ]
    if price_of := cost(work, price) or spent(operators):
        pairs.insert(3, ("Cost", price_of))
    return pairs


def _rate(fps: str) -> str:
    over, _, under = str(fps).partition("/")
    rate = float(over) / float(under or 1)
    return f"{rate:.2f}".rstrip("0").rstrip(".") + " frames"


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a job is, in words."""

    stage: str
    percent: float
    detail: str  # window, time left, position
    windows: int  # that are committed

    @property
    def spoken(self) -> str:
        """Return what a screen reader says: it changes a few times in a job, not each second."""
        tens = 10 * int(self.percent // 10)
        return f"{self.stage}, {tens} percent" if self.percent else self.stage


def moment(body: Json) -> Moment:
    """Return the progress in a status body of a job that has not ended."""
    if body.get("status") == "IN_QUEUE":
        position = body.get("position")
        ahead = f"Number {position} in the queue" if position else "In the queue"
        return Moment("Waiting for its turn", 0.0, ahead, 0)
    output = body.get("output")
    said: Json = output if isinstance(output, Mapping) else {}
    stage = STAGES.get(str(said.get("stage")), "Starting")
    windows, done = int(said.get("windows") or 0), int(said.get("window") or 0)
    parts = []
    if windows:
        parts.append(f"Window {min(done + 1, windows)} of {windows}")
    if (left := said.get("eta_s")) is not None:
        parts.append(f"about {duration(max(0.0, float(left)))} left")
    return Moment(stage, float(said.get("pct") or 0), " · ".join(parts), done)


def score(report: Json | None) -> str:
    """Return a lip-sync report in words; empty where none was asked for."""
    if not report:
        return ""
    sync = report.get("sync") or {}
    grade = report.get("grade")
    if grade is None:
        status = str(report.get("status") or "").replace("_", " ")
        return f"not graded ({status})" if status else "not graded"
    parts = [GRADES.get(grade, str(grade))]
    if sync.get("r0") is not None:
        parts.append(f"correlation {float(sync['r0']):.2f}")
    if sync.get("lag_ms") is not None:
        parts.append(f"{float(sync['lag_ms']):+.0f} ms")
    return ", ".join(parts)


def warnings(notices: Sequence[Json]) -> list[str]:
    """Return what a result warns of, as sentences."""
    return [_sentence(str(notice.get("message") or "")) for notice in notices]


def lacks(found: Recalled, files: Mapping[str, object], engine: str) -> list[str]:
    """Return what of an earlier request did not come back, and what to do, as sentences.

    `files` are those that did by slot, None for the others; `engine` is one that is not ready.
    """
    said = [f"{SLOTS[slot]} {_why(found.files[slot])}" for slot in files if files[slot] is None]
    if engine:
        said.append(f"The engine {engine} is not ready here: choose another.")
    if found.lost:
        words = ", ".join(name.replace("speakers.", "").replace("_", " ") for name in found.lost)
        said.append(f"The page has no field for: {words}.")
    return said


def _why(reference: str) -> str:
    scheme = reference.partition(":")[0]
    if scheme in ("volume", "library"):
        return "is no longer on the server: choose the file again."
    if scheme == "data":
        return "travelled inside the request and was not kept: choose the file again."
    return f"came by a link ({scheme}): choose the file itself."


def stages(seconds: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the seconds of work by stage, the longest first."""
    found = sorted(seconds.items(), key=lambda item: -item[1])
    return [(STAGES.get(name, name), duration(float(took))) for name, took in found if took >= 0.05]


def settings(payload: Json, seed: int | None = None) -> str:
    """Return a request as JSON to copy, its files shortened, with the seed that was used."""
    shown = {name: _short(value) for name, value in payload.items() if name != "idempotency_key"}
    if seed is not None:
        shown["sampling"] = {**dict(payload.get("sampling") or {}), "seed": seed}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _short(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("data:"):
        return f"{value.partition(',')[0]},…"
    if isinstance(value, Mapping):
        return {name: _short(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_short(held) for held in value]
    return value


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?…" else f"{text}."
