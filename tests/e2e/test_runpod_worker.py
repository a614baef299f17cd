"""The worker as RunPod runs it: the SDK's own loop against a control plane on loopback."""

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from support.harness import frames_digest
from support.plane import Platform, platform
from support.serving import Ground, Worker, card, working

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = 64 * 1024


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("worker"))


@pytest.fixture(scope="module")
def plane() -> Iterator[Platform]:
    with platform() as running:
        yield running


@pytest.fixture(scope="module")
def worker(ground: Ground, plane: Platform) -> Iterator[Worker]:
    with working(ground, plane) as running:
        yield running


@pytest.fixture(autouse=True)
def _one_end_each(request: pytest.FixtureRequest) -> Iterator[None]:
    """See that no job of a test got more than one end, or progress after it."""
    yield
    if "plane" in request.fixturenames:
        assert not request.getfixturevalue("plane").events(None, "late")


def error_of(ended: dict[str, Any]) -> dict[str, Any]:
    assert ended["status"] == "FAILED"
    assert "Traceback" not in ended["error"]
    return dict(json.loads(ended["error"]))


def file_of(url: str) -> Path:
    return Path(unquote(urlparse(url).path))


def test_a_good_job(plane: Platform, worker: Worker, ground: Ground) -> None:
    job = plane.run(card())
    ended = plane.end(job)
    assert ended["status"] == "COMPLETED", ended
    result = ended["output"]["result"]
    video = result["outputs"][0]
    assert video["key"] == f"{job}/video.mp4"
    assert frames_digest(file_of(video["url"]))[0] == 25
    assert (ground.store / job / "result.json").exists()
    assert len(json.dumps(ended["output"])) < SMALL
    assert "score" not in result  # members without a value are left out
    assert ground.left() == []


def test_progress_is_in_order_and_over_before_the_answer(plane: Platform, worker: Worker) -> None:
    job = plane.run(card("sleep", deadline_s=3.6))
    assert error_of(plane.end(job))["code"] == "E_TIMEOUT"
    told = plane.events(job, "progress", "done")
    assert [event.kind for event in told][-1] == "done"
    assert len(told) >= 4
    assert all(later.at - sooner.at >= 0.95 for sooner, later in pairwise(told[:-1]))
    shown = [event.details for event in told[:-1]]
    assert [step["pct"] for step in shown] == sorted(step["pct"] for step in shown)
    assert {"stage", "pct", "window", "windows", "step", "steps", "eta_s"} == shown[-1].keys()


def test_progress_that_hangs_holds_nothing_up(plane: Platform, worker: Worker) -> None:
    plane.plane.faults.delay_progress_s = 30
    try:
        job = plane.run(card("sleep", deadline_s=1))
        began = time.monotonic()
        assert error_of(plane.end(job))["code"] == "E_TIMEOUT"
        assert time.monotonic() - began < 5
        assert not plane.events(job, "progress")
    finally:
        plane.plane.faults.delay_progress_s = 0


def test_wrong_input_is_told_as_json(plane: Platform, worker: Worker) -> None:
    error = error_of(plane.ask(card(portrat="x")))
    assert error["code"] == error["error_type"] == "E_INPUT_VALIDATION"
    assert error["fields"] == ["portrat"]
    assert "did you mean 'portrait'" in error["error_message"]
    assert error["retryable"] is False


def test_an_older_payload_is_answered_in_its_shape(plane: Platform, worker: Worker) -> None:
    payload = {"input_image_url": "volume:portrait.png", "driving_video_path": "a.mp4", "odd": 1}
    ended = plane.ask(payload)
    assert error_of(ended)["code"] in ("E_UNSUPPORTED", "E_PIPELINE_LOAD")
    refused = plane.ask({"action": "lipsync", "portrait_image": 7, "audio": "a.wav"})
    assert error_of(refused)["code"] == "E_INPUT_VALIDATION"
    assert refused["output"]["status"] == "error"


def test_payloads_at_the_limit(plane: Platform, worker: Worker) -> None:
    error = error_of(plane.ask(card(prompt="x" * 9_000_000)))
    assert error["code"] == "E_INPUT_VALIDATION"
    assert len(json.dumps(error)) < 8000
    huge = {f"key{number}": "x" for number in range(100_000)}
    assert len(json.dumps(plane.ask(huge))) < 20_000


def test_what_was_lost_on_its_way_is_answered_again(
    plane: Platform, worker: Worker, ground: Ground
) -> None:
    plane.plane.faults.refuse_done = 3
    job = plane.run(card())
    plane.until(lambda: len(plane.events(job, "refused")) == 3, "the third refusal")
    assert plane.get(f"status/{job}")["status"] == "IN_PROGRESS"
    plane.requeue(job)
    result = plane.end(job)["output"]["result"]
    assert result["repeated"] is True
    assert len(worker.lines("job.repeated")) == 1
    assert frames_digest(file_of(result["outputs"][0]["url"]))[0] == 25
    assert ground.left() == []


def test_a_key_belongs_to_one_request(plane: Platform, worker: Worker) -> None:
    assert plane.ask(card(idempotency_key="mine"))["status"] == "COMPLETED"
    assert plane.ask(card(idempotency_key="mine"))["output"]["result"]["repeated"] is True
    error = error_of(plane.ask(card(idempotency_key="mine", frames=30)))
    assert error["fields"] == ["idempotency_key"]


def test_ids_that_are_no_keys_are_made_safe(plane: Platform, worker: Worker) -> None:
    ended = plane.ask(card(), id="-é:odd id")
    assert ended["status"] == "COMPLETED", ended
    assert ended["output"]["result"]["job_id"].startswith("job-")


def test_a_cancelled_job_makes_room_for_the_next(
    plane: Platform, worker: Worker, ground: Ground
) -> None:
    child = worker.child
    job = plane.run(card("sleep"))
    plane.until(lambda: bool(plane.events(job, "progress")), "progress")
    plane.post(f"cancel/{job}")
    after = plane.ask(card())
    assert after["status"] == "COMPLETED"
    assert not plane.events(job, "done")
    assert worker.child == child  # it obeyed, so it was kept


def test_a_crash_costs_one_job(plane: Platform, worker: Worker) -> None:
    child = worker.child
    error = error_of(plane.ask(card("segfault")))
    assert error["code"] == "E_CAPACITY"
    assert error["retryable"] is True
    assert plane.ask(card())["status"] == "COMPLETED"
    assert worker.child != child


def test_health_and_capabilities(plane: Platform, worker: Worker) -> None:
    health = plane.ask({"action": "health", "self_test": True})["output"]["result"]
    assert health["healthy"] is True
    assert health["seconds"]["render"] > 0
    ability = plane.ask({"action": "capabilities"})["output"]["result"]["ability"]
    assert {"draft", "testcard"} <= {engine["name"] for engine in ability["engines"]}


def test_a_store_of_the_callers_own_needs_leave(plane: Platform, worker: Worker) -> None:
    config = {"endpointUrl": "https://s3.example", "bucketName": "b", "accessId": "i"}
    error = error_of(plane.ask(card(), s3Config={**config, "accessSecret": "s"}))
    assert error["code"] == "E_UNSUPPORTED"
    assert "TALKHEAD_REQUEST_STORE" in error["hint"]
