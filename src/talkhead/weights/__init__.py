"""Model weights: which files an engine needs, where they lie, and how they get there."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from talkhead.errors import Code, TalkheadError
from talkhead.weights import form

UNSTATED = "not stated in our sources: see the model's page"
TEXT = "text encoder"  # as a file's `part`


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
class Marks:
    """What a file of another name has to hold to be taken for an entry of the manifest."""

    tensors: Mapping[str, tuple[int, ...]]  # all of these, with these shapes
    dtype: str = ""  # safetensors' word for the type of `dtype_of`
    dtype_of: str = ""  # the tensor whose type counts; unset: the first of `tensors`
    file_type: int | None = None  # of a GGUF file: its general.file_type
    without: tuple[str, ...] = ()  # beginnings of names that it must not have
    named: str = ""  # a pattern that its name has to match, where tensors cannot tell
    smallest: int = 50_000_000  # bytes below which no file is looked into


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
    keep: str = ""  # beginning of the names that a conversion keeps; empty: all
    part: str = ""  # what it is to a set, where others need to know: "text encoder"
    recognise: Marks | None = None
    merges: tuple[str, ...] = ()  # ids of base, delta and its config, of which it is made

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
    alternatives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by file id

    def ways(self, name: str) -> tuple[File, ...]:
        """Return the file of this id, then those that serve in its place."""
        return tuple(self.files[one] for one in (name, *self.alternatives.get(name, ())))

    def instead(self, name: str) -> tuple[File, ...]:
        """Return what makes the file of this id needless in a set: alternatives, merged copies."""
        return (*self.ways(name)[1:], *self.merged(name))

    def merged(self, name: str) -> tuple[File, ...]:
        """Return the merged copies that hold the file of this id."""
        return tuple(file for file in self.files.values() if name in file.merges)


def size_gb(file: File) -> float | None:
    """Return a file's size in 10^9 bytes, exact or about, or None."""
    return file.about_gb if file.bytes is None else file.bytes / 1e9


def repos(wanted: Sequence[File], *, commercial: bool | None) -> list[Repo]:
    """Return the repos of these files with that commercial flag, each once."""
    found = {file.repo.name: file.repo for file in wanted if file.repo.commercial is commercial}
    return list(found.values())


def read(text: str) -> Manifest:
    """Return the manifest in a TOML text, or raise E_INTERNAL naming what does not fit."""
    return _built(tomllib.loads(text), _refusal(Code.INTERNAL, ""))


@cache
def manifest() -> Manifest:
    """Return the manifest that comes with talkhead."""
    return read(_bundled())


def known(more: Path | None = None) -> Manifest:
    """Return the manifest that comes with talkhead, with the operator's own in `more`.

    What has the same name there replaces what comes with talkhead. Raises E_INPUT_VALIDATION
    naming line or field.
    """
    if more is None:
        return manifest()
    try:
        facts = more.stat()
    except OSError as error:
        _refusal(Code.INPUT, f"{more}: ")(f"cannot be read: {error.strerror}")
    return _merged(more, facts.st_mtime_ns, facts.st_size)


@cache
def _merged(more: Path, mtime_ns: int, size: int) -> Manifest:
    """Return both manifests as one; time and size make a changed file be read again."""
    del mtime_ns, size
    refuse = _refusal(Code.INPUT, f"{more}: ")
    try:
        own = tomllib.loads(more.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: TOML with its line, or not UTF-8
        refuse(f"cannot be read: {error}")
    form.check(own, refuse)
    both = tomllib.loads(_bundled())
    for section, entries in own.items():
        both[section] = {**both[section], **entries}
    return _built(both, refuse)


def _bundled() -> str:
    return files("talkhead.weights").joinpath("manifest.toml").read_text(encoding="utf-8")


def _refusal(code: Code, front: str) -> form.Refuse:
    hint = "correct it, or unset TALKHEAD_WEIGHTS_MANIFEST" if code is Code.INPUT else ""

    def refuse(message: str) -> NoReturn:
        raise TalkheadError(code, front + message, hint)

    return refuse


def _built(table: Mapping[str, Any], refuse: form.Refuse) -> Manifest:
    form.check(table, refuse)
    sources = {name: Repo(name, **facts) for name, facts in table["repos"].items()}
    entries = {}
    for name, facts in table["files"].items():
        if facts["repo"] not in sources:
            refuse(f"files.{name}.repo: there is no repo {facts['repo']}")
        entries[name] = _file(name, facts, sources)
    named = {f"sets.{name}.files": facts["files"] for name, facts in table["sets"].items()}
    others = table.get(form.ALTERNATIVES, {})
    named |= {f"{form.ALTERNATIVES}.{name}": [name, *ids] for name, ids in others.items()}
    named |= {f"files.{name}.merges": file.merges for name, file in entries.items()}
    for at, ids in named.items():
        if lost := [wanted for wanted in ids if wanted not in entries]:
            refuse(f"{at}: names unknown files {lost}")
    sets = {
        name: WeightSet(name, facts["about"], tuple(entries[one] for one in facts["files"]))
        for name, facts in table["sets"].items()
    }
    return Manifest(entries, sets, {name: tuple(ids) for name, ids in others.items()})


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


def _file(name: str, facts: Mapping[str, Any], sources: Mapping[str, Repo]) -> File:
    rest = {key: value for key, value in facts.items() if key not in _READ}
    marks = facts.get("recognise")
    return File(
        name,
        sources[facts["repo"]],
        also=tuple(facts.get("also", ())),
        merges=tuple(facts.get("merges", ())),
        shapes=_shapes(facts.get("shapes", {})) or None,
        recognise=None if marks is None else _marks(marks),
        **rest,
    )


_READ = ("repo", "also", "merges", "shapes", "recognise")


def _marks(facts: Mapping[str, Any]) -> Marks:
    rest = {key: value for key, value in facts.items() if key not in ("tensors", "without")}
    tensors, without = _shapes(facts.get("tensors", {})), tuple(facts.get("without", ()))
    return Marks(tensors, without=without, **rest)


def _shapes(facts: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(shape) for name, shape in facts.items()}
