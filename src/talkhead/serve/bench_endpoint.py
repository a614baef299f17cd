"""`talkhead bench-endpoint`: many small jobs on an endpoint, and how long it took over them.

`delayTime` and `executionTime` are the platform's own, from its status bodies. Percentiles are
linear between the two nearest values.
"""

import copy
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from talkhead import __version__
from talkhead.errors import EXIT_CODES, Code, TalkheadError
from talkhead.media.files import whole_file
from talkhead.serve import bench_plot, console, following, logs, replies, words
from talkhead.serve.client import Client
from talkhead.serve.following import Json, Patience

PERCENTILES = (50, 90, 95, 99)
COLD_MS = 1000.0  # a worker that is first seen after so much delay has probably been started for it
SEEDS = 2**31  # below this a benchmark's seeds begin
LONGEST = 200  # characters of a text of the request in the report

Start = Literal["cold", "warm"]
STARTS: tuple[Start, ...] = ("cold", "warm")
MEASURES = {"delay_ms": "delayTime", "execution_ms": "executionTime", "wall_ms": "wall time"}


@dataclass(frozen=True, slots=True)
class Row:
    """One request. Times are in ms, None where the platform did not tell; `sent_ms` is when."""

    number: int
    sent_ms: float
    wall_ms: float  # until its end was seen, which is up to 2 s after it
    status: str
    job_id: str | None = None
    worker: str | None = None
    delay_ms: float | None = None
    execution_ms: float | None = None
    start: Start | None = None
    start_by: Literal["result", "worker"] | None = None  # who says so
    cost: float | None = None
    error: str = ""

    @property
    def good(self) -> bool:
        """Return whether it counts."""
        return not self.error


@dataclass(frozen=True, slots=True)
class Load:
    """How much is sent, and how it is waited for."""

    requests: int
    concurrency: int
    patience: Patience


def measured(
    client: Client, payload: Mapping[str, Any], load: Load, told: Callable[[Row], None]
) -> list[Row]:
    """Send a request so many times, each with a seed and a key of its own; return a row for each.

    Once it is stopped, what runs is cancelled and no more is sent. `told` hears of every end.
    """
    began, run = time.monotonic(), secrets.token_hex(4)
    turn = threading.Lock()

    def one(number: int) -> Row | None:
        if load.patience.stop.is_set():
            return None
        row = _row(client, _numbered(payload, run, number), number, began, load.patience)
        with turn:
            told(row)
        return row

    with ThreadPoolExecutor(load.concurrency, "bench") as pool:
        rows = list(pool.map(one, range(load.requests)))
    return started([row for row in rows if row is not None])


def started(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, each cold or warm where that can be known.

    A talkhead worker says in its result whether it was the first job of its rendering process.
    Where it does not, the first job that is seen of a worker's id is cold if it had to wait for
    COLD_MS, and all others are warm.
    """
    known: set[str] = set()
    found: dict[int, Row] = {}
    for row in sorted(rows, key=lambda row: row.sent_ms + (row.delay_ms or 0)):
        fresh = row.worker is not None and row.worker not in known
        if row.worker is not None:
            known.add(row.worker)
        if row.start is None and row.worker is not None and row.delay_ms is not None and row.good:
            cold = fresh and row.delay_ms >= COLD_MS
            found[row.number] = replace(row, start="cold" if cold else "warm", start_by="worker")
        else:
            found[row.number] = row
    return [found[row.number] for row in rows]


def summary(rows: Sequence[Row]) -> Json:
    """Return counts, and percentiles of each measure: of all, of cold and of warm jobs."""
    good = [row for row in rows if row.good]
    groups: dict[str, list[Row]] = {"all": good}
    groups |= {name: [row for row in good if row.start == name] for name in STARTS}
    counts = {
        "requests": len(rows),
        "completed": len(good),
        "failed": len(rows) - len(good),
        "cold": len(groups["cold"]),
        "warm": len(groups["warm"]),
        "unknown": sum(row.start is None for row in good),
    }
    costs = [row.cost for row in good if row.cost is not None]
    return {
        "counts": counts,
        "cost": round(sum(costs), 6) if costs else None,
        **{
            measure: {name: spread(held, measure) for name, held in groups.items()}
            for measure in MEASURES
        },
    }


def spread(rows: Sequence[Row], measure: str) -> Json:
    """Return how many rows have a measure, its percentiles and its largest value."""
    values = [value for row in rows if (value := getattr(row, measure)) is not None]
    if not values:
        return {"n": 0}
    cuts = np.percentile(values, PERCENTILES)
    named = {f"p{at}": round(float(cut), 1) for at, cut in zip(PERCENTILES, cuts, strict=True)}
    return {"n": len(values), **named, "max": round(max(values), 1)}


def report(base: str, payload: Mapping[str, Any], load: Load, rows: Sequence[Row]) -> Json:
    """Return all that was measured, for machines; without keys."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "talkhead": __version__,
        "endpoint": following.address(base),
        "requests": load.requests,
        "concurrency": load.concurrency,
        "request": _brief({**payload, "idempotency_key": None}),  # every row has its own
        "summary": summary(rows),
        "rows": [asdict(row) for row in rows],
    }


def target(out: Path, force: bool) -> Path:
    """Return the JSON file to write, or raise where it or its plot cannot be or would replace."""
    file = words.output(out, None, ".json", force)
    plot = file.with_suffix(".svg")
    if plot.exists() and not force:
        raise TalkheadError(
            Code.INPUT, f"{plot} exists already", "choose another -o, or add --force to replace it"
        )
    return file


def status(found: Json, *, stopped: bool) -> int:
    """Return the exit status: 1 where a request failed, 130 where it was stopped."""
    if stopped:
        return EXIT_CODES[Code.CANCELLED]
    return 1 if found["summary"]["counts"]["failed"] else 0


def write(found: Json, file: Path) -> Path:
    """Write a report as JSON, and its plot beside it; return the plot's path."""
    plot = file.with_suffix(".svg")
    for path, text in ((file, json.dumps(found, indent=2) + "\n"), (plot, bench_plot.svg(found))):
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return plot


def show(found: Json) -> None:
    """Print a report's counts and percentiles."""
    made, counts = found["summary"], found["summary"]["counts"]
    rows = [
        (MEASURES[measure], name, str(held["n"]), *_cells(held))
        for measure in MEASURES
        for name, held in made[measure].items()
        if held["n"]
    ]
    heads = ("seconds", "", "n", *(f"p{at}" for at in PERCENTILES), "max")
    console.table(f"{found['endpoint']}, {found['concurrency']} at a time", heads, rows)
    unknown = f", {counts['unknown']} of unknown start" if counts["unknown"] else ""
    console.out(
        f"{counts['requests']} requests: {counts['completed']} completed "
        f"({counts['cold']} cold, {counts['warm']} warm{unknown}), {counts['failed']} failed"
    )
    if made["cost"] is not None:
        console.out(f"cost {made['cost']:.4f}, as the workers counted it")
    for error in dict.fromkeys(row["error"] for row in found["rows"] if row["error"]):
        console.out(f"failed: {error}")


def line(row: Row, of: int) -> None:
    """Print one end to stderr."""
    waited = "" if row.delay_ms is None else f"  waited {row.delay_ms / 1000:.1f} s"
    ran = "" if row.execution_ms is None else f"  ran {row.execution_ms / 1000:.1f} s"
    cold = "  cold" if row.start == "cold" else ""
    said = f"{row.number + 1:>4}/{of}  {row.status}{waited}{ran}{cold}  {row.error}"
    sys.stderr.write(f"{said.rstrip()}\n")


def _row(client: Client, payload: Json, number: int, began: float, patience: Patience) -> Row:
    """Run one request; what goes wrong is the row's error."""
    sent, body, result, error = time.monotonic(), dict[str, Any](), dict[str, Any](), ""
    try:
        body = {"id": following.submitted(client, payload)}
        body |= following.ended(client, body["id"], patience)
        result = replies.result(body)
        if result.get("repeated"):
            error = "answered from the store: nothing was measured"
    except TalkheadError as failure:
        error = f"{failure.code}: {failure.message}"
    cold = result.get("cold")
    return Row(
        number=number,
        sent_ms=round(1000 * (sent - began), 1),
        wall_ms=round(1000 * (time.monotonic() - sent), 1),
        status=str(body.get("status") or "NOT RUN"),
        job_id=body.get("id"),
        worker=body.get("workerId"),
        delay_ms=_number(body, "delayTime"),
        execution_ms=_number(body, "executionTime"),
        start=STARTS[0 if cold else 1] if isinstance(cold, bool) else None,
        start_by="result" if isinstance(cold, bool) else None,
        cost=_number(result.get("cost"), "amount"),
        error=error,
    )


def _number(held: object, name: str) -> float | None:
    """Return a number of what another program has said, if it is one."""
    found = held.get(name) if isinstance(held, Mapping) else None
    return found if isinstance(found, int | float) else None


def _numbered(payload: Mapping[str, Any], run: str, number: int) -> Json:
    """Return the request under a key and with a seed of its own, so that no store can answer it."""
    made = copy.deepcopy(dict(payload))
    made["idempotency_key"] = f"bench-{run}-{number}"
    made["sampling"] = {**(made.get("sampling") or {}), "seed": int(run, 16) % SEEDS + number}
    return made


def _brief(value: Any) -> Any:
    """Return a request without secrets and without the files in it."""
    if isinstance(value, str):
        return logs.redact(value)[:LONGEST]
    if isinstance(value, Mapping):
        return {name: _brief(held) for name, held in value.items()}
    return [_brief(held) for held in value] if isinstance(value, list | tuple) else value


def _cells(held: Mapping[str, float]) -> Iterator[str]:
    for name in (*(f"p{at}" for at in PERCENTILES), "max"):
        yield f"{held[name] / 1000:.2f}"
