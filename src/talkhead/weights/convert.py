"""Make pickles safe to load, wide weights narrower, and one file of a base and what changes it.

All become safetensors, beside what was pulled.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from talkhead.errors import Code, TalkheadError
from talkhead.registry import install
from talkhead.weights import File, Manifest, chosen, forms, locate, lock, room, sound
from talkhead.weights.meter import Meter
from talkhead.weights.stopping import Until

if TYPE_CHECKING:
    from talkhead.weights.merge import Parts
    from talkhead.weights.tensors import Tensors

Say = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be converted, and to what."""

    names: tuple[str, ...]
    into: Path
    dtype: str = ""  # of forms.DTYPES; empty: as it is


@dataclass(frozen=True, slots=True)
class Converted:
    """One entry in its new form."""

    file: File
    paths: tuple[Path, ...]
    bytes: int  # that were written; 0: it was here already


@dataclass(frozen=True, slots=True)
class _Work:
    source: Path
    target: Path
    open: "Callable[[], AbstractContextManager[Tensors]]"


def convert(
    wanted: Wanted, places: locate.Places, known: Manifest, until: Until, say: Say, report_s: float
) -> tuple[Converted, ...]:
    """Write the safetensors form of pickles, and with a type of other entries, below `into`.

    Of a set its pickles are meant. What is there in that form is kept; a merged copy is made anew
    where what it was made of is here and is not what it was. Raises E_PIPELINE_LOAD for
    a file that is not here, or that holds more than tensors; nothing in a pickle is executed.
    """
    entries = _entries(wanted, known)
    done, reports = [], _Reports(say, report_s)
    with lock.held(wanted.into, until, say, report_s):
        for file in entries:
            if file.merges:
                done.append(_merged(file, wanted, _Land(places, known), until, reports))
            else:
                done.append(_one(file, wanted, places, until, reports))
            if not done[-1].bytes:
                say("weights.here", file=file.id, path=str(done[-1].paths[0]))
    return tuple(done)


@dataclass(frozen=True, slots=True)
class _Reports:
    say: Say
    report_s: float


@dataclass(frozen=True, slots=True)
class _Land:
    places: locate.Places
    known: Manifest


def _entries(wanted: Wanted, known: Manifest) -> list[File]:
    """Return what to convert, or raise E_INPUT_VALIDATION for what cannot be."""
    files = []
    for name, file in chosen(wanted.names, known):
        if forms.pickled(file) and forms.convertible(file):
            files.append(file)
        elif name == file.id:
            if not file.merges and not forms.convertible(file, wanted.dtype):
                why = "safe to load as it is" if forms.convertible(file, "bf16") else "no pickle"
                hint = "--dtype bf16 makes it narrower" if "safe" in why else "it is used as it is"
                raise TalkheadError(Code.INPUT, f"{file.id} is {why}", hint)
            files.append(file)
    if not files:
        raise TalkheadError(
            Code.INPUT,
            f"there are no pickles in {', '.join(wanted.names)}",
            "name single files with --dtype to make them narrower, such as wan-i2v --dtype bf16",
        )
    return files


def _one(
    file: File, wanted: Wanted, places: locate.Places, until: Until, reports: _Reports
) -> Converted:
    form = forms.form(file, wanted.dtype)
    paths, why = locate.at(form, wanted.into / form.place)
    if not why:
        return Converted(file, tuple(paths), 0)
    located = locate.find(file, places)
    if located.made and located.form == form:
        return Converted(file, located.paths, 0)  # in another of the places
    located = locate.find(file, places, made=False)
    if not located.paths:
        refused = [place for place in located.looked if place.why != locate.ABSENT]
        what = f"{refused[0].path} {refused[0].why}" if refused else "it is not on this machine"
        hint = f"`talkhead weights pull {file.id}` brings it"
        raise TalkheadError(Code.WEIGHTS, f"{file.id}: {what}", hint)
    tensors = _torch_side()[0]
    works = [
        _Work(
            path,
            wanted.into / _place(file, name, wanted.dtype),
            partial(tensors.opened, path, file.keep),
        )
        for path, name in zip(located.paths, located.names, strict=True)
        if path.suffix in (*sound.PICKLES, forms.SAFE)
    ]
    left = [work for work in works if not work.target.is_file() or sound.fault(work.target)]
    written = _write_all(file, left, wanted, until, reports)
    return Converted(file, tuple(work.target for work in works), written)


def _merged(file: File, wanted: Wanted, land: _Land, until: Until, reports: _Reports) -> Converted:
    """Write an entry that others make, unless it is here and made of what is here of them."""
    form = forms.form(file, wanted.dtype)
    target = wanted.into / form.place
    here, why = locate.at(form, target)
    located = locate.find(file, land.places)
    if why:
        here = list(located.paths) if located.form == form else []
    _, merge = _torch_side()
    try:
        parts = _parts(file, wanted, land, until, reports)
    except TalkheadError as error:
        if not here or error.code is not Code.WEIGHTS:
            raise
        return Converted(file, tuple(here), 0)  # it is all that is needed
    if here and merge.current(here[0], parts):
        return Converted(file, tuple(here), 0)
    work = _Work(parts.delta, target, partial(merge.opened, parts, wanted.dtype))
    return Converted(file, (target,), _write_all(file, [work], wanted, until, reports))


def _parts(file: File, wanted: Wanted, land: _Land, until: Until, reports: _Reports) -> "Parts":
    """Return what an entry is merged of, the delta converted; the disk holds all that is to come.

    Raises E_PIPELINE_LOAD for what is not here.
    """
    tensors, merge = _torch_side()
    base, delta, config = (land.known.files[name] for name in file.merges)
    wide = _loadable(base, land, made=False) or _loadable(base, land)  # rounded once, not twice
    narrow = locate.find(delta, land.places)
    lost = [one.id for one, there in ((base, wide), (delta, narrow.paths)) if not there]
    if lost:
        pulls = f"`talkhead weights pull {' '.join(lost)}` brings it"
        told = f"{file.id} is made of {' and '.join(lost)}, which is not on this machine"
        raise TalkheadError(Code.WEIGHTS, told, pulls)
    total = narrow.paths[0].stat().st_size * (2 if narrow.pickle else 1)
    for path in wide:
        with tensors.opened(path) as held:
            total += tensors.size(held, wanted.dtype)
    safe = narrow.paths
    if narrow.pickle:
        room.require(wanted.into, total)
        safe = _one(delta, replace(wanted, dtype=""), land.places, until, reports).paths
    settings = locate.find(config, land.places).paths
    made: Parts = merge.Parts(wide, safe[0], settings[0] if settings else None)
    return made


def _loadable(file: File, land: _Land, *, made: bool = True) -> tuple[Path, ...]:
    """Return the safetensors of an entry or an alternative of it, none where there are none."""
    for way in land.known.ways(file.id):
        located = locate.find(way, land.places, made=made)
        if paths := tuple(path for path in located.paths if path.suffix == forms.SAFE):
            return paths
    return ()


def _place(file: File, name: PurePosixPath, dtype: str) -> PurePosixPath:
    """Return where the form of one file goes below the weights folder."""
    path = name.relative_to(file.repo.name).with_suffix(forms.SAFE)
    return PurePosixPath(file.repo.name) / dtype / path


def _write_all(
    file: File, works: Sequence[_Work], wanted: Wanted, until: Until, reports: _Reports
) -> int:
    """Write what is missing of an entry; return the bytes."""
    tensors, _ = _torch_side()
    total = 0
    for work in works:
        with work.open() as held:
            total += tensors.size(held, wanted.dtype)
    room.require(wanted.into, total)
    reports.say("weights.convert", file=file.id, files=len(works), bytes=total)
    meter, said = Meter(), time.monotonic()
    for work in works:

        def count(number: int, name: str = work.target.name) -> None:
            nonlocal said
            meter.count(number)
            until.check()
            if time.monotonic() - said >= reports.report_s:
                said = time.monotonic()
                facts: dict[str, Any] = {**meter.facts(total), "file": name}
                reports.say("weights.progress", **facts)

        with work.open() as held, _partial(work.target) as growing:
            tensors.write(held, growing, wanted.dtype, count)
            if why := sound.fault(growing, None, file.shapes, called=work.target.name):
                raise TalkheadError(
                    Code.WEIGHTS,
                    f"{work.source}: what was made of it {why}",
                    "is it the right file?",
                )
            room.place(growing, work.target)
    return total


def _torch_side() -> tuple[Any, Any]:
    """Return the modules that need torch, which is heavy and optional."""
    try:
        from talkhead.weights import merge, tensors  # noqa: PLC0415
    except ImportError as error:
        raise TalkheadError(Code.UNSUPPORTED, "torch is not installed", install("torch")) from error
    return tensors, merge


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Yield where a file grows; whatever happens, nothing is left there."""
    growing = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield growing
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write {target}: {error.strerror or error}",
            "check the disk and its rights",
        ) from error
    finally:
        growing.unlink(missing_ok=True)
