"""The bodies of `talkhead weights`, and the pull that a worker does before it takes jobs."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from talkhead import weights
from talkhead.serve import console, weights_page
from talkhead.serve.local import stop_on_signal
from talkhead.settings import Settings, load
from talkhead.weights import forms, room
from talkhead.weights import locate as locating
from talkhead.weights import verify as verifying
from talkhead.weights.planning import Plan
from talkhead.weights.pull import Pulled, Say, Terms, plan_sets, pull_sets
from talkhead.weights.supply import places_of

PLAIN_S = 5.0  # between two lines where there is no terminal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one `weights pull` asks for."""

    names: tuple[str, ...]
    into: Path | None
    deadline_s: float
    noncommercial: bool


def first(settings: Settings, say: Say, cancel: threading.Event | None = None) -> Pulled | None:
    """Pull the sets that a worker is told to have before it takes jobs; None where there are none.

    `say` is logs.event: it gets weights.pull events, one a minute while bytes come or another
    worker is waited for. Raises as pull_sets does.
    """
    if not settings.worker.pull:
        return None

    def told(event: str, **details: Any) -> None:
        say("weights.pull", step=event.removeprefix("weights."), **details)

    return pull_sets(
        settings.worker.pull,
        settings.weights,
        deadline_s=settings.worker.pull_s,
        say=told,
        commercial_only=not settings.noncommercial,
        terms=_terms(settings, 60.0, cancel or threading.Event()),
    )


def show(names: Sequence[str], json: bool) -> None:
    """Print the sets, or the files of some."""
    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings)
    if names:
        files = [file for _, file in weights.chosen(names, known)]
        found = {file.id: locating.find(file, where) for file in files}
        _print(
            json,
            [{**_facts(file), **_here(found[file.id])} for file in files],
            ("file", "size", "from", "licence", "here"),
            [
                (
                    file.id,
                    weights_page.size(file),
                    file.repo.name,
                    file.repo.licence or "not stated",
                    _in_short(found[file.id]),
                )
                for file in files
            ],
        )
        return
    _print(
        json,
        [
            {"name": s.name, "about": s.about, "gb": s.about_gb, "files": [f.id for f in s.files]}
            for s in known.sets.values()
        ],
        ("set", "size", "what", "licences"),
        [
            (s.name, weights_page.set_size(s), s.about, weights_page.licences(s))
            for s in known.sets.values()
        ],
    )
    if not json:
        console.out("files of one: talkhead weights list SET")


def show_plan(wanted: Wanted, json: bool) -> None:
    """Print what a pull would bring, and whether the disk holds it."""
    settings = load(weights_aliases=True)
    root = wanted.into or settings.weights
    with stop_on_signal() as cancel:
        plan = plan_sets(
            wanted.names,
            root,
            deadline_s=wanted.deadline_s,
            commercial_only=not (wanted.noncommercial or settings.noncommercial),
            terms=_terms(settings, PLAIN_S, cancel),
        )
    if json:
        console.as_json({"folder": str(root), **_plan_facts(plan)})
    else:
        rows = [
            (item.file.id, item.remote.path, f"{item.to_come / 1e6:.1f} MB") for item in plan.todo
        ]
        console.table("To come", ("file", "path", "size"), rows)
        console.out(f"{_files(len(plan.todo))}, {plan.bytes / 1e9:.3f} GB into {root}")
        for here in plan.here:
            console.out(f"here: {here.file.id}  {here.paths[0]}")
    room.require(root, plan.bytes)


def pull(wanted: Wanted, json: bool) -> None:
    """Pull, with a bar on a terminal and plain lines elsewhere."""
    settings = load(weights_aliases=True)
    with shown(quiet=json) as (say, report_s), stop_on_signal() as cancel:
        done = pull_sets(
            wanted.names,
            wanted.into or settings.weights,
            deadline_s=wanted.deadline_s,
            say=say,
            commercial_only=not (wanted.noncommercial or settings.noncommercial),
            terms=_terms(settings, report_s, cancel),
        )
    if json:
        console.as_json(
            {"files": done.files, "found": done.found, "bytes": done.bytes, "seconds": done.seconds}
        )
    else:
        elsewhere = (
            f", {_files(len(done.found))} of it elsewhere on this machine" if done.found else ""
        )
        console.out(
            f"complete: {', '.join(wanted.names)}{elsewhere}; {done.bytes / 1e9:.3f} GB came in "
            f"{console.shown_time(done.seconds)}"
        )
        known = weights.known(settings.weights_manifest)
        if pickles := [name for name in done.files if forms.pickled(known.files[name])]:
            console.out(
                f"pickles are loaded once converted: talkhead weights convert {' '.join(pickles)}"
            )


def verify(names: Sequence[str], into: Path | None, json: bool) -> bool:
    """Print a verdict for each file; return whether all asked for are sound."""
    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings, into)
    files = [file for _, file in weights.chosen(names or list(known.files), known)]
    verdicts = []
    for verdict in verifying.verify(files, where, known if names else None):
        if not names and verdict.state == "missing":
            continue  # without names: what is here
        verdicts.append(verdict)
        if not json:  # at once: a set takes minutes
            fix = f"\n  fix: {verdict.fix}" if verdict.fix else ""
            console.out(f"{verdict.state:<8} {verdict.file.id}: {verdict.why}{fix}")
    if json:
        console.as_json([_verdict(verdict) for verdict in verdicts])
    elif not verdicts:
        console.out(f"no weights are here: {where.root}")
    return all(verdict.state == "ok" for verdict in verdicts)


def locate(names: Sequence[str], into: Path | None, json: bool) -> bool:
    """Print where files lie, or where they were looked for; return whether all were found."""
    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings, into)
    files = [file for _, file in weights.chosen(names, known)]
    found = [locating.find(file, where) for file in files]
    if json:
        console.as_json([_located(one) for one in found])
        return all(one.paths for one in found)
    for one in found:
        _show_located(one, where)
    whole = all(one.paths for one in found)
    if not whole:
        console.out(f"looked below {', '.join(map(str, (where.root, *where.also, *where.caches)))}")
    return whole


def _here(one: locating.Located) -> dict[str, Any]:
    return {"paths": [str(path) for path in one.paths], "pickle": one.pickle}


def _in_short(one: locating.Located) -> str:
    return "pickle" if one.pickle else "yes" if one.paths else "--"


def _show_located(one: locating.Located, where: locating.Places) -> None:
    for path in one.paths:
        console.out(f"{one.file.id}: {path}")
    if one.pickle:
        console.out(f"  a pickle: `talkhead weights convert {one.file.id}` makes it safe to load")
    if not one.paths:
        named = where.named.get(one.file.id)
        first = f", first {named}" if named else ""
        console.out(f"{one.file.id}: not found in {len(one.looked)} places{first}")
    for place in one.looked:
        if place.why != locating.ABSENT:
            console.out(f"  {place.path} {place.why}")
    for place in one.hints:
        console.out(f"  {place.path} {place.why}")
    if not one.paths:
        console.out(f"  fix: {verifying.fix(one.file, where)}")


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _terms(settings: Settings, report_s: float, cancel: threading.Event) -> Terms:
    return Terms(
        report_s=report_s,
        cancel=cancel,
        also=settings.weights_also,
        caches=(settings.hf_cache,),
        named=settings.weights_named,
        known=weights.known(settings.weights_manifest),
    )


def _facts(file: weights.File) -> dict[str, Any]:
    return {
        "file": file.id,
        "repo": file.repo.name,
        "revision": file.repo.revision,
        "path": file.path,
        "gb": weights.size_gb(file),
        "licence": file.repo.licence or None,
        "commercial": file.repo.commercial,
        "note": file.note,
    }


def _located(one: locating.Located) -> dict[str, Any]:
    return {
        "file": one.file.id,
        **_here(one),
        "looked": [
            {"path": str(place.path), "why": place.why} for place in (*one.looked, *one.hints)
        ],
    }


def _verdict(verdict: verifying.Verdict) -> dict[str, Any]:
    return {
        "file": verdict.file.id,
        "state": verdict.state,
        "why": verdict.why,
        "paths": [str(path) for path in verdict.paths],
        "fix": verdict.fix,
    }


def _plan_facts(plan: Plan) -> dict[str, Any]:
    return {
        "bytes": plan.bytes,
        "files": [
            {"file": i.file.id, "path": i.remote.path, "bytes": i.remote.bytes, "left": i.to_come}
            for i in plan.todo
        ],
        "here": [{"file": h.file.id, "paths": [str(path) for path in h.paths]} for h in plan.here],
    }


def _print(
    json: bool, value: object, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    if json:
        console.as_json(value)
    else:
        console.table("Weights", columns, rows)


@contextmanager
def shown(*, quiet: bool) -> Iterator[tuple[Say, float]]:
    """Yield where the events of a pull go, and the seconds between two."""
    if quiet:
        yield (lambda _event, **_details: None), PLAIN_S
        return
    if not sys.stderr.isatty():
        yield _line, PLAIN_S
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    err = Console(stderr=True)
    with Progress(*columns, TransferSpeedColumn(), console=err, transient=True) as bar:
        task = bar.add_task("weights", total=None)

        def say(event: str, **details: Any) -> None:
            if event == "weights.progress":
                bar.update(task, completed=details["bytes"], total=details["total"])
            else:
                _line(event, **details)

        yield say, 0.5


def _line(event: str, **details: Any) -> None:
    """Print one event for people."""
    match event:
        case "weights.progress":
            left = console.shown_time(details["eta_s"])
            text = (
                f"{details['bytes'] / 1e6:.1f} of {details['total'] / 1e6:.1f} MB, "
                f"{details['mb_s']} MB/s, {left} left: {details['file']}"
            )
        case "weights.wait":
            text = f"waiting for {details['owner']}, which writes to {details['folder']}"
        case "weights.licence":
            text = f"note: the licence of {details['repo']} is {details['licence']}"
        case "weights.plan":
            text = f"{_files(details['files'])}, {details['bytes'] / 1e9:.3f} GB to come"
        case "weights.convert":
            text = f"{details['file']}: {_files(details['files'])}, {details['bytes'] / 1e9:.3f} GB"
        case "weights.here":
            text = f"{details['file']}: here already, {details['path']}"
        case _:
            return
    sys.stderr.write(f"{text}\n")
