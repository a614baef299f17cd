"""From an earlier request back to a form: what `asking.payload` does, undone. Pure."""

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.request import Talk
from talkhead.request.parts import Size, Speaker
from talkhead.serve.ui.asking import SAMPLING, Asked, Voice
from talkhead.validation import parse

Json = dict[str, Any]

PEOPLE = 2  # speakers that the form holds
SLOW, FAST = 0.5, 2.0  # of its speed
# What the form holds of a request, and what only the caller's program had a use for.
HELD = {
    "engine", "options", "size", "quality", "prompt", "negative_prompt", "fps", "fit", "turns",
    "portrait", "video", "source", "sampling.seed", *(f"sampling.{name}" for name in SAMPLING),
    "memory.offload", "output.score", "output.thumbnail",
    "speakers.audio", "speakers.text", "speakers.voice", "speakers.transcript", "speakers.language",
    "speakers.speed",
}  # fmt: skip
BESIDE = {"action", "idempotency_key", "priority", "dry_run"}


@dataclass(frozen=True, slots=True)
class Recalled:
    """A form without its files, the references of those, and what the form has no field for."""

    form: Asked
    files: Mapping[str, str]  # by portrait, video, first and second
    lost: tuple[str, ...]


def recalled(payload: object, seed: int | None = None) -> Recalled:
    """Return the form of a request; `seed` is the one that was used, where it named none.

    Raises E_INPUT_VALIDATION for what is no request of the page's kind.
    """
    talk = parse(payload)
    if not isinstance(talk, Talk):
        raise TalkheadError(
            Code.INPUT,
            f"the page cannot ask for {talk.action!r}",
            "send its settings as JSON by another way",
        )
    said = talk.speakers[:PEOPLE]
    two = len(said) == PEOPLE
    voices = [_voice(speaker) for speaker in said]
    kind, files = _files(talk)
    form = Asked(
        kind=kind,
        two=two,
        turns=talk.turns,
        engine=talk.engine,
        options=dict(talk.options),
        size=_size(talk.size),
        quality=talk.quality,
        prompt=talk.prompt,
        negative_prompt=talk.negative_prompt,
        fps=_written(talk.fps),
        fit=talk.fit,
        score=talk.output.score,
        thumbnail=talk.output.thumbnail,
        seed=_written(seed if talk.sampling.seed in (None, -1) else talk.sampling.seed),
        offload="" if talk.memory.offload == "auto" else talk.memory.offload,
        boxes={str(at): list(one.box) for at, one in enumerate(said) if two and one.box},
        first=voices[0],
        second=voices[1] if two else Voice(),
    )
    typed: Json = {name: _written(getattr(talk.sampling, name)) for name in SAMPLING}
    return Recalled(replace(form, **typed), files, tuple(sorted(_lost(talk, two))))


def _voice(said: Speaker) -> Voice:
    if said.text is None:
        return Voice(transcript=said.transcript or "", language=said.language)
    speed = min(FAST, max(SLOW, said.speed))
    return Voice("text", None, "", said.text, said.voice, speed, said.language)


def _files(talk: Talk) -> tuple[str, dict[str, str]]:
    """Return whether a picture or a video speaks, and the references of all files."""
    name, reference = talk.face_source
    films = name == "video" or (name == "source" and _is_film(reference))
    found = {"video" if films else "portrait": reference}
    for slot, said in zip(("first", "second"), talk.speakers, strict=False):
        if said.audio is not None:
            found[slot] = said.audio
    return "video" if films else "picture", found


def _is_film(reference: str) -> bool:
    head = reference[:100].lower()
    guessed = mimetypes.guess_type(reference.partition("?")[0])[0] if "data:" not in head else head
    return (guessed or "").removeprefix("data:").startswith("video/")


def _size(size: Size | None) -> str:
    if size is None:
        return ""
    if size.short is not None:
        return f"{size.short}p"
    return str(size.long) if size.long is not None else f"{size.width}x{size.height}"


def _written(value: object) -> str:
    return "" if value is None else str(value)


def _lost(talk: Talk, two: bool) -> Iterator[str]:
    """Yield what was asked for and the form cannot hold."""
    for path in dict.fromkeys(_set(talk.model_dump(exclude_defaults=True))):
        is_held = path in HELD or path.partition(".")[0] in {"options", *BESIDE}
        if not is_held and not (path == "speakers.box" and two):
            yield path
    if len(talk.speakers) > PEOPLE:
        yield "more speakers"
    if any(not SLOW <= said.speed <= FAST for said in talk.speakers):
        yield "speakers.speed"
    if talk.size is not None and talk.size.short not in (None, 360, 480, 720, 1080):
        yield "size"


def _set(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of what is set, list places left out."""
    if isinstance(value, Mapping) and path != "size":
        for name, inner in value.items():
            yield from _set(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple) and path == "speakers":
        for inner in value:
            yield from _set(inner, path)
    elif value is not None:
        yield path
