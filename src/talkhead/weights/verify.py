"""Check the weights of this machine byte by byte, and say what to do about each that is wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from talkhead.weights import File, Manifest, locate, record, sound


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one entry of the manifest is like on this machine."""

    file: File
    state: Literal["ok", "damaged", "missing"]
    why: str
    paths: tuple[Path, ...]
    fix: str = ""  # the command that mends it


def verify(
    files: Iterable[File], places: locate.Places, known: Manifest | None = None
) -> Iterator[Verdict]:
    """Yield a verdict for each entry, reading its files whole.

    With `known`, an alternative that can be loaded serves for an entry that is missing. What an
    earlier pull had checked and is damaged now is forgotten, so that a pull mends it.
    """
    for file in files:
        verdict = _judged(file, places)
        if known is not None and verdict.state == "missing":
            verdict = _served(file, places, known) or verdict
        yield verdict


def _judged(file: File, places: locate.Places) -> Verdict:
    kept = record.read(places.root, file)
    if kept is None or not kept.files:
        return _found(file, places)
    gone = not any((places.root / entry.path).is_file() for entry in kept.files)
    if gone and locate.find(file, places).made:
        return _found(file, places)  # its pickle was deleted, and is not needed
    return _recorded(file, kept, places)


def _served(file: File, places: locate.Places, known: Manifest) -> Verdict | None:
    for other in known.instead(file.id):
        located = locate.find(other, places)
        if located.paths and not located.pickle:
            return Verdict(file, "ok", f"{other.id} serves in its place", located.paths)
    return None


def fix(file: File, places: locate.Places) -> str:
    """Return what brings a missing or damaged entry."""
    if file.merges:
        return f"talkhead weights convert {file.id}"
    if file.repo.local:
        return f"put it at {places.root / file.place}"
    return f"talkhead weights pull {file.id}"


def _recorded(file: File, kept: record.Record, places: locate.Places) -> Verdict:
    paths = tuple(places.root / entry.path for entry in kept.files)
    for entry, path in zip(kept.files, paths, strict=True):
        if why := _changed(entry, path, file):
            record.forget(places.root, file)
            state: Literal["damaged", "missing"] = "damaged" if path.is_file() else "missing"
            return Verdict(file, state, f"{path} {why}", paths, fix(file, places))
    return Verdict(file, "ok", "size and sha256 are those of the pull", paths)


def _changed(entry: record.Seen, path: Path, file: File) -> str:
    if not path.is_file():
        return "is gone"
    if why := sound.fault(path, entry.bytes, file.shapes):
        return why
    sha256 = record.sha256_of(path)
    if sha256 != entry.sha256:
        return f"has the sha256 {sha256[:12]}…, not {entry.sha256[:12]}… as when it was pulled"
    return ""


def _found(file: File, places: locate.Places) -> Verdict:
    located = locate.find(file, places)
    if not located.paths:
        refused = [place for place in located.looked if place.why != locate.ABSENT]
        if not refused:
            why = f"not in any of {len(located.looked)} places"
            return Verdict(file, "missing", why, (), fix(file, places))
        why = "; ".join(f"{place.path} {place.why}" for place in refused)
        paths = tuple(place.path for place in refused)
        return Verdict(file, "damaged", why, paths, fix(file, places))
    if located.made:
        return Verdict(file, "ok", "form only: converted here", located.paths)
    if not file.sha256:
        return Verdict(file, "ok", "form only: its sha256 is not known", located.paths)
    sha256 = record.sha256_of(located.paths[0])
    if sha256 != file.sha256:
        why = f"{located.paths[0]} has the sha256 {sha256[:12]}…, not {file.sha256[:12]}…"
        return Verdict(file, "damaged", why, located.paths, fix(file, places))
    return Verdict(file, "ok", "sha256 is the manifest's", located.paths)
