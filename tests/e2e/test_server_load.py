"""The server under load and under fire: short here, in full by `make soak`."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import pytest

from support.self_hosted import served
from support.server_load import killed_at_random, loaded, throttle
from support.serving import Ground, card

ASKS_S = 0.5  # between two questions of one poller: RunPod's own client waits for 1 s
GROWTH_MB = 10  # that the server may gain over the second half of a load
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "server_load.json"


def draft(**more: Any) -> dict[str, Any]:
    return {
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": "volume:speech.wav"}],
        "engine": "draft",
        "size": "256x256",
        "fit": "face",
        "duration": 1,
        "output": {"thumbnail": False},
        **more,
    }


def test_twenty_jobs_and_ten_pollers(tmp_path: Path) -> None:
    with served(Ground(tmp_path), "--no-page") as server:
        found = loaded(server, draft(), 20, 10).report()
    assert found["ends"] == {"COMPLETED": 20}
    assert found["polls"] > 50


@pytest.mark.soak  # in CI: test_server.py, one kill
def test_three_kills(tmp_path: Path) -> None:
    with served(Ground(tmp_path), "--no-page", TALKHEAD_SERVER__RETRY_S="0.2") as server:
        slow = {"engine": "testcard", "options": {"pause": 0.2}}
        killed_at_random(server, card(frames=175, **slow), 4, 3, seed=1)


@pytest.mark.soak
def test_five_hundred_jobs_and_fifty_pollers(tmp_path: Path) -> None:
    """Writes down what it measured, for docs/server.md."""
    with served(Ground(tmp_path), "--no-page") as server:
        throttle(server)
        began = time.monotonic()
        found = loaded(server, draft(), 500, 50, ASKS_S).report()
    about = {"date": time.strftime("%Y-%m-%d"), "cores": len(os.sched_getaffinity(0))}
    seconds = round(time.monotonic() - began)
    RESULTS.write_text(
        json.dumps({**about, "cpu": platform.machine(), "seconds": seconds, **found}, indent=1)
    )
    assert found["ends"] == {"COMPLETED": 500}
    first, last = found["memory_mb"]
    assert last - first < GROWTH_MB


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_ten_kills_under_load(tmp_path: Path, seed: int) -> None:
    # all ten may meet one job, which is not to be given up for that here
    patient = {f"TALKHEAD_SERVER__{name}": "10" for name in ("RETRIES", "KILLS")}
    with served(Ground(tmp_path), "--no-page", TALKHEAD_SERVER__RETRY_S="0.2", **patient) as server:
        slow = {"engine": "testcard", "options": {"pause": 0.2}}
        resumed = killed_at_random(server, card(frames=175, **slow), 30, 10, seed)
    assert resumed > 0
