"""What becomes of jobs between queue and pool, on a pool that does as it is told."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress
from talkhead.serve import dispatch
from talkhead.serve.answering import Answer
from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.pool import Job, Lane
from talkhead.serve.queue import Entry, Queue, Ticket
from talkhead.settings.groups import Server

GOOD = Answer({"result": {"outputs": []}})
Step = Progress | Answer | Callable[[], Awaitable[None]]


def bad(code: Code, **more: Any) -> Answer:
    error = TalkheadError(code, f"it was {code}", **more)
    return Answer({}, error)


class Script:
    """A pool of one place: each attempt at a job plays its next list of steps."""

    def __init__(self, **attempts: list[list[Step]]) -> None:
        self.attempts = attempts
        self.begun: list[str] = []
        self.stopped: list[str] = []

    def size(self, lane: Lane) -> int:
        return int(lane == "render")

    async def start(self) -> None: ...

    async def submit(self, job: Job) -> AsyncGenerator[Progress | Answer]:
        self.begun.append(job.asked.id)
        try:
            for step in self.attempts[job.asked.id].pop(0):
                if isinstance(step, Progress | Answer):
                    yield step
                else:
                    await step()
        except asyncio.CancelledError:
            self.stopped.append(job.asked.id)
            raise

    def interrupt(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'queue.sqlite'}"


def play(
    place: str, pool: Script, scene: Callable[[Dispatcher], Awaitable[None]], **settings: Any
) -> list[Entry]:
    """Run a scene on a dispatcher; return the ends that it told of, in order."""
    ends: list[Entry] = []

    async def whole() -> None:
        queue = Queue.open(place)
        server = Server(retry_s=0.01, **settings)
        made = Dispatcher(queue, pool, server, lambda entry, _answer: ends.append(entry))  # type: ignore[arg-type]
        await made.start()
        try:
            await asyncio.wait_for(scene(made), 20)
        finally:
            await made.close()
            queue.close()

    asyncio.run(whole())
    return ends


def ticket(name: str, **more: Any) -> Ticket:
    return Ticket(name, {"input": {"action": "health"}}, **more)


async def ended(dispatcher: Dispatcher, name: str) -> Entry:
    entry = await dispatcher.over(name, 10)
    assert entry is not None
    return entry


def test_a_job_runs_and_its_end_is_told_once(place: str) -> None:
    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        assert (await ended(made, "a")).status == "COMPLETED"

    (end,) = play(place, Script(a=[[Progress("render", 1, 2, 50.0), GOOD]]), scene)
    assert (end.id, end.status, end.attempt) == ("a", "COMPLETED", 1)


@pytest.mark.parametrize(
    ("code", "status", "attempts"),
    [
        (Code.INPUT, "FAILED", 1),
        (Code.TIMEOUT, "TIMED_OUT", 1),
        (Code.CANCELLED, "CANCELLED", 1),
        (Code.OOM, "FAILED", 3),
        (Code.CAPACITY, "FAILED", 3),
    ],
)
def test_only_what_may_not_come_again_is_tried_again(
    place: str, code: Code, status: str, attempts: int
) -> None:
    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        entry = await ended(made, "a")
        assert (entry.status, entry.attempt) == (status, attempts)
        assert json.loads(entry.error or "")["code"] == code

    pool = Script(a=[[bad(code)] for _ in range(attempts)])
    assert len(play(place, pool, scene, retries=2)) == 1
    assert pool.begun == ["a"] * attempts


def test_a_capacity_error_that_says_never_is_not_tried_again(place: str) -> None:
    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        assert (await ended(made, "a")).attempt == 1

    play(place, Script(a=[[bad(Code.CAPACITY, retryable=False)]]), scene)


def test_cancelling_counts_at_once_and_stops_the_work(place: str) -> None:
    running = asyncio.Event()

    async def hang() -> None:
        running.set()
        await asyncio.sleep(60)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        await made.submit(ticket("b"))
        await running.wait()
        entry = await made.cancel("a")
        assert entry is not None
        assert entry.status == "CANCELLED"
        assert (await ended(made, "b")).status == "COMPLETED"  # its place is free again

    pool = Script(a=[[hang, GOOD]], b=[[GOOD]])
    ends = play(place, pool, scene)
    assert pool.stopped == ["a"]
    assert [(end.id, end.status) for end in ends] == [("a", "CANCELLED"), ("b", "COMPLETED")]


def test_jobs_that_wait_are_told_of_when_they_are_cancelled_or_purged(place: str) -> None:
    running = asyncio.Event()

    async def hang() -> None:
        running.set()
        await asyncio.sleep(60)

    async def scene(made: Dispatcher) -> None:
        for name in "abcd":
            await made.submit(ticket(name))
        await running.wait()
        for _ in range(2):  # the second time it has ended already
            assert (await made.cancel("b") or pytest.fail("gone")).status == "CANCELLED"
        assert await made.purge() == 2
        assert await made.purge() == 0
        await made.cancel("a")

    ends = play(place, Script(a=[[hang]]), scene)
    assert [(end.id, end.status) for end in ends] == [(name, "CANCELLED") for name in "bcda"]


def test_a_job_cancelled_while_it_is_taken_does_not_run(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Queue.claim

    def cancelled_meanwhile(self: Queue, lane: str) -> Any:
        taken = claim(self, lane)
        if taken is not None:
            self.cancel(taken[0].id)
        return taken

    monkeypatch.setattr(Queue, "claim", cancelled_meanwhile)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        assert (await ended(made, "a")).status == "CANCELLED"
        await asyncio.sleep(0.1)

    pool = Script(a=[[GOOD]])
    play(place, pool, scene)
    assert pool.begun == []


def test_what_a_dead_server_was_at_is_taken_again_first(place: str) -> None:
    queue = Queue.open(place)
    for name in "ab":
        queue.submit(ticket(name), 10)
    assert queue.claim("render") is not None
    queue.close()

    async def scene(made: Dispatcher) -> None:
        for name in "ab":
            assert (await ended(made, name)).status == "COMPLETED"

    pool = Script(a=[[GOOD]], b=[[GOOD]])
    play(place, pool, scene)
    assert pool.begun == ["a", "b"]


def test_a_job_that_kills_the_server_is_given_up(place: str) -> None:
    queue = Queue.open(place)
    for name in "ab":
        queue.submit(ticket(name), 10)
    for _ in range(2):
        queue.recover()
        assert queue.claim("render") is not None
    queue.close()

    async def scene(made: Dispatcher) -> None:
        entry = await ended(made, "a")
        error = json.loads(entry.error or "")
        assert (error["code"], error["retryable"]) == (Code.CAPACITY, False)
        assert error["message"] == "the server was killed 2 times while this job ran"
        assert (await ended(made, "b")).status == "COMPLETED"

    pool = Script(b=[[GOOD]])
    ends = play(place, pool, scene, kills=2)
    assert [(end.id, end.status) for end in ends] == [("a", "FAILED"), ("b", "COMPLETED")]
    assert pool.begun == ["b"]


def test_a_leaving_server_puts_its_job_back(place: str) -> None:
    running, leave = asyncio.Event(), asyncio.Event()

    async def until_told() -> None:
        running.set()
        await leave.wait()

    pool = Script(a=[[until_told, bad(Code.CANCELLED)]])
    pool.interrupt = leave.set  # type: ignore[method-assign]

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        await running.wait()

    assert play(place, pool, scene) == []
    queue = Queue.open(place)
    entry = queue.entry("a")
    queue.close()
    assert entry is not None
    assert (entry.status, entry.attempt) == ("IN_QUEUE", 1)


def test_an_end_is_written_down_once_the_database_answers_again(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "AGAIN_S", 0.01)
    finish, failures = Queue.finish, [1, 2, 3]

    def away(self: Queue, *given: Any) -> bool:
        if failures:
            raise ConnectionError(failures.pop())
        return finish(self, *given)

    monkeypatch.setattr(Queue, "finish", away)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        assert (await ended(made, "a")).status == "COMPLETED"

    pool = Script(a=[[GOOD]])
    play(place, pool, scene)
    assert pool.begun == ["a"]
    assert not failures


def test_a_leaving_server_does_not_wait_for_a_database_that_is_away(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "AGAIN_S", 0.01)
    tried = threading.Event()

    def away(self: Queue, *given: Any) -> bool:
        tried.set()
        raise ConnectionError

    monkeypatch.setattr(Queue, "finish", away)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        assert await asyncio.to_thread(tried.wait, 10)

    assert play(place, Script(a=[[GOOD]]), scene) == []
    queue = Queue.open(place)
    assert queue.recover() == 1
    queue.close()


def test_what_waits_too_long_is_not_begun(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "SWEEP_S", 0.02)

    async def slow() -> None:
        await asyncio.sleep(0.5)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        await made.submit(ticket("b", expires=1.0))
        assert (await ended(made, "b")).status == "TIMED_OUT"

    pool = Script(a=[[slow, GOOD]])
    ends = play(place, pool, scene)
    assert ("b", "TIMED_OUT") in [(end.id, end.status) for end in ends]
    assert pool.begun == ["a"]


def test_looking_after_the_queue_outlives_a_database_that_is_away(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SWEEP_S", 0.02)
    monkeypatch.setattr(dispatch, "AGAIN_S", 0.01)
    expire, failures = Queue.expire, [1, 2]

    def away(self: Queue, now: float) -> list[str]:
        if failures:
            raise ConnectionError(failures.pop())
        return expire(self, now)

    monkeypatch.setattr(Queue, "expire", away)

    async def slow() -> None:
        await asyncio.sleep(0.5)

    async def scene(made: Dispatcher) -> None:
        await made.submit(ticket("a"))
        await made.submit(ticket("b", expires=1.0))
        assert (await ended(made, "b")).status == "TIMED_OUT"

    play(place, Script(a=[[slow, GOOD]]), scene)
    assert not failures
