"""A folder with the files of one set and no more, to upload as a repo or to use as it is."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.weights import TEXT, File, Manifest, Repo, chosen, locate, record, room

README = "README.md"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be bundled, and where."""

    set: str
    into: Path
    text_encoder: bool
    prompts: tuple[Path, ...]  # folders of encoded prompts


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a bundle."""

    source: Path
    name: str  # in the bundle
    file: File | None  # None: an encoded prompt
    sha256: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """Return what the marker says of it."""
        facts = {"path": self.name, "bytes": self.source.stat().st_size, "sha256": self.sha256}
        id_ = {} if self.file is None else {"id": self.file.id}
        return {key: value for key, value in {**facts, **id_}.items() if value != ""}


@dataclass(frozen=True, slots=True)
class Bundled:
    """What is in the folder now."""

    folder: Path
    pieces: tuple[Piece, ...]
    bytes: int
    copied: int  # of the pieces; the others share the disk's blocks with their sources


def bundle(wanted: Wanted, places: locate.Places, known: Manifest) -> Bundled:
    """Fill a folder with the files of a set, in our own layout, its marker last.

    Raises E_INPUT_VALIDATION for a folder that holds other things, E_PIPELINE_LOAD naming what is
    not here or not loadable, E_CAPACITY where the disk is too small.
    """
    if wanted.set not in known.sets:
        chosen([wanted.set], known)  # names the nearest, where it is not even a file
        raise TalkheadError(
            Code.INPUT, f"{wanted.set} is a file, not a set", "talkhead weights list"
        )
    files = [
        file for file in known.sets[wanted.set].files if wanted.text_encoder or file.part != TEXT
    ]
    pieces = (*_weights(files, places, known), *_prompts(wanted))
    _clear(wanted.into, {piece.name for piece in pieces})
    room.require(wanted.into, sum(_to_copy(piece, wanted.into) for piece in pieces))
    copied = 0
    try:
        for piece in pieces:
            copied += _put(piece, wanted.into / piece.name)
        _write(wanted.into / README, _readme(wanted, pieces, known))
        _write(wanted.into / locate.MARKER, _marker(wanted, pieces))
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write to {wanted.into}: {error.strerror or error}",
            "check the disk and its rights, then bundle again",
        ) from error
    total = sum(piece.source.stat().st_size for piece in pieces)
    return Bundled(wanted.into, pieces, total, copied)


def _weights(files: Sequence[File], places: locate.Places, known: Manifest) -> list[Piece]:
    """Return the files of these entries or what stands for them, or raise with all that lack."""
    pieces: dict[str, Piece] = {}  # by name: a merged copy stands for several entries
    absent, pickles = [], []
    for file in files:
        ways = (*known.merged(file.id), *known.ways(file.id))
        found = [locate.find(way, places) for way in ways]
        whole = [located for located in found if located.paths and not located.pickle]
        if whole:
            pieces |= {piece.name: piece for piece in _pieces(whole[0], places)}
        elif held := [located.file.id for located in found if located.paths]:
            pickles.append(held[0])
        else:
            absent.append(file.id)
    if not absent and not pickles:
        return list(pieces.values())
    told = [f"not here: {', '.join(absent)}"] if absent else []
    told += [f"here as pickles alone: {', '.join(pickles)}"] if pickles else []
    hints = [f"`talkhead weights pull {' '.join(absent)}`"] if absent else []
    hints += [f"`talkhead weights convert {' '.join(pickles)}`"] if pickles else []
    raise TalkheadError(Code.WEIGHTS, "; ".join(told), f"{', '.join(hints)}, then bundle again")


def _pieces(located: locate.Located, places: locate.Places) -> Iterator[Piece]:
    kept = record.read(places.root, located.file)
    sums = {}
    for entry in kept.files if kept else ():
        if record.unchanged(places.root, entry):
            sums[places.root / entry.path] = entry.sha256
    for path, name in zip(located.paths, located.names, strict=True):
        yield Piece(path, name.as_posix(), located.file, sums.get(path, ""))


def _prompts(wanted: Wanted) -> list[Piece]:
    """Return the encoded prompts, each once; without the encoder there have to be some."""
    found: dict[str, Piece] = {}
    for folder in wanted.prompts:
        for path in sorted(folder.glob("*.safetensors")):
            name = f"{locate.PROMPTS}/{path.name}"
            found.setdefault(name, Piece(path, name, None))
    if not found and not wanted.text_encoder:
        raise TalkheadError(
            Code.WEIGHTS,
            "without the text encoder a bundle needs encoded prompts, and there are none in "
            f"{', '.join(map(str, wanted.prompts))}",
            "`talkhead weights prompts` encodes some while the text encoder is here",
        )
    return list(found.values())


def _clear(into: Path, names: set[str]) -> None:
    """Take an earlier bundle's marker and what is in no set any more out of a folder."""
    if into.exists() and not into.is_dir():
        raise TalkheadError(Code.INPUT, f"{into} is a file", "name a folder that is empty or new")
    marker = into / locate.MARKER
    if not marker.is_file():
        # a bundle that was stopped left no marker, but its own files, which may be completed
        strange = [path for path in _below(into) if path not in {*names, README}]
        if strange:
            raise TalkheadError(
                Code.INPUT,
                f"{into} holds other things, such as {strange[0]}",
                "name a folder that is empty, new or an earlier bundle",
            )
        return
    try:
        held = [str(entry["path"]) for entry in json.loads(marker.read_text())["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise TalkheadError(
            Code.INPUT, f"{marker} is damaged ({error})", "name another folder"
        ) from error
    marker.unlink()
    for name in held:
        if name not in names and ".." not in PurePosixPath(name).parts and name[0] != "/":
            (into / name).unlink(missing_ok=True)


def _below(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".partial")
    ]


def _to_copy(piece: Piece, into: Path) -> int:
    """Return the bytes that a piece takes on the bundle's disk."""
    existing = next(path for path in (into, *into.absolute().parents) if path.exists())
    facts = piece.source.stat()
    if facts.st_dev == existing.stat().st_dev or _same(piece.source, into / piece.name):
        return 0
    return facts.st_size


def _same(source: Path, target: Path) -> bool:
    """Return whether a file is there already: the same one, or a copy with its size and time."""
    if not target.is_file():
        return False
    one, other = source.stat(), target.stat()
    same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
    return same or (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _put(piece: Piece, target: Path) -> bool:
    """Link a file to its place, or copy it where that cannot be; return whether it was copied."""
    source = piece.source.resolve()  # a cache holds links to its files
    if _same(source, target):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        try:
            os.link(source, partial)
            copied = False
        except OSError:  # another disk, or one that knows no links
            shutil.copy2(source, partial)
            copied = True
        room.place(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return copied


def _write(target: Path, content: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(content, encoding="utf-8")
        room.place(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _marker(wanted: Wanted, pieces: Sequence[Piece]) -> str:
    facts = {
        "talkhead": __version__,
        "set": wanted.set,
        "text_encoder": wanted.text_encoder,
        "files": [piece.facts for piece in pieces],
    }
    return json.dumps(facts, indent=1) + "\n"


def _readme(wanted: Wanted, pieces: Sequence[Piece], known: Manifest) -> str:
    """Return the page of the repo: what it is for, and every licence in it."""
    held = [piece.file for piece in pieces if piece.file]
    whole = [known.files[name] for file in held for name in file.merges]  # of merged copies
    sources = {file.repo.name: file.repo for file in (*held, *whole) if not file.merges}
    licences = {repo.licence.lower() for repo in sources.values()}
    plain = {"mit": "mit", "apache-2.0": "apache-2.0"}
    one = plain.get(next(iter(licences)), "") if len(licences) == 1 else ""
    front = [f"license: {one}"] if one else ["license: other", "license_name: several"]
    prompts = sum(piece.file is None for piece in pieces)
    without = "" if wanted.text_encoder else " The text encoder is not in it."
    lines = [
        "---",
        *front,
        "library_name: talkhead",
        "tags:",
        "- talkhead",
        "---",
        "",
        f"# {wanted.set}, for talkhead",
        "",
        f"The files of the set `{wanted.set}` of talkhead {__version__}.{without}",
        f"Encoded prompts: {prompts}.",
        "Found as RunPod's cached model, in Hugging Face's cache, or as `TALKHEAD_WEIGHTS`.",
        "",
        "Who publishes this repo passes on the work of others: check that their licences allow it.",
        "",
        "| from | revision | licence | commercial use |",
        "|---|---|---|---|",
        *(_licence(repo) for repo in sources.values()),
    ]
    return "\n".join(lines) + "\n"


def _licence(repo: Repo) -> str:
    allowed = {True: "allowed", False: "not allowed", None: "see its page"}[repo.commercial]
    name = f"[{repo.name}]({repo.page})" if repo.page else repo.name
    return f"| {name} | {repo.revision} | {repo.terms} | {allowed} |"
