"""Make pickles safe to load, and wide weights narrower: safetensors beside what was pulled."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.registry import install
from talkhead.weights import File, Manifest, chosen, forms, locate, lock, room, sound
from talkhead.weights.meter import Meter
from talkhead.weights.stopping import Until

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


def convert(
    wanted: Wanted, places: locate.Places, known: Manifest, until: Until, say: Say, report_s: float
) -> tuple[Converted, ...]:
    """Write the safetensors form of pickles, and with a type of other entries, below `into`.

    Of a set its pickles are meant. What is there in that form is kept. Raises E_PIPELINE_LOAD for
    a file that is not here, or that holds more than tensors; nothing in a pickle is executed.
    """
    entries = _entries(wanted, known)
    done = []
    with lock.held(wanted.into, until, say, report_s):
        for file in entries:
            done.append(_one(file, wanted, places, until, _Reports(say, report_s)))
            if not done[-1].bytes:
                say("weights.here", file=file.id, path=str(done[-1].paths[0]))
    return tuple(done)


@dataclass(frozen=True, slots=True)
class _Reports:
    say: Say
    report_s: float


def _entries(wanted: Wanted, known: Manifest) -> list[File]:
    """Return what to convert, or raise E_INPUT_VALIDATION for what cannot be."""
    files = []
    for name, file in chosen(wanted.names, known):
        if forms.pickled(file) and forms.convertible(file):
            files.append(file)
        elif name == file.id:
            if not forms.convertible(file, wanted.dtype):
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
    works = [
        _Work(path, wanted.into / _place(file, name, wanted.dtype))
        for path, name in zip(located.paths, located.names, strict=True)
        if path.suffix in (*sound.PICKLES, forms.SAFE)
    ]
    left = [work for work in works if not work.target.is_file() or sound.fault(work.target)]
    written = _write_all(file, left, wanted, until, reports)
    return Converted(file, tuple(work.target for work in works), written)


def _place(file: File, name: PurePosixPath, dtype: str) -> PurePosixPath:
    """Return where the form of one file goes below the weights folder."""
    path = name.relative_to(file.repo.name).with_suffix(forms.SAFE)
    return PurePosixPath(file.repo.name) / dtype / path


def _write_all(
    file: File, works: Sequence[_Work], wanted: Wanted, until: Until, reports: _Reports
) -> int:
    """Write what is missing of an entry; return the bytes."""
    try:
        from talkhead.weights import tensors  # noqa: PLC0415 (torch is heavy, and optional)
    except ImportError as error:
        raise TalkheadError(Code.UNSUPPORTED, "torch is not installed", install("torch")) from error
    total = 0
    for work in works:
        with tensors.opened(work.source, file.keep) as held:
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

        with tensors.opened(work.source, file.keep) as held, _partial(work.target) as partial:
            tensors.write(held, partial, wanted.dtype, count)
            if why := sound.fault(partial, None, file.shapes, called=work.target.name):
                raise TalkheadError(
                    Code.WEIGHTS,
                    f"{work.source}: what was made of it {why}",
                    "is it the right file?",
                )
            room.place(partial, work.target)
    return total


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """Yield where a file grows; whatever happens, nothing is left there."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write {target}: {error.strerror or error}",
            "check the disk and its rights",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
