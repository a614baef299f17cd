"""The local control plane keeps production's states and limits."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from support.plane import Platform, platform
from talkhead.serve.localhost import serving, worker_env
from talkhead.serve.plane import Plane

WORK = {"input": {"action": "health"}}


@pytest.fixture
def plane() -> Iterator[Platform]:
    with platform(hold_s=0.05) as running:
        yield running


def take(plane: Platform, worker: str = "w") -> dict[str, Any] | None:
    answer = httpx.get(f"{plane.base}/job-take/{worker}?x=1&job_in_progress=0")
    return dict(answer.json()) if answer.status_code == 200 else None


def done(plane: Platform, job: str, body: dict[str, Any]) -> int:
    """Answer in the form that the SDK uses."""
    return httpx.post(
        f"{plane.base}/job-done/w/{job}?x=1&isStream=false",
        content=json.dumps(body),
        headers={"Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"},
    ).status_code


def test_a_job_goes_through_its_states(plane: Platform) -> None:
    assert take(plane) is None
    job = plane.post("run", {**WORK, "webhook": "https://x", "other": 1})
    assert job["status"] == "IN_QUEUE"
    assert plane.get(f"status/{job['id']}") == job
    assert take(plane) == {"id": job["id"], **WORK, "webhook": "https://x"}
    assert plane.get(f"status/{job['id']}")["status"] == "IN_PROGRESS"
    done(plane, job["id"], {"status": "IN_PROGRESS", "output": {"pct": 3}})
    assert plane.get(f"status/{job['id']}")["output"] == {"pct": 3}
    assert done(plane, job["id"], {"output": {"ok": 1}}) == 200
    ended = plane.post(f"status/{job['id']}")
    assert ended["status"] == "COMPLETED"
    assert ended["output"] == {"ok": 1}
    assert ended["workerId"] == "w"
    assert {"delayTime", "executionTime"} <= ended.keys()


def test_an_error_fails_the_job_and_a_retry_queues_it_again(plane: Platform) -> None:
    job = plane.run(WORK["input"])
    take(plane)
    done(plane, job, {"error": "broken", "output": {"status": "error"}})
    assert plane.get(f"status/{job}")["status"] == "FAILED"
    assert plane.get(f"status/{job}")["error"] == "broken"
    assert plane.post(f"retry/{job}")["status"] == "IN_QUEUE"
    assert plane.get(f"status/{job}") == {"id": job, "status": "IN_QUEUE"}
    assert take(plane) == {"id": job, **WORK}
    assert plane.get("health")["jobs"]["retried"] == 1


def test_what_comes_after_the_answer_changes_nothing(plane: Platform) -> None:
    job = plane.run(WORK["input"])
    take(plane)
    done(plane, job, {"output": 1})
    done(plane, job, {"status": "IN_PROGRESS", "output": {"pct": 3}})
    assert plane.get(f"status/{job}")["output"] == 1
    assert [event.details["output"] for event in plane.events(job, "late")] == [{"pct": 3}]


def test_cancel_reaches_queue_and_worker(plane: Platform) -> None:
    waiting = plane.run(WORK["input"])
    assert plane.post(f"cancel/{waiting}") == {"id": waiting, "status": "CANCELLED"}
    assert take(plane) is None
    running = plane.run(WORK["input"])
    take(plane)
    assert httpx.get(f"{plane.base}/job-stop/w").status_code == 204
    assert plane.post(f"cancel/{running}")["status"] == "CANCELLED"
    assert httpx.get(f"{plane.base}/job-stop/w").json() == {"jobsToStop": [running]}
    assert httpx.get(f"{plane.base}/job-stop/w").status_code == 204


def test_runsync_waits_for_the_answer(plane: Platform) -> None:
    answers: list[dict[str, Any]] = []
    client = threading.Thread(target=lambda: answers.append(plane.post("runsync", WORK)))
    client.start()
    plane.until(lambda: bool(plane.plane.jobs), "the job")
    job = take(plane)
    assert job is not None
    done(plane, job["id"], {"output": {"ok": 1}})
    client.join(10)
    assert answers[0]["status"] == "COMPLETED"
    assert answers[0]["id"].startswith("sync-")


def test_runsync_gives_up_waiting_and_the_job_goes_on(plane: Platform) -> None:
    assert plane.post("runsync?wait=50", WORK)["status"] == "IN_QUEUE"
    assert take(plane) is not None


@pytest.mark.parametrize(("path", "limit"), [("run", 10), ("runsync?wait=10", 20)])
def test_answers_and_requests_have_limits(plane: Platform, path: str, limit: int) -> None:
    job = plane.post(path, WORK)["id"]
    take(plane)
    assert done(plane, job, {"output": "x" * limit * 10**6}) == 413
    assert plane.get(f"status/{job}")["status"] == "IN_PROGRESS"
    assert done(plane, job, {"output": "x" * (limit * 10**6 - 100)}) == 200
    big = {"input": {"x": "x" * limit * 10**6}}
    assert httpx.post(f"{plane.base}/{path}", json=big).status_code == 413


@pytest.mark.parametrize("body", ["{", "[]", '{"input": 1}', '{"action": "health"}'])
def test_a_request_without_input_is_refused(plane: Platform, body: str) -> None:
    assert httpx.post(f"{plane.base}/run", content=body).status_code == 400


def test_a_job_that_takes_too_long_is_stopped(plane: Platform) -> None:
    job = plane.run(WORK["input"], policy={"executionTimeout": 50})
    take(plane)
    plane.end(job)
    assert plane.get(f"status/{job}")["status"] == "TIMED_OUT"
    assert httpx.get(f"{plane.base}/job-stop/w").json() == {"jobsToStop": [job]}


def test_the_queue_can_be_purged(plane: Platform) -> None:
    jobs = [plane.run(WORK["input"]) for _ in range(3)]
    take(plane)
    assert plane.post("purge-queue") == {"removed": 2, "status": "completed"}
    assert httpx.get(f"{plane.base}/status/{jobs[2]}").status_code == 404
    assert plane.get("health")["jobs"]["inProgress"] == 1


def test_streamed_parts_are_handed_out_once(plane: Platform) -> None:
    job = plane.run(WORK["input"])
    take(plane)
    for part in (1, 2):
        httpx.post(f"{plane.base}/job-stream/w/{job}?isStream=false", json={"output": part})
    assert plane.get(f"stream/{job}") == {
        "status": "IN_PROGRESS",
        "stream": [{"output": 1}, {"output": 2}],
    }
    done(plane, job, {"output": []})
    assert plane.get(f"stream/{job}") == {"status": "COMPLETED", "stream": []}


def test_batches_and_workers_are_counted(plane: Platform) -> None:
    jobs = [plane.run(WORK["input"]) for _ in range(3)]
    taken = httpx.get(f"{plane.base}/job-take-batch/w?batch_size=2").json()
    assert [job["id"] for job in taken] == jobs[:2]
    assert httpx.get(f"{plane.base}/ping/v?job_id=").status_code == 200
    workers = plane.get("health")["workers"]
    assert (workers["running"], workers["idle"], workers["ready"]) == (1, 1, 2)


def test_an_id_of_the_callers_own_is_taken_once(plane: Platform) -> None:
    assert plane.post("run", {**WORK, "id": "mine"})["id"] == "mine"
    assert plane.post("run", {**WORK, "id": "mine"})["id"] == "mine"
    assert take(plane) is not None
    assert take(plane) is None


def test_faults_come_as_often_as_asked_for(plane: Platform) -> None:
    job = plane.run(WORK["input"])
    plane.plane.faults.refuse_done = 2
    plane.plane.faults.drop_take = 1
    with pytest.raises(httpx.TransportError):
        take(plane)
    assert [event.kind for event in plane.events(job)] == ["submit", "take", "lost"]
    plane.requeue(job)
    take(plane)
    assert [done(plane, job, {"output": 1}) for _ in range(3)] == [500, 500, 200]


def test_progress_whose_sender_hangs_up_never_counts(plane: Platform) -> None:
    job = plane.run(WORK["input"])
    take(plane)
    plane.plane.faults.delay_progress_s = 0.2
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{plane.base}/job-done/w/{job}?isStream=false",
            json={"status": "IN_PROGRESS", "output": {"pct": 3}},
            timeout=0.05,
        )
    done(plane, job, {"output": 1})
    plane.plane.faults.delay_progress_s = 0
    take(plane)  # a poll's length later
    take(plane)
    assert not plane.events(job, "late", "progress")


def test_a_poll_that_was_left_open_gets_no_job() -> None:
    with platform(hold_s=20) as plane:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{plane.base}/job-take/gone", timeout=0.1)
        job = plane.run(WORK["input"])
        found = httpx.get(f"{plane.base}/job-take/w").json()
        assert found["id"] == job


def test_web_pages_are_refused(plane: Platform) -> None:
    answer = httpx.post(f"{plane.base}/run", json=WORK, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_the_sdk_is_told_every_path() -> None:
    env = worker_env("http://127.0.0.1:1/v2/local", "pod")
    assert env["RUNPOD_WEBHOOK_GET_JOB"].startswith("http://127.0.0.1:1/v2/local/job-take/$ID?")
    assert "/job-done/$RUNPOD_POD_ID/$ID?" in env["RUNPOD_WEBHOOK_POST_OUTPUT"]
    assert env["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS"] == "true"


@pytest.mark.parametrize("turns", range(6))
def test_a_caller_who_comes_while_the_port_closes_is_let_go(turns: int) -> None:
    """Between two turns of the event loop asyncio would forget the connection."""

    async def come_and_end(caller: socket.socket) -> None:
        async with serving(Plane(0.1)) as base:
            caller.connect(("127.0.0.1", int(base.split(":")[2].split("/")[0])))
            for _ in range(turns):
                await asyncio.sleep(0)

    with socket.socket() as caller:
        caller.settimeout(5)
        asyncio.run(come_and_end(caller))
        with suppress(ConnectionResetError):  # closed as well
            assert caller.recv(1) == b""
