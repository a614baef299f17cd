"""Every accepted job ends once, whatever happens; a killed worker's job goes on unchanged."""

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.harness import frames_digest
from support.plane import Platform, platform
from support.serving import Ground, working
from support.soak import TURN, crash, soak

GROWTH_MB = 8  # that one part of the worker may gain over half of a long load


def test_fifteen_jobs_end_once_each(tmp_path: Path) -> None:
    kinds = soak(tmp_path / "soak", 15)["kinds"]
    assert kinds.keys() == {kind.__name__ for kind in (*TURN, crash)}


@pytest.mark.soak
def test_two_hundred_jobs_end_once_each(tmp_path: Path) -> None:
    found = soak(tmp_path / "soak", 200)
    assert found["growth_mb"]["parent"] < GROWTH_MB
    assert found["growth_mb"]["child"] < GROWTH_MB


def draft(key: str) -> dict[str, Any]:
    return {
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": "volume:speech.wav"}],
        "size": "320x320",
        "fit": "face",
        "engine": "draft",
        "sampling": {"seed": 5},
        "idempotency_key": key,
    }


def kill_and_resubmit(folder: Path, kills: int, seed: int) -> None:
    """Kill the worker at random points of a job, and compare with one that ran in peace."""
    ground, dice = Ground(folder), random.Random(seed)
    resumed = 0
    with platform() as plane, ExitStack() as workers:
        worker = workers.enter_context(working(ground, plane))
        began = time.monotonic()
        peace = frames(plane, plane.run(draft("peace")))
        length = time.monotonic() - began
        for number in range(kills):
            job = plane.run(draft(f"killed-{number}"))
            plane.until(lambda job=job: bool(plane.events(job, "take")), "the job")  # type: ignore[misc]
            time.sleep(dice.uniform(0.1, 0.9) * length)
            worker.kill()
            if plane.plane.jobs[job].status != "COMPLETED":
                plane.requeue(job)
            worker = workers.enter_context(working(ground, plane, f"pod-{number + 2}"))
            assert frames(plane, job) == peace
            resumed += plane.get(f"status/{job}")["output"]["result"]["segments"]["resumed"]
        assert not plane.events(None, "late")
    assert resumed > 0
    assert ground.left() == []


def frames(plane: Platform, job: str) -> tuple[int, str]:
    ended = plane.end(job)
    assert ended["status"] == "COMPLETED", ended
    url = ended["output"]["result"]["outputs"][0]["url"]
    return frames_digest(Path(url.removeprefix("file://")))


@pytest.mark.soak  # in CI: test_resume.py by the command line, test_server_load.py by the server
def test_three_kills_leave_no_trace_in_the_video(tmp_path: Path) -> None:
    kill_and_resubmit(tmp_path, kills=3, seed=5)


@pytest.mark.soak
def test_ten_kills_leave_no_trace_in_the_video(tmp_path: Path) -> None:
    kill_and_resubmit(tmp_path, kills=10, seed=6)
