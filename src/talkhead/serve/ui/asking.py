"""From what a form holds to the payload of a request. Pure: a callable makes files references."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from talkhead.errors import Code, TalkheadError

Payload = dict[str, Any]
File = Mapping[str, Any]  # Gradio's: `path` and `orig_name`
Refer = Callable[[File], str]

SAMPLING = ("steps", "text_guidance", "audio_guidance", "shift")
PREVIEW_S = 3.0
PREVIEW_SIDE = 480  # pixels of the long side


@dataclass(frozen=True, slots=True)
class Voice:
    """What one speaker says, as the form holds it."""

    mode: str = "recording"  # or text
    audio: File | None = None
    transcript: str | None = None
    text: str | None = None
    voice: str | None = None
    speed: float | None = None
    language: str | None = None

    @property
    def is_given(self) -> bool:
        """Return whether there is something to say."""
        return bool(self.text and self.text.strip()) if self.mode == "text" else bool(self.audio)


@dataclass(frozen=True, slots=True)
class Asked:
    """The form. The names and order of the fields are those of its components."""

    kind: str = "picture"  # or video
    portrait: File | None = None
    video: File | None = None
    two: bool = False
    turns: str = "together"
    first: Voice = Voice()
    second: Voice = Voice()
    engine: str = "auto"
    size: str | None = None
    quality: str | None = None
    score: bool = False
    prompt: str | None = None
    negative_prompt: str | None = None
    fps: str | None = None
    fit: str | None = None
    thumbnail: bool = True
    steps: str | None = None
    text_guidance: str | None = None
    audio_guidance: str | None = None
    shift: str | None = None
    seed: str | None = None
    offload: str | None = None
    options: Mapping[str, Any] | None = None
    boxes: Mapping[str, Sequence[float]] | None = None

    @property
    def picture(self) -> File | None:
        """Return the portrait or the source video, by the kind that is chosen."""
        return self.video if self.kind == "video" else self.portrait

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Return the speakers that take part."""
        return (self.first, self.second) if self.two else (self.first,)

    @property
    def missing(self) -> str:
        """Return what is still to be given, in words; empty where nothing is."""
        if not self.picture:
            return "Add a source video" if self.kind == "video" else "Add a portrait"
        lacking = [at + 1 for at, voice in enumerate(self.voices) if not voice.is_given]
        if not lacking:
            return ""
        whose = f" of speaker {lacking[0]}" if self.two else ""
        mode = self.voices[lacking[0] - 1].mode
        return f"Write the text{whose}" if mode == "text" else f"Add the speech{whose}"


VOICE_FIELDS = tuple(field.name for field in fields(Voice))
SIMPLE_FIELDS = tuple(f.name for f in fields(Asked) if f.name not in ("first", "second"))


def asked(values: Sequence[Any]) -> Asked:
    """Return the form from its values: SIMPLE_FIELDS, then VOICE_FIELDS for each speaker."""
    simple = dict(zip(SIMPLE_FIELDS, values, strict=False))
    at, wide = len(SIMPLE_FIELDS), len(VOICE_FIELDS)
    first, second = (
        Voice(**dict(zip(VOICE_FIELDS, values[begin : begin + wide], strict=True)))
        for begin in (at, at + wide)
    )
    return Asked(first=first, second=second, **simple)


def payload(form: Asked, refer: Refer) -> Payload:
    """Return the request, or raise E_INPUT_VALIDATION naming what is missing."""
    picture = form.picture
    if form.missing or picture is None:
        field = "speakers" if picture else form.kind.replace("picture", "portrait")
        raise TalkheadError(Code.INPUT, form.missing, fields=[field])
    wanted: Payload = {"action": "talk"}
    wanted["video" if form.kind == "video" else "portrait"] = refer(picture)
    wanted["speakers"] = [
        _speaker(voice, _box(form, at), refer) for at, voice in enumerate(form.voices)
    ]
    if form.two and form.turns != "together":
        wanted["turns"] = form.turns
    wanted |= _set(
        {
            "engine": form.engine if form.engine != "auto" else None,
            "size": _size(form.size),
            "quality": form.quality,
            "prompt": form.prompt,
            "negative_prompt": form.negative_prompt,
            "fps": (form.fps or "").strip(),
            "fit": form.fit if form.fit != "crop" else None,
            "options": _options(form),
            "sampling": _sampling(form),
            "memory": _set({"offload": form.offload}),
            "output": _output(form),
        }
    )
    return wanted


def planned(wanted: Payload) -> Payload:
    """Return the dry run of a request."""
    return {**wanted, "dry_run": True}


def preview(wanted: Payload, seconds: float | None) -> Payload:
    """Return the first seconds of a request on the draft engine."""
    kept = {name: wanted[name] for name in ("action", "portrait", "speakers", "turns", "fit")
            if name in wanted}  # fmt: skip
    length = min(PREVIEW_S, seconds or PREVIEW_S)
    return kept | {"engine": "draft", "duration": length, "size": {"long": PREVIEW_SIDE}}


def spoken(voice: Voice) -> Payload:
    """Return the request that speaks a text alone, its first sentences, to hear the voice."""
    if not voice.text or not voice.text.strip():
        raise TalkheadError(Code.INPUT, "Write the text first", fields=["text"])
    said = _speaker(voice, None, lambda _: "")
    return {**said, "action": "speak", "text": said["text"][:300]}


def _speaker(voice: Voice, box: Sequence[float] | None, refer: Refer) -> Payload:
    made: Payload
    if voice.mode == "text":
        made = {"text": voice.text, "voice": voice.voice}
        made["speed"] = voice.speed if voice.speed not in (None, 1, 1.0) else None
    else:
        made = {"audio": refer(voice.audio or {}), "transcript": voice.transcript}
    made["language"] = voice.language if voice.language != "auto" else None
    made["box"] = [round(float(edge), 1) for edge in box] if box else None
    return _set(made)


def _box(form: Asked, at: int) -> Sequence[float] | None:
    if not form.two or not form.boxes:
        return None
    box = form.boxes.get(str(at))
    return box if box and len(box) == 4 else None


def _size(chosen: str | None) -> str | int | None:
    word = (chosen or "").strip().lower().replace("×", "x").replace(" ", "")
    return int(word) if word.isascii() and word.isdigit() else word or None


def _options(form: Asked) -> Payload | None:
    return _set(form.options or {}) if form.engine != "auto" else None


def _sampling(form: Asked) -> Payload:
    sampling = {name: number(getattr(form, name), f"sampling.{name}") for name in SAMPLING}
    return _set({**sampling, "seed": number(form.seed, "sampling.seed")})


def number(typed: str | None, field: str) -> int | float | None:
    """Return a number that was typed, whole where it can be; None where nothing was."""
    word = (typed or "").strip().replace(",", ".")
    if not word:
        return None
    try:
        return int(word) if word.lstrip("-").isdigit() else float(word)
    except ValueError:
        name = field.rpartition(".")[2].replace("_", " ")
        problem = f"{name}: {word[:20]!r} is not a number"
        raise TalkheadError(
            Code.INPUT, problem, "Empty is the engine's own.", fields=[field]
        ) from None


def _output(form: Asked) -> Payload:
    return ({"score": True} if form.score else {}) | (
        {} if form.thumbnail else {"thumbnail": False}
    )


def _set(values: Mapping[str, Any]) -> Payload:
    """Return what is set: an empty field of a form asks for nothing."""
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}
