"""`talkhead bench-endpoint` on the emulated platform, with a stub worker that takes as told."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from support.plane import Platform, platform
from talkhead.serve import bench_endpoint, bench_plot
from talkhead.serve.bench_endpoint import COLD_MS, Row, spread, started
from talkhead.serve.cli import app
from talkhead.serve.plane import Entry, Plane

WARM = [(100 + 10 * n, 2000 + 100 * n) for n in range(11)]  # ms: 100 to 200, 2000 to 3000
COLD = [(30_000 + 1000 * n, 9000 + 500 * n) for n in range(5)]


class Stub:
    """Gives each job the next of its times, without taking them, and says what it is told to."""

    def __init__(self, times: Sequence[tuple[int, int]], output: Callable[[int], Any]) -> None:
        self.seen: list[dict[str, Any]] = []
        self._times, self._output = list(times), output

    async def work(self, plane: Plane) -> None:
        while True:
            for entry in await plane.take(f"pod-{len(self.seen)}", 1):
                self._end(entry)

    def _end(self, entry: Entry) -> None:
        number = len(self.seen)
        self.seen.append(entry.input)
        delay, execution = self._times[number]
        entry.queued, entry.began = 0.0, delay / 1000
        entry.ended = entry.began + execution / 1000
        output = self._output(number)
        if isinstance(output, str):
            entry.status, entry.error = "FAILED", output
        else:
            entry.status, entry.output = "COMPLETED", {"result": output}


@contextmanager
def stubbed(stub: Stub) -> Iterator[Platform]:
    with platform(hold_s=0.05) as place:
        loop = place.loop
        work = asyncio.run_coroutine_threadsafe(stub.work(place.plane), loop)
        try:
            yield place
        finally:
            work.cancel()


def bench(place: Platform, *words: str, status: int = 0) -> Result:
    ran = CliRunner().invoke(app, ["bench-endpoint", place.base, *words], env={"COLUMNS": "120"})
    assert ran.exit_code == status, ran.output
    return ran


def talked(cold: bool) -> dict[str, Any]:
    return {"action": "talk", "cold": cold, "cost": {"amount": 0.5}}


def test_percentiles_are_those_of_what_the_platform_says(tmp_path: Path) -> None:
    stub = Stub([*COLD, *WARM], lambda n: talked(n < len(COLD)))
    with stubbed(stub) as place:
        file = tmp_path / "bench.json"
        ran = bench(
            place, "--requests", "16", "--concurrency", "4", "--key", "rp_hush", "-o", str(file)
        )
    found = json.loads(file.read_text())
    made = found["summary"]
    assert made["counts"] == {
        "requests": 16, "completed": 16, "failed": 0, "cold": 5, "warm": 11, "unknown": 0
    }  # fmt: skip
    # of eleven values so far apart, by hand: the value at 0.5, 0.9, 0.95 and 0.99 of the way
    assert made["delay_ms"]["warm"] == {
        "n": 11, "p50": 150, "p90": 190, "p95": 195, "p99": 199, "max": 200
    }  # fmt: skip
    assert made["execution_ms"]["warm"] == {
        "n": 11, "p50": 2500, "p90": 2900, "p95": 2950, "p99": 2990, "max": 3000
    }  # fmt: skip
    assert made["delay_ms"]["cold"] == {
        "n": 5, "p50": 32_000, "p90": 33_600, "p95": 33_800, "p99": 33_960, "max": 34_000
    }  # fmt: skip
    assert made["execution_ms"]["cold"]["p50"] == 10_000
    assert made["delay_ms"]["all"]["p50"] == 175  # between the 8th and the 9th of 16
    assert made["cost"] == 8.0
    pairs = {(row["delay_ms"], row["execution_ms"]) for row in found["rows"]}
    assert pairs == {*COLD, *WARM}
    assert {row["start_by"] for row in found["rows"]} == {"result"}
    assert found["endpoint"] == place.base
    assert "rp_hush" not in file.read_text() + ran.output
    assert "16 completed (5 cold, 11 warm), 0 failed" in ran.output
    assert "32.00" in ran.output
    assert "COMPLETED  waited 30.0 s  ran 9.0 s  cold" in ran.output
    ElementTree.parse(file.with_suffix(".svg"))


def test_every_request_is_one_of_its_own() -> None:
    stub = Stub(WARM, lambda _: talked(cold=False))
    with stubbed(stub) as place:
        ran = bench(place, "--requests", "3", "--json", "--set", "size=300x256")
    assert json.loads(ran.output)["summary"]["counts"]["completed"] == 3
    assert len({one["idempotency_key"] for one in stub.seen}) == 3
    assert len({one["sampling"]["seed"] for one in stub.seen}) == 3
    assert {one["size"] for one in stub.seen} == {"300x256"}


def test_what_failed_or_was_stored_is_told_and_not_counted() -> None:
    error = json.dumps({"code": "E_OOM", "message": "out of memory"})
    ends = [talked(cold=True), error, {**talked(cold=False), "repeated": True}]
    with stubbed(Stub(WARM, lambda n: ends[n])) as place:
        found = json.loads(bench(place, "--requests", "3", "--json", status=1).output)
        text = bench_text(found)
    assert found["summary"]["counts"] == {
        "requests": 3, "completed": 1, "failed": 2, "cold": 1, "warm": 0, "unknown": 0
    }  # fmt: skip
    assert found["summary"]["delay_ms"]["all"]["n"] == 1
    errors = [row["error"] for row in found["rows"]]
    assert errors[1] == "E_OOM: out of memory"
    assert "answered from the store" in errors[2]
    assert "failed: E_OOM: out of memory" in text


def bench_text(found: dict[str, Any]) -> str:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_endpoint.console, "out", lines.append)
        bench_endpoint.show(found)
    return "\n".join(lines)


def test_files_that_are_there_are_kept(tmp_path: Path) -> None:
    plot = tmp_path / "bench.svg"
    plot.write_text("mine")
    with platform() as place:
        ran = bench(place, "-o", str(tmp_path / "bench.json"), status=2)
        assert place.plane.jobs == {}
    assert "exists already" in ran.output
    assert plot.read_text() == "mine"


def row(number: int, worker: str | None, delay: float | None, **more: Any) -> Row:
    return Row(
        number=number, sent_ms=100 * number, wall_ms=1, status="COMPLETED", worker=worker,
        delay_ms=delay, execution_ms=1, **more,
    )  # fmt: skip


def test_where_the_result_says_nothing_a_new_worker_after_a_long_wait_is_cold() -> None:
    rows = started(
        [
            row(0, "a", COLD_MS),  # the first of its worker, after a long wait
            row(1, "a", 5 * COLD_MS),  # behind another job, not behind a start
            row(2, "b", COLD_MS - 1),  # a worker that was there already
            row(3, None, 9 * COLD_MS),  # nobody knows
            row(4, "c", 9 * COLD_MS, start="warm", start_by="result"),  # it said so itself
            row(5, "d", 9 * COLD_MS, error="E_OOM: out of memory"),
        ]
    )
    assert [row.start for row in rows] == ["cold", "warm", "warm", None, "warm", None]
    assert [row.start_by for row in rows[:5]] == ["worker", "worker", "worker", None, "result"]


def test_the_first_of_a_worker_is_the_one_that_began_first() -> None:
    rows = started([row(0, "a", 9 * COLD_MS), row(1, "a", 2 * COLD_MS)])
    assert [row.start for row in rows] == ["warm", "cold"]


def test_nothing_measured_is_no_percentile() -> None:
    assert spread([row(0, "a", None)], "delay_ms") == {"n": 0}


def test_once_stopped_nothing_more_is_sent() -> None:
    with platform() as place:
        stop = threading.Event()
        stop.set()
        load = bench_endpoint.Load(5, 2, bench_endpoint.Patience(10, stop))
        with bench_endpoint.Client(place.base) as client:
            assert bench_endpoint.measured(client, {}, load, lambda _: None) == []
        assert place.plane.jobs == {}


@pytest.mark.parametrize(
    ("delays", "ends"),
    [([5.0], (5, 10)), ([100.0, 200.0], (100, 200)), ([0.0, 61_000.0], (1, 100_000))],
)
def test_the_plots_axis_holds_every_value(delays: list[float], ends: tuple[float, float]) -> None:
    values = [max(value, 1.0) for value in delays]
    low, high = bench_plot._around(min(values), max(values))
    assert (low, high) == ends
    assert len(bench_plot._ticks(low, high)) <= bench_plot.MOST_TICKS
