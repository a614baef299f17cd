"""Bring sets of weights to a folder: planned, locked, resumed, checked once."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from talkhead.errors import Code, TalkheadError
from talkhead.weights import (
    Manifest,
    chosen,
    hub,
    locate,
    lock,
    manifest,
    record,
    repos,
    room,
    transfer,
)
from talkhead.weights.meter import Meter
from talkhead.weights.planning import Item, Plan, check_licences, make_plan, pending
from talkhead.weights.sound import fault
from talkhead.weights.stopping import RESUME, Until

LOOK_S = 0.25

Say = Callable[..., None]  # say(event, **details), as serve.logs.event


@dataclass(frozen=True)
class Terms:
    """How to pull."""

    parallel: int = 4
    report_s: float = 60.0  # between two progress events
    cancel: threading.Event = field(default_factory=threading.Event)
    also: tuple[Path, ...] = ()  # further folders to look in before anything is downloaded
    caches: tuple[Path, ...] = ()
    named: Mapping[str, Path] = field(default_factory=dict)  # by entry: looked at before all
    known: Manifest | None = None  # None: the manifest that comes with talkhead

    def places(self, root: Path) -> locate.Places:
        """Return where to look for what need not be pulled."""
        return locate.Places(root, self.also, self.caches, self.named)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What is there now."""

    files: tuple[str, ...]  # ids of the manifest's entries
    found: tuple[str, ...]  # those that lie elsewhere on this machine and were not pulled
    bytes: int  # that came over the network
    seconds: float


def plan_sets(
    names: Sequence[str], root: Path, *, deadline_s: float, commercial_only: bool, terms: Terms
) -> Plan:
    """Return what pull_sets would do, having asked the hub for sizes. Writes nothing."""
    until, known = Until(deadline_s, terms.cancel), terms.known or manifest()
    entries = chosen(names, known)
    check_licences(entries, commercial_only)
    return make_plan(entries, terms.places(root), until, known)


def pull_sets(
    names: Sequence[str],
    root: Path,
    *,
    deadline_s: float,
    say: Say,
    commercial_only: bool,
    terms: Terms | None = None,
) -> Pulled:
    """Bring these sets (or single files) below root, and return what is there.

    What was checked by an earlier pull, or lies elsewhere on this machine, is not pulled again and
    needs no network. Raises E_UNSUPPORTED for a licence that is not allowed, E_CAPACITY where the
    disk is too small, E_TIMEOUT after deadline_s seconds, E_DOWNLOAD_FAILED, E_PIPELINE_LOAD.
    """
    terms = terms or Terms()
    until, known = Until(deadline_s, terms.cancel), terms.known or manifest()
    entries = chosen(names, known)
    check_licences(entries, commercial_only)
    places = terms.places(root)
    meter = Meter()
    here, missing = pending(entries, places, known)
    if missing:
        for repo in repos([file for _, file in missing], commercial=None):
            say("weights.licence", level="warning", repo=repo.name, licence=repo.terms)
        with lock.held(root, until, say, terms.report_s):
            plan = make_plan(entries, places, until, known)
            room.require(root, plan.bytes)
            here = plan.here
            say("weights.plan", sets=list(names), files=len(plan.todo), bytes=plan.bytes)
            _bring_all(plan, root, until, _Reports(meter, say, terms, plan.bytes))
    seconds = round(until.deadline_s - until.left_s, 1)
    found = tuple(entry.file.id for entry in here if entry.elsewhere)
    done = Pulled(tuple(file.id for _, file in entries), found, meter.fetched, seconds)
    say("weights.ready", sets=list(names), files=len(entries), bytes=done.bytes, seconds=seconds)
    return done


@dataclass(frozen=True, slots=True)
class _Reports:
    meter: Meter
    say: Say
    terms: Terms
    total: int  # bytes, as they were to come at the start

    def progress(self) -> None:
        self.say("weights.progress", **self.meter.facts(self.total))


def _bring_all(plan: Plan, root: Path, until: Until, reports: _Reports) -> None:
    """Run the transfers side by side; the first failure stops the others and is raised."""
    with ThreadPoolExecutor(reports.terms.parallel, "weights") as pool:
        running = {pool.submit(_bring, item, until, reports.meter): item for item in plan.todo}
        try:
            _watch(running, plan, root, reports)
        except TalkheadError as error:
            raise _named_partials(error, plan) from error
        finally:
            until.abandon.set()
            pool.shutdown(cancel_futures=True)


def _watch(
    running: dict[Future[record.Seen], Item], plan: Plan, root: Path, reports: _Reports
) -> None:
    left = {file_id: sum(item.file.id == file_id for item in plan.todo) for file_id in plan.ids}
    checked: dict[str, list[record.Seen]] = {file_id: [] for file_id in left}
    waiting, said = set(running), time.monotonic()
    while waiting:
        ended, waiting = wait(waiting, LOOK_S, FIRST_COMPLETED)
        for future in ended:
            item = running[future]
            checked[item.file.id].append(future.result())
            if len(checked[item.file.id]) == left[item.file.id]:
                record.write(root, item.file, item.commit, tuple(checked[item.file.id]))
        if waiting and time.monotonic() - said >= reports.terms.report_s:
            said = time.monotonic()
            reports.progress()


def _bring(item: Item, until: Until, meter: Meter) -> record.Seen:
    """Return one file, checked and in its place."""
    try:
        with meter.working(item):
            return _complete(item, until, meter)
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write {item.target}: {error.strerror or error}",
            f"check the disk and its rights; {RESUME}",
        ) from error


def _complete(item: Item, until: Until, meter: Meter) -> record.Seen:
    if item.target.is_file() and not (bad := _wrong(item, item.target, until)).why:
        return record.seen(item.root, item.target, bad.sha256)  # put there by somebody else
    headers = {} if item.file.repo.url else hub.headers()
    wanted = transfer.Wanted(item.file.repo, item.remote.url, headers, item.remote.bytes)
    item.partial.parent.mkdir(parents=True, exist_ok=True)
    for stray in item.partial.parent.glob(f".{item.target.name}.*.partial"):
        if stray != item.partial:  # of an earlier version of the file
            stray.unlink(missing_ok=True)
    for _ in range(2):  # what an earlier process left may be damaged: then once more, from nothing
        transfer.fetch(wanted, item.partial, until, meter.count)
        bad = _wrong(item, item.partial, until)
        if not bad.why:
            return _place(item, bad.sha256)
        transfer.drop(item.partial, meter.count)
    raise TalkheadError(
        Code.WEIGHTS,
        f"{item.file.repo.name}/{item.remote.path} {bad.why}, twice",
        "the server or the mirror is damaged: check HF_ENDPOINT",
    )


@dataclass(frozen=True, slots=True)
class _Verdict:
    why: str
    sha256: str


def _wrong(item: Item, path: Path, until: Until) -> _Verdict:
    """Compare a file with what its server and the manifest say of it."""
    why = fault(path, item.remote.bytes, item.file.shapes, called=item.target.name)
    if why:
        return _Verdict(why, "")
    sha256 = record.sha256_of(path, until.check)
    expected = item.file.sha256 or item.remote.sha256
    if expected and sha256 != expected:
        return _Verdict(f"has the sha256 {sha256[:12]}…, not {expected[:12]}…", sha256)
    git = item.remote.git
    if not expected and len(git) == 40 and record.git_of(path, until.check) != git:
        return _Verdict(f"is not the file that the hub lists as {git[:12]}…", sha256)
    return _Verdict("", sha256)


def _place(item: Item, sha256: str) -> record.Seen:
    room.place(item.partial, item.target)
    return record.seen(item.root, item.target, sha256)


def _named_partials(error: TalkheadError, plan: Plan) -> TalkheadError:
    """Return the error with the names of what has begun and is not complete."""
    begun = [
        f"{item.remote.path} ({size / 1e6:.1f} of {(item.remote.bytes or 0) / 1e6:.1f} MB)"
        for item in plan.todo
        if (size := transfer.size(item.partial))
    ]
    if error.code not in (Code.TIMEOUT, Code.CANCELLED, Code.DOWNLOAD) or not begun:
        return error
    message = f"{error.message}; begun and kept: {', '.join(begun)}"
    return TalkheadError(error.code, message, error.hint)
