"""Find weights that are on this machine already, in our layout or an older one."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from talkhead.weights import File, sound

# Below a root: our own layout, baked images, and ComfyUI's.
BASES = (".", "weights", "models", "ComfyUI/models")
ABSENT = "is not there"
RUNPOD_CACHE = "huggingface-cache/hub"  # of models that RunPod caches, below the volume


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look, in this order."""

    root: Path  # where pulls go
    also: tuple[Path, ...] = ()  # mounts, such as /runpod-volume
    caches: tuple[Path, ...] = ()  # Hugging Face caches: folders of models--ORG--NAME


@dataclass(frozen=True, slots=True)
class Looked:
    """A place that did not do, and why."""

    path: Path
    why: str


@dataclass(frozen=True, slots=True)
class Located:
    """The files of one entry of the manifest, or where they were looked for."""

    file: File
    paths: tuple[Path, ...]  # empty where it was not found
    looked: tuple[Looked, ...]


def find(file: File, places: Places, *, own: bool = True) -> Located:
    """Return where an entry lies. Without `own`, the place that pulls write to is left out."""
    looked: list[Looked] = []
    mine = places.root / file.place
    seen: set[Path] = set()
    for candidate in _candidates(file, places):
        if candidate in seen or (not own and candidate == mine):
            continue
        seen.add(candidate)
        paths, why = _at(file, candidate)
        if not why:
            return Located(file, tuple(paths), tuple(looked))
        looked.append(Looked(candidate, why))
    return Located(file, (), tuple(looked))


def _candidates(file: File, places: Places) -> Iterator[Path]:
    name = PurePosixPath(file.repo.name)
    yield places.root / file.place
    for root in (places.root, *places.also):
        for base in BASES:
            yield root / base / name / file.path
            yield root / base / name.name / file.path
            for other in file.also:
                yield root / base / other
                yield from _one_deeper(root / base / other)
    for cache in (*places.caches, *(root / RUNPOD_CACHE for root in places.also)):
        yield from _in_cache(file, cache)


def _one_deeper(path: Path) -> list[Path]:
    """Return files of that name in folders beside it: people sort their ComfyUI models."""
    return sorted(path.parent.glob(f"*/{path.name}"))


def _in_cache(file: File, cache: Path) -> Iterator[Path]:
    folder = cache / f"models--{file.repo.name.replace('/', '--')}"
    pointer = folder / "refs" / file.repo.revision
    try:
        commit = pointer.read_text().strip()
    except OSError:
        commit = file.repo.revision
    yield folder / "snapshots" / commit / file.path


def _at(file: File, candidate: Path) -> tuple[list[Path], str]:
    """Return the files there, or why they do not count."""
    paths = [candidate] if file.single else _matching(file, candidate)
    paths = [path for path in paths if path.is_file()]
    if not paths:
        return [], ABSENT
    for path in paths:
        if why := sound.fault(path, file.bytes, file.shapes):
            return [], why if file.single else f"{path.name} {why}"
    return paths, sound.missing_shards(paths)


def _matching(file: File, candidate: Path) -> list[Path]:
    """Return the files that a folder or a pattern stands for."""
    folder = candidate if file.path.endswith("/") else candidate.parent
    pattern = "*" if file.path.endswith("/") else candidate.name
    if not folder.is_dir():
        return []
    found = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    return sorted(
        path for path in found if fnmatchcase(path.relative_to(folder).as_posix(), pattern)
    )
