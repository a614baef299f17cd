"""The acceptance test and the benchmark against the real worker, on the draft engine."""

import json
import signal
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from support.harness import Cli
from talkhead.serve.cli import app


@pytest.fixture
def base(cli: Cli) -> Iterator[str]:
    """Return the address of `talkhead worker --serve`."""
    cli.env |= {
        "TALKHEAD_ENGINE": "draft",
        "TALKHEAD_PRICE_PER_HOUR": "3600",
        "TALKHEAD_STORE": json.dumps({"kind": "local", "root": str(cli.folder / "store")}),
    }
    worker = cli.start("worker", "--serve", "--port", "0")
    assert worker.stderr is not None
    try:
        line = next((line for line in worker.stderr if "paths on" in line), "")
        assert line, "the worker did not start"
        yield line.split("paths on ")[1].split(": ")[0]
    finally:
        worker.send_signal(signal.SIGINT)
        worker.communicate(timeout=30)


def test_a_real_worker_is_measured_and_accepted(cli: Cli, base: str) -> None:
    short = ("--set", "duration=0.5")
    file = cli.folder / "bench.json"
    bench = CliRunner().invoke(
        app, ["bench-endpoint", base, "--requests", "2", *short, "-o", str(file)]
    )
    assert bench.exit_code == 0, bench.output
    found = json.loads(file.read_text())
    assert found["summary"]["counts"]["cold"] == 1
    assert found["summary"]["counts"]["warm"] == 1
    assert [row["start"] for row in found["rows"]] == ["cold", "warm"]
    assert {row["start_by"] for row in found["rows"]} == {"result"}
    assert all(row["delay_ms"] is not None and row["execution_ms"] for row in found["rows"])
    assert file.with_suffix(".svg").exists()

    smoke = cli("smoke", base, "--repeat", "--json", "--min", "r=0.6,lag_ms=60")
    assert smoke.status == 0, smoke.out
    told = smoke.json
    assert {check["name"] for check in told["checks"]} >= {"key", "delay", "lips: r", "repeat"}
    result = told["result"]
    assert result["plan"]["frames"] == 50
    assert result["cost"]["amount"] == pytest.approx(result["cost"]["seconds"])
    assert result["cost"]["seconds"] >= result["seconds"]["render"]
    assert result["cold"] is False
