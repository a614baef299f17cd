"""The queue against a model of it in memory, by random calls of all kinds and restarts."""

import tempfile
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from talkhead.serve.queue import FINAL, Queue, Ticket

LANES = ("render", "desk")
KILLS = 2


@dataclass
class Job:
    """What the model knows of one."""

    id: str
    lane: str
    priority: int
    turn: int
    expires: float | None
    status: str = "IN_QUEUE"
    attempt: int = 1
    starts: int = 0
    kills: int = 0
    ready: float = 0.0
    output: Any = None


class Machine(RuleBasedStateMachine):
    """Rules are the queue's calls; whatever they were, both must tell the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 100.0
        self.turn = 0
        self.jobs: dict[str, Job] = {}

    @initialize()
    def opened(self) -> None:
        self.queue = Queue.open(f"sqlite:///{self.folder.name}/q.db", lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.queue.close()
        self.folder.cleanup()

    def waiting(self) -> list[Job]:
        found = [job for job in self.jobs.values() if job.status == "IN_QUEUE"]
        return sorted(found, key=lambda job: (-job.priority, job.turn))

    def any_job(self, data: st.DataObject) -> Job:
        return self.jobs[data.draw(st.sampled_from(sorted(self.jobs)))]

    @rule(
        lane=st.sampled_from(LANES),
        priority=st.integers(-2, 2),
        patience=st.none() | st.integers(0, 3),
    )
    def submit(self, lane: str, priority: int, patience: int | None) -> None:
        self.turn += 1
        expires = None if patience is None else self.now + patience
        job = Job(f"j{self.turn}", lane, priority, self.turn, expires)
        self.queue.submit(Ticket(job.id, {"n": self.turn}, lane, priority, expires), room=999)
        self.jobs[job.id] = job

    @rule(lane=st.sampled_from(LANES))
    def claim(self, lane: str) -> None:
        found = self.queue.claim(lane)
        may = [
            job
            for job in self.waiting()
            if job.lane == lane and job.ready <= self.now
            if job.expires is None or job.expires > self.now
        ]
        assert (found[0].id if found else None) == (may[0].id if may else None)
        if may:
            may[0].status = "IN_PROGRESS"
            may[0].starts += 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), late=st.booleans(), status=st.sampled_from(FINAL))
    def finish(self, data: st.DataObject, late: bool, status: Any) -> None:
        job = self.any_job(data)
        counts = job.status == "IN_PROGRESS" and not late
        output = {"n": len(self.jobs)}
        assert self.queue.finish(job.id, job.attempt - late, status, output) == counts
        if counts:
            job.status, job.output = status, output

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), wait=st.integers(0, 2))
    def again(self, data: st.DataObject, wait: int) -> None:
        job = self.any_job(data)
        counts = job.status == "IN_PROGRESS"
        assert self.queue.again(job.id, job.attempt, self.now + wait) == counts
        if counts:
            job.status, job.ready, job.attempt = "IN_QUEUE", self.now + wait, job.attempt + 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        counts = job.status == "IN_PROGRESS"
        assert self.queue.give_back(job.id, job.attempt) == counts
        if counts:
            job.status, job.starts = "IN_QUEUE", job.starts - 1

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        assert self.queue.cancel(job.id) == (job.status not in FINAL)
        if job.status not in FINAL:
            job.status = "CANCELLED"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        self.queue.retry(job.id)
        if job.status in FINAL and job.status != "COMPLETED":
            job.turn = max(other.turn for other in self.jobs.values()) + 1
            self.turn = max(self.turn, job.turn)
            job.status, job.expires, job.ready, job.output = "IN_QUEUE", None, 0.0, None
            job.attempt, job.starts, job.kills = job.attempt + 1, job.attempt, 0

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        job = self.any_job(data)
        assert self.queue.forget(job.id) == (job.status in FINAL)
        if job.status in FINAL:
            del self.jobs[job.id]

    @rule(lane=st.none() | st.sampled_from(LANES))
    def purge(self, lane: str | None) -> None:
        gone = [job for job in self.waiting() if lane in (None, job.lane)]
        assert sorted(self.queue.purge(lane)) == sorted(job.id for job in gone)
        for job in gone:
            job.status = "CANCELLED"

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        gone = [job for job in self.waiting() if job.expires and job.expires <= self.now]
        assert sorted(self.queue.expire(self.now)) == sorted(job.id for job in gone)
        for job in gone:
            job.status = "TIMED_OUT"

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.opened()
        running = [job for job in self.jobs.values() if job.status == "IN_PROGRESS"]
        for job in running:
            job.kills += 1
        doomed = [job for job in running if job.kills >= KILLS]
        assert sorted(self.queue.give_up(KILLS, "why")) == sorted(job.id for job in doomed)
        for job in doomed:
            job.status = "FAILED"
            running.remove(job)
        assert self.queue.recover() == len(running)
        for job in running:
            job.status = "IN_QUEUE"

    @invariant()
    def both_tell_the_same(self) -> None:
        for job in self.jobs.values():
            entry = self.queue.entry(job.id)
            assert entry is not None
            told = (entry.status, entry.attempt, entry.starts, entry.output)
            assert told == (job.status, job.attempt, job.starts, job.output)
            assert (entry.began is None) or job.status != "IN_QUEUE"
            assert (entry.ended is not None) == (job.status in FINAL)
        for lane in LANES:
            line = [job for job in self.waiting() if job.lane == lane]
            assert [self.queue.ahead(job.id) for job in line] == list(range(len(line)))
        whens = [job.ready for job in self.waiting() if job.ready > self.now]
        whens += [job.expires for job in self.waiting() if job.expires is not None]
        assert self.queue.due() == min(whens, default=None)
        assert sum(self.queue.counts().values()) == len(self.jobs)


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestQueue = Machine.TestCase
