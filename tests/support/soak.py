"""A worker under a long mixed load: good, bad, cancelled, repeated, huge, lost and failing jobs."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fake_s3 import FakeS3
from support.hosting import memory_mb
from support.plane import Platform, platform
from support.serving import Ground, Worker, card, working
from talkhead.serve.plane import FINAL

# Each takes the load and returns the id of its job, which has ended as it should.
Kind = Callable[["Load"], str]


@dataclass
class Load:
    """What the jobs of a load share, and what was measured."""

    plane: Platform
    worker: Worker
    s3: FakeS3
    keys: list[str] = field(default_factory=list)  # of jobs that went well
    kinds: Counter[str] = field(default_factory=Counter)
    parent_mb: list[float] = field(default_factory=list)
    child_mb: list[float] = field(default_factory=list)

    def done(self, job: str) -> dict[str, Any]:
        ended = self.plane.end(job)
        assert ended["status"] == "COMPLETED", ended
        return dict(ended["output"]["result"])

    def failed(self, job: str, code: str) -> None:
        ended = self.plane.end(job)
        assert ended["status"] == "FAILED", ended
        assert json.loads(ended["error"])["code"] == code, ended


def good(load: Load) -> str:
    job = load.plane.run(card())
    assert not load.done(job)["repeated"]
    load.keys.append(job)
    return job


def bad(load: Load) -> str:
    job = load.plane.run(card(portrat="x"))
    load.failed(job, "E_INPUT_VALIDATION")
    return job


def huge(load: Load) -> str:
    job = load.plane.run(card(prompt="x" * 9_000_000))
    load.failed(job, "E_INPUT_VALIDATION")
    return job


def cancelled(load: Load) -> str:
    child = load.worker.child
    job = load.plane.run(card("sleep"))
    load.plane.until(lambda: bool(load.plane.events(job, "progress")), "progress")
    load.plane.post(f"cancel/{job}")
    good(load)  # the next one finds room
    assert not load.plane.events(job, "done")
    assert load.worker.child == child  # it obeyed, so it was kept
    return job


def duplicate(load: Load) -> str:
    job = load.plane.run(card(idempotency_key=load.keys[-1]))
    assert load.done(job)["repeated"]
    return job


def late(load: Load) -> str:
    """The answer is delivered at the second try."""
    load.plane.plane.faults.refuse_done = 1
    return good(load)


def lost(load: Load) -> str:
    """The answer is lost; sent again, the job is answered without rendering."""
    load.plane.plane.faults.refuse_done = 3
    job = load.plane.run(card())
    load.plane.until(lambda: len(load.plane.events(job, "refused")) == 3, "three refusals")
    load.plane.requeue(job)
    assert load.done(job)["repeated"]
    assert [line["job_id"] for line in load.worker.lines("job.repeated")][-1] == job
    return job


def outage(load: Load) -> str:
    """The store is away; once it is back, the job goes on with what it had rendered."""
    load.s3.fail(1000, 503, "PUT")  # writes alone: work begins, and ends in front of a shut door
    job = load.plane.run(card())
    load.failed(job, "E_UPLOAD")
    load.s3._failures.clear()
    load.plane.post(f"retry/{job}")
    assert load.done(job)["segments"] == {"total": 1, "resumed": 1}
    return job


def hiccup(load: Load) -> str:
    """The store refuses twice, which nobody notices."""
    load.s3.fail(1, 503, "PUT")
    load.s3.fail(1, 0, "PUT")
    return good(load)


def crash(load: Load) -> str:
    before = load.worker.child
    job = load.plane.run(card("segfault"))
    load.failed(job, "E_GENERATION_RUNTIME")
    load.plane.until(lambda: load.worker.child != before, "another child")
    return job


TURN: tuple[Kind, ...] = (
    good, bad, duplicate, good, cancelled, hiccup, outage, huge, good, late,
    good, duplicate, good, bad, lost, good, good, cancelled, hiccup, duplicate,
)  # fmt: skip
CRASHES = (3, 8)  # early, so that the rest shows how one child's memory grows


def soak(folder: Path, jobs: int, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Run so many jobs, check that each ended once and left nothing; return the figures."""
    with FakeS3() as s3, platform() as plane, ExitStack() as stack:
        ground = Ground(folder, **store_env(s3))
        worker = stack.enter_context(working(ground, plane))
        load = Load(plane, worker, s3)
        began = time.monotonic()
        for number in range(jobs):
            kind = crash if number in CRASHES else TURN[number % len(TURN)]
            one_end(plane, kind(load))
            load.kinds[kind.__name__] += 1
            load.parent_mb.append(round(memory_mb(worker.process.pid), 1))
            load.child_mb.append(round(memory_mb(worker.child), 1))
            say(f"{number + 1:4} {kind.__name__:<10} {load.parent_mb[-1]} {load.child_mb[-1]} MB")
        seconds = time.monotonic() - began
        assert not plane.events(None, "late")
        assert all(entry.status in FINAL for entry in plane.plane.jobs.values())
        assert ground.left() == []
        assert not s3.uploads  # half-made ones
        assert not [key for key in s3.objects if "probe" in key]
        found = {
            "jobs": jobs,
            "seconds": round(seconds, 1),
            "kinds": dict(load.kinds),
            "growth_mb": {
                "parent": growth(load.parent_mb),
                "child": growth(load.child_mb[max(CRASHES) + 1 :]),
            },
            "parent_mb": load.parent_mb,
            "child_mb": load.child_mb,
        }
    shutil.rmtree(folder, ignore_errors=True)
    return found


def store_env(s3: FakeS3) -> dict[str, str]:
    """Return the variables of a worker that delivers to this store."""
    return {
        "TALKHEAD_STORE": json.dumps(
            {
                "kind": "s3",
                "bucket": s3.bucket,
                "endpoint": s3.url,
                "access_key": s3.access_key,
                "secret_key": s3.secret_key,
            }
        ),
    }


def one_end(plane: Platform, job: str) -> None:
    """See that a job ended once for each time it was handed out, and said nothing after it."""
    story = [event.kind for event in plane.events(job)]
    rounds = " ".join(story).split("requeue")
    for told in rounds:
        ends = told.split().count("done") + told.split().count("cancel")
        lost_answer = told.split().count("refused") == 3
        assert ends == (0 if lost_answer else 1), story
        assert told.split()[-1] in ("done", "cancel", "stop", "refused"), story


def growth(curve: list[float]) -> float:
    """Return how far the last quarter lies above the second one, in MB: peak or floor, the worse.

    The allocator keeps the room of a 9 MB payload for some jobs and gives it back later, so the
    curve has two levels, and a median would say which was met more often. A leak raises both.
    """
    quarter = max(len(curve) // 4, 1)
    early, late = curve[quarter : 2 * quarter], curve[-quarter:]
    return round(max(max(late) - max(early), min(late) - min(early)), 1)
