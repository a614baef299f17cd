"""Find weights that are on this machine already, in our layout or an older one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from talkhead.weights import File, forms, recognise, sound

# Below a root: our own layout, baked images, and ComfyUI's.
BASES = (".", "weights", "models", "ComfyUI/models")
ABSENT = "is not there"
RUNPOD_CACHE = "huggingface-cache/hub"  # of models that RunPod caches, below the volume
MARKER = "talkhead.json"  # in a folder that `talkhead weights bundle` made
PROMPTS = "prompts"  # beside the marker: encoded prompts
WHOLE = (*sound.PICKLES, ".safetensors", ".gguf", ".json")  # endings of a file, not of a folder


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look, in this order."""

    root: Path  # where pulls go
    also: tuple[Path, ...] = ()  # mounts, such as /runpod-volume
    caches: tuple[Path, ...] = ()  # Hugging Face caches: folders of models--ORG--NAME
    named: Mapping[str, Path] = field(default_factory=dict)  # by entry: looked at before all


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
    names: tuple[PurePosixPath, ...] = ()  # what each is called below a weights folder
    form: File | None = None  # what lies there: the entry, or what a conversion made of it
    hints: tuple[Looked, ...] = ()  # files that could be it, and why they are not taken

    @property
    def made(self) -> bool:
        """Return whether a conversion made what lies there."""
        return self.form is not None and self.form is not self.file

    @property
    def pickle(self) -> bool:
        """Return whether only pickles are there, which nothing loads before they are converted.

        A folder of many, such as voices, is no such entry: who reads those has to be careful.
        """
        held = any(path.suffix in sound.PICKLES for path in self.paths)
        return held and forms.convertible(self.file)


class _Candidate(NamedTuple):
    path: Path
    form: File  # the entry, or what a conversion made of it


def find(file: File, places: Places, *, own: bool = True, made: bool = True) -> Located:
    """Return where an entry lies: what a conversion made of it, then the file itself.

    Without `own`, the place that pulls write to is left out; without `made`, what a conversion
    made.
    """
    looked: list[Looked] = []
    mine = places.root / file.place
    seen: set[Path] = set()
    for candidate, form in _candidates(file, places):
        if candidate in seen or (not own and candidate == mine) or not (made or form is file):
            continue
        seen.add(candidate)
        paths, why = at(form, candidate)
        if not why:
            names = tuple(_name(form, candidate, path) for path in paths)
            return Located(file, tuple(paths), tuple(looked), names, form)
        if form is file or why != ABSENT:
            looked.append(Looked(candidate, why))
    return _recognised(file, places, looked, seen)


def _recognised(file: File, places: Places, looked: list[Looked], seen: set[Path]) -> Located:
    """Return an entry under another name, known by its tensors, or as not found."""
    hints = []
    one = _alone(file)
    for path, why in recognise.candidates(file, model_folders(places)):
        if path in seen:
            continue
        if why:
            hints.append(Looked(path, why))
            continue
        paths, fault = at(one, path)
        if not fault:
            form = one if forms.pickled(file) else file  # for a pickle, what would be made of it
            return Located(file, tuple(paths), tuple(looked), (one.place,), form)
        looked.append(Looked(path, fault))
    return Located(file, (), tuple(looked), hints=tuple(hints))


def _alone(file: File) -> File:
    """Return an entry as a repack has it: one file, and no pickle."""
    form = forms.form(file) if forms.pickled(file) else file
    if form.single:
        return form
    return replace(form, path=form.path.replace("*", forms.SAFE), bytes=None, sha256="")


def roots(places: Places) -> tuple[Path, ...]:
    """Return every folder that may hold files in our layout."""
    return (places.root, *places.also, *_bundles(places))


def prompt_folders(places: Places) -> tuple[Path, ...]:
    """Return the folders of encoded prompts that lie in bundles."""
    bases = [root / base for root in (places.root, *places.also) for base in BASES]
    folders = [base for base in bases if (base / MARKER).is_file()]
    found = {folder / PROMPTS: None for folder in (*folders, *_bundles(places))}
    return tuple(folder for folder in found if folder.is_dir())


def _candidates(file: File, places: Places) -> Iterator[_Candidate]:
    """Yield where an entry may lie, the best first."""
    if named := places.named.get(file.id):
        yield from _named(file, named)
    bundles = _bundles(places)
    for folder in _repo_folders(file, places, bundles):
        if folder.is_dir():
            for form in forms.forms(file):
                yield _Candidate(folder / form.path, form)
    for path in _originals(file, places, bundles):
        yield _Candidate(path, file)


def _named(file: File, named: Path) -> Iterator[_Candidate]:
    """Yield the file that an operator named for an entry, or its places in the folder named."""
    if named.suffix.lower() in WHOLE or named.is_file():
        if file.single:
            yield _Candidate(named, file)
        return
    for form in (*forms.forms(file), file):
        yield _Candidate(named / form.path, form)
    if file.single:
        yield _Candidate(named / PurePosixPath(file.path).name, file)


def _repo_folders(file: File, places: Places, bundles: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the folders that may stand for an entry's repo."""
    name = PurePosixPath(file.repo.name)
    for root in (places.root, *places.also):
        for base in BASES:
            yield root / base / name
            yield root / base / name.name
    for bundle in bundles:
        yield bundle / name


def _originals(file: File, places: Places, bundles: tuple[Path, ...]) -> Iterator[Path]:
    name = PurePosixPath(file.repo.name)
    yield places.root / file.place
    for root in (places.root, *places.also):
        for base in BASES:
            yield root / base / name / file.path
            yield root / base / name.name / file.path
            for other in file.also:
                yield root / base / other
                yield from _one_deeper(root / base / other)
    for bundle in bundles:
        yield bundle / name / file.path
    for cache in _caches(places):
        yield from _in_cache(file, cache)


def model_folders(places: Places) -> Iterator[Path]:
    """Yield the folders below the roots in which files of any name are looked at."""
    for root in (places.root, *places.also):
        yield root
        for base in BASES:
            for name in recognise.FOLDERS:
                yield root / base / name


def _one_deeper(path: Path) -> list[Path]:
    """Return files of that name in folders beside it: people sort their ComfyUI models."""
    return sorted(path.parent.glob(f"*/{path.name}"))


def _caches(places: Places) -> tuple[Path, ...]:
    return (*places.caches, *(root / RUNPOD_CACHE for root in places.also))


def _bundles(places: Places) -> tuple[Path, ...]:
    """Return the snapshots in caches that are bundles, those that `refs` name before others."""
    found: list[Path] = []
    for cache in _caches(places):
        for repo in sorted(cache.glob("models--*")):
            marked = [marker.parent for marker in repo.glob(f"snapshots/*/{MARKER}")]
            named = {_text(pointer) for pointer in repo.glob("refs/*")} if marked else set()
            found += sorted(marked, key=lambda folder: (folder.name not in named, folder.name))
    return tuple(found)


def _in_cache(file: File, cache: Path) -> Iterator[Path]:
    folder = cache / f"models--{file.repo.name.replace('/', '--')}"
    commit = _text(folder / "refs" / file.repo.revision) or file.repo.revision
    yield folder / "snapshots" / commit / file.path


def _text(pointer: Path) -> str:
    """Return the commit that a pointer of a cache names, empty where there is none."""
    try:
        return pointer.read_text().strip()
    except OSError:
        return ""


def at(file: File, candidate: Path) -> tuple[list[Path], str]:
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


def _name(form: File, candidate: Path, path: Path) -> PurePosixPath:
    """Return what a file of an entry is called below a weights folder."""
    if form.single:
        return form.place
    folder, place = (
        (candidate, form.place)
        if form.path.endswith("/")
        else (candidate.parent, form.place.parent)
    )
    return place / path.relative_to(folder).as_posix()
