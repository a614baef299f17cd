"""What the command line prints: progress, tables, results and errors. Results go to stdout."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from talkhead.errors import TalkheadError
from talkhead.report import Report
from talkhead.result import Cost, Made, PlanReport, Result
from talkhead.result import Progress as Step

if TYPE_CHECKING:
    from talkhead.jobs import Kept  # loads numpy

PLAIN_BEAT = 5.0  # seconds between two plain lines of one stage

# a stage, how much of all is done in % (None: as before), more words
Show = Callable[[str, float | None, str], None]


def shown_time(seconds: float | None) -> str:
    """Return seconds as a person reads them."""
    if seconds is None:
        return "…"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def shown_cost(cost: Cost) -> str:
    """Return a cost as a person reads it."""
    about = "about " if cost.estimated else ""
    price = f"{cost.seconds:.1f} s at {cost.price_per_hour:g} an hour"
    when = "; spent when it was made, not now" if cost.repeated else ""
    return f"{about}{cost.amount:.4f} ({price}){when}"


@contextmanager
def progress(quiet: bool) -> Iterator[Report]:
    """Yield where the progress of a job in this process goes."""
    with bar(quiet) as show:
        yield lambda step: show(step.stage, step.pct, _detail(step))


@contextmanager
def bar(quiet: bool) -> Iterator[Show]:
    """Yield where progress goes: a bar on a terminal, plain lines elsewhere, or nowhere."""
    if quiet:
        yield lambda _stage, _pct, _detail: None
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("[bold]{task.fields[stage]:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        ) as shown:
            task = shown.add_task("", total=100, stage="start", detail="")
            yield lambda stage, pct, detail: shown.update(
                task, completed=pct, stage=stage, detail=escape(detail)
            )
    else:
        yield _plain_lines()


def _plain_lines() -> Show:
    """Return what prints a line for each new stage and every few seconds inside one."""
    last_stage, last_at, last_pct = "", 0.0, 0.0

    def line(stage: str, pct: float | None, detail: str) -> None:
        nonlocal last_stage, last_at, last_pct
        now = time.monotonic()
        last_pct = last_pct if pct is None else pct
        if stage == last_stage and now - last_at < PLAIN_BEAT:
            return
        last_stage, last_at = stage, now
        print(f"{stage:<9} {last_pct:5.1f} %  {detail}".rstrip(), file=sys.stderr)  # noqa: T201

    return line


def _detail(step: Step) -> str:
    tells = step.items or step.stage in ("plan", "prepare", "render")
    shown = detail(step.segment, step.segments, step.eta_s if tells else None)
    item = f"item {step.item}/{step.items}" if step.items else ""
    return ", ".join(part for part in (item, shown) if part)


def detail(segment: int, segments: int, eta_s: float | None) -> str:
    """Return where a job is, in words: committed segments, and the seconds left."""
    parts = []
    if segments:
        parts.append(f"segment {min(segment + 1, segments)}/{segments}")
    if eta_s is not None:
        parts.append(f"{shown_time(eta_s)} left")
    return ", ".join(parts)


def aside(text: str) -> None:
    """Print a line beside the answer: it goes to stderr."""
    print(text, file=sys.stderr)  # noqa: T201


def out(text: str = "") -> None:
    """Print a line of the answer."""
    print(text)  # noqa: T201


def as_json(value: object) -> None:
    """Print the answer as one JSON object."""
    out(json.dumps(value, indent=2, ensure_ascii=False))


def error(failure: TalkheadError, json_wanted: bool, resume: str = "") -> None:
    """Print what went wrong and what to do about it."""
    if json_wanted:
        as_json({"error": failure.to_dict()})
        return
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(f"[bold red]{failure.code}[/] {escape(failure.message)}")
    if failure.hint:
        console.print(f"  [dim]→[/] {escape(failure.hint)}")
    if resume:
        console.print(f"  [dim]resume with:[/] {escape(resume)}")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings."""
    made = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, header_style="dim", overflow="fold")
    for row in rows:
        made.add_row(*(escape(cell) for cell in row))
    Console(highlight=False).print(made)


def job_done(result: Result, file: Path, json_wanted: bool) -> None:
    """Print a finished job in a few lines, or as JSON."""
    if json_wanted:
        as_json(result.model_dump(mode="json"))
        return
    _notices(result)
    out(f"{file}  {facts(result.outputs[0])}")
    work = sum(result.seconds.values())
    slowest = sorted(result.seconds.items(), key=lambda item: -item[1])[:3]
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in slowest)
    reason = f" ({result.plan.engine_reason})" if result.plan else ""
    engine = f"{result.engine} engine{reason}, seed {result.seed}, " if result.engine else ""
    out(f"  {engine}{work:.1f} s of work ({stages})")
    if result.cost:
        out(f"  cost {shown_cost(result.cost)}")
    if result.segments and result.segments.resumed:
        out(f"  went on after {result.segments.resumed} of {result.segments.total} segments")
    if result.score:
        sync = result.score["sync"] or {}
        shown = [f"{name} {sync[name]}" for name in ("r0", "auc", "lag_ms") if sync.get(name)]
        out(f"  lip sync: {', '.join([result.score['grade'] or result.score['status'], *shown])}")


def planned(result: Result, file: Path | None, json_wanted: bool) -> None:
    """Print a plan."""
    if json_wanted or result.plan is None:
        as_json(result.model_dump(mode="json"))
        return
    _notices(result)
    rows = _plan_rows(result.plan)
    if result.cost:
        rows.append(("cost", shown_cost(result.cost)))
    table("Plan", ("", ""), rows)
    if file is not None:
        out(f"faces are marked in {file}")


def jobs(found: "Sequence[Kept]", json_wanted: bool) -> None:
    """Print unfinished jobs."""
    if json_wanted:
        as_json([job.to_dict() for job in found])
    elif not found:
        out("no unfinished jobs")
    else:
        rows = [
            (
                job.id,
                job.state,
                f"{job.done}/{'?' if job.total is None else job.total}" + " items" * job.batch,
                f"{job.bytes / 1e6:.1f} MB",
                f"{shown_time(job.age_s)} ago",
            )
            for job in found
        ]
        table("Unfinished jobs", ("id", "state", "segments", "size", "last progress"), rows)
        if not all(job.batch for job in found):
            out("go on with one: talkhead talk --resume ID -o out.mp4")
        if any(job.batch for job in found):
            out("go on with a batch: talkhead batch --resume ID -o FOLDER")


def cleaned(gone: "Sequence[Kept]", json_wanted: bool) -> None:
    """Print what was deleted."""
    if json_wanted:
        as_json([job.to_dict() for job in gone])
        return
    freed = sum(job.bytes for job in gone) / 1e6
    out(f"deleted {len(gone)} unfinished job{'s' if len(gone) != 1 else ''}, {freed:.1f} MB")


def _notices(result: Result) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for notice in result.warnings:
        console.print(f"[yellow]note[/] {escape(notice.message)}")


def _plan_rows(report: PlanReport) -> list[tuple[str, str]]:
    size = f"{report.width}x{report.height}"
    if (report.width, report.height) != (report.work_width, report.work_height):
        size += f" (made at {report.work_width}x{report.work_height})"
    about = "about " if report.estimated else ""
    rows = [
        ("engine", f"{report.engine} ({report.engine_reason})"),
        ("size", f"{size} at {report.fps} frames per second"),
        ("length", f"{about}{report.seconds:.2f} s, {report.frames} frames"),
        ("speech", f"{about}{report.speech_seconds:.2f} s"),
        ("segments", str(report.segments)),
        ("work", f"about {shown_time(report.estimated_seconds)} on this machine"),
        ("memory", f"about {report.estimated_memory_mb} MB"),
    ]
    for number, face in enumerate(report.faces, 1):
        box = ", ".join(f"{value:.0f}" for value in face.box)
        who = f"speaker {face.speaker + 1}" if face.speaker is not None else "not used"
        rows.append((f"face {number}", f"{box}  {who}, mouth {face.mouth_px:.0f} px wide"))
    return rows


def facts(made: Made) -> str:
    """Return size and length of a file in a few words."""
    known = made.facts
    parts = []
    if "width" in known:
        parts.append(f"{known['width']}x{known['height']}")
    if "seconds" in known:
        parts.append(f"{known['seconds']:.2f} s")
    return ", ".join([*parts, f"{made.bytes / 1e6:.1f} MB"])
