"""Model weights: which files an engine needs, where they lie, and how they get there."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

from talkhead.errors import Code, TalkheadError

UNSTATED = "not stated in our sources: see the model's page"


@dataclass(frozen=True, slots=True)
class Repo:
    """Where files come from: ORG/NAME on the hub, at a revision, under a licence."""

    name: str
    revision: str = "main"
    licence: str = ""  # empty: not stated in our sources
    commercial: bool | None = None  # None: unknown
    url: str = ""  # a folder on a plain https server instead of the hub
    local: bool = False  # no download is known: found and checked, never pulled

    @property
    def terms(self) -> str:
        """Return the licence as people read it."""
        return self.licence or UNSTATED

    @property
    def page(self) -> str:
        """Return where the licence can be read."""
        return "" if self.local else self.url or f"https://huggingface.co/{self.name}"


@dataclass(frozen=True, slots=True)
class File:
    """One entry of the manifest: a file, or the files that a pattern or a folder stands for."""

    id: str
    repo: Repo
    path: str  # in the repo; ends with / for a folder, may hold * for several files
    bytes: int | None = None  # exact, and checked
    about_gb: float | None = None  # for planning without a network, 10^9 bytes
    sha256: str = ""
    also: tuple[str, ...] = ()  # where older systems keep it, below a root or its models folder
    shapes: Mapping[str, tuple[int, ...]] | None = None  # of some tensors
    note: str = ""

    @property
    def single(self) -> bool:
        """Return whether the entry is exactly one file."""
        return not self.path.endswith("/") and "*" not in self.path

    @property
    def pattern(self) -> str:
        """Return what the names of its files match, in the repo."""
        return f"{self.path}*" if self.path.endswith("/") else self.path

    @property
    def place(self) -> PurePosixPath:
        """Return where it goes, below the weights folder."""
        return PurePosixPath(self.repo.name) / self.path


@dataclass(frozen=True, slots=True)
class WeightSet:
    """Files that are used together."""

    name: str
    about: str
    files: tuple[File, ...]

    @property
    def about_gb(self) -> float | None:
        """Return the sum of the sizes, or None where one is not known."""
        sizes = [size_gb(file) for file in self.files]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def noncommercial(self) -> list[Repo]:
        """Return the repos whose licence forbids commercial use."""
        return repos(self.files, commercial=False)

    @property
    def unstated(self) -> list[Repo]:
        """Return the repos whose licence our sources do not state."""
        return repos(self.files, commercial=None)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that can be pulled."""

    files: Mapping[str, File]
    sets: Mapping[str, WeightSet]


def size_gb(file: File) -> float | None:
    """Return a file's size in 10^9 bytes, exact or about, or None."""
    return file.about_gb if file.bytes is None else file.bytes / 1e9


def repos(wanted: Sequence[File], *, commercial: bool | None) -> list[Repo]:
    """Return the repos of these files with that commercial flag, each once."""
    found = {file.repo.name: file.repo for file in wanted if file.repo.commercial is commercial}
    return list(found.values())


def read(text: str) -> Manifest:
    """Return the manifest in a TOML text, or raise E_INTERNAL naming what does not fit."""
    table = tomllib.loads(text)
    sources = {name: Repo(name, **facts) for name, facts in table["repos"].items()}
    entries = {name: _file(name, facts, sources) for name, facts in table["files"].items()}
    sets = {}
    for name, facts in table["sets"].items():
        if lost := [wanted for wanted in facts["files"] if wanted not in entries]:
            raise TalkheadError(Code.INTERNAL, f"set {name} names unknown files {lost}")
        chosen = tuple(entries[wanted] for wanted in facts["files"])
        sets[name] = WeightSet(name, facts["about"], chosen)
    return Manifest(entries, sets)


@cache
def manifest() -> Manifest:
    """Return the manifest that comes with talkhead."""
    return read(files("talkhead.weights").joinpath("manifest.toml").read_text())


def chosen(names: Sequence[str], known: Manifest) -> list[tuple[str, File]]:
    """Return (set, file) for every file of these sets or file ids, each file once.

    Raises E_INPUT_VALIDATION for an unknown name, with the nearest one.
    """
    found: dict[str, tuple[str, File]] = {}
    for name in names:
        for file in _files_of(name, known):
            found.setdefault(file.id, (name, file))
    return list(found.values())


def _files_of(name: str, known: Manifest) -> tuple[File, ...]:
    if name in known.sets:
        return known.sets[name].files
    if name in known.files:
        return (known.files[name],)
    near = difflib.get_close_matches(name, [*known.sets, *known.files], 1)
    raise TalkheadError(
        Code.INPUT,
        f"no set of weights is called {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
        "talkhead weights list",
    )


def _file(name: str, facts: dict[str, Any], sources: Mapping[str, Repo]) -> File:
    if facts["repo"] not in sources:
        raise TalkheadError(Code.INTERNAL, f"file {name} names unknown repo {facts['repo']}")
    rest = {key: value for key, value in facts.items() if key not in ("repo", "also", "shapes")}
    shapes = {key: tuple(shape) for key, shape in facts.get("shapes", {}).items()}
    also = tuple(facts.get("also", ()))
    return File(name, sources[facts["repo"]], also=also, shapes=shapes or None, **rest)
