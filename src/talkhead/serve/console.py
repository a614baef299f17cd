"""What the command line prints: progress, tables, results and errors. Results go to stdout."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from talkhead.errors import TalkheadError
from talkhead.report import Report
from talkhead.result import Made, PlanReport, Result
from talkhead.result import Progress as Step

if TYPE_CHECKING:
    from talkhead.jobs import Kept  # loads numpy

PLAIN_BEAT = 5.0  # seconds between two plain lines of one stage


def shown_time(seconds: float | None) -> str:
    """Return seconds as a person reads them."""
    if seconds is None:
        return "…"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


@contextmanager
def progress(quiet: bool) -> Iterator[Report]:
    """Yield where progress goes: a bar on a terminal, plain lines elsewhere, or nowhere."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with Progress(
            TextColumn("[bold]{task.fields[stage]:<9}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            task = bar.add_task("", total=100, stage="start", detail="")
            yield lambda step: bar.update(
                task, completed=step.pct, stage=step.stage, detail=_detail(step)
            )
    else:
        yield _plain_lines()


def _plain_lines() -> Report:
    """Return a report that prints a line for each new stage and every few seconds inside one."""
    last_stage, last_at = "", 0.0

    def line(step: Step) -> None:
        nonlocal last_stage, last_at
        now = time.monotonic()
        if step.stage == last_stage and now - last_at < PLAIN_BEAT:
            return
        last_stage, last_at = step.stage, now
        print(f"{step.stage:<9} {step.pct:5.1f} %  {_detail(step)}".rstrip(), file=sys.stderr)  # noqa: T201

    return line


def _detail(step: Step) -> str:
    parts = []
    if step.segments:
        parts.append(f"segment {min(step.segment + 1, step.segments)}/{step.segments}")
    if step.eta_s is not None and step.stage in ("plan", "prepare", "render"):
        parts.append(f"{shown_time(step.eta_s)} left")
    return ", ".join(parts)


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
    out(f"{file}  {_facts(result.outputs[0])}")
    work = sum(result.seconds.values())
    slowest = sorted(result.seconds.items(), key=lambda item: -item[1])[:3]
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in slowest)
    reason = f" ({result.plan.engine_reason})" if result.plan else ""
    engine = f"{result.engine} engine{reason}, seed {result.seed}, " if result.engine else ""
    out(f"  {engine}{work:.1f} s of work ({stages})")
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
    table("Plan", ("", ""), _plan_rows(result.plan))
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
                f"{job.done}/{'?' if job.total is None else job.total}",
                f"{job.bytes / 1e6:.1f} MB",
                f"{shown_time(job.age_s)} ago",
            )
            for job in found
        ]
        table("Unfinished jobs", ("id", "state", "segments", "size", "last progress"), rows)
        out("go on with one: talkhead talk --resume ID -o out.mp4")


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


def _facts(made: Made) -> str:
    facts = made.facts
    parts = []
    if "width" in facts:
        parts.append(f"{facts['width']}x{facts['height']}")
    if "seconds" in facts:
        parts.append(f"{facts['seconds']:.2f} s")
    return ", ".join([*parts, f"{made.bytes / 1e6:.1f} MB"])
