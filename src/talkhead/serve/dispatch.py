"""From the queue to the pool and back: jobs are taken in turn, run, and their ends written down.

The queue holds order and ends, the job folder how far a job is. So whatever dies here, a job that
has not ended is taken again and goes on from its folder; one whose result is stored already is
answered with it.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from talkhead.errors import Code, TalkheadError
from talkhead.report import naming
from talkhead.result import Progress
from talkhead.serve import logs
from talkhead.serve.answering import Answer, Asked, Body, error_text
from talkhead.serve.pool import LANES, Job, Lane, Pool
from talkhead.serve.progress import payload
from talkhead.serve.queue import FINAL, Ended, Entry, Queue, Ticket
from talkhead.settings.groups import Server

Kept = TypeVar("Kept")
AGAIN_S = 2.0  # between two tries of a database that does not answer
DUE_S = 1.0  # between two looks for a retry that is due
ASIDE_S = 3600.0  # that the answer to a plan or another question is kept
SWEEP_S = 5.0  # between two looks for jobs that waited too long
# Of retryable errors the two that somebody wanted: who asked for the end, and who set a deadline.
WANTED = (Code.CANCELLED, Code.TIMEOUT)


@dataclass(slots=True)
class Live:
    """What is known of a job that runs, beside its entry in the queue."""

    number: int = 0  # of words of progress so far
    progress: Body | None = None  # the newest
    task: "asyncio.Task[None] | None" = None


@dataclass(slots=True)
class Dispatcher:
    """The one executor of a queue. All methods belong to one event loop.

    `ended` hears of every end.
    """

    queue: Queue
    pool: Pool
    settings: Server
    ended: Callable[[Entry, Answer | None], None] = lambda _entry, _answer: None
    live: dict[str, Live] = field(default_factory=dict)
    leaving: bool = False
    turn: int = 0  # of changes so far, so that none is missed between a look and a wait
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _asides: deque[tuple[float, str]] = field(default_factory=deque)  # ended, and when
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def start(self) -> None:
        """Put back what an earlier process was at, and begin to work."""
        await asyncio.to_thread(self._give_up)
        if found := await asyncio.to_thread(self.queue.recover):
            logs.event("queue.recovered", jobs=found)
        works = [self._lane(lane) for lane in LANES for _ in range(self.pool.size(lane))]
        for work in (self.pool.start(), self._sweeping(), *works):
            task = asyncio.create_task(work)
            self._tasks.add(task)

    async def close(self) -> None:
        """Stop what runs, which goes back into the queue, and see every process gone."""
        self.leaving = True
        self.pool.interrupt()
        await self.tell()
        running = {live.task for live in self.live.values() if live.task is not None}
        await asyncio.gather(*running, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.close()

    async def submit(self, ticket: Ticket) -> Entry:
        """Queue a job. Raises what `Queue.submit` does."""
        entry = await asyncio.to_thread(self.queue.submit, ticket, self.settings.waiting)
        await self.tell()
        return entry

    async def cancel(self, job_id: str) -> Entry | None:
        """End a job, which counts at once; its process is free as soon as it has stopped."""
        is_end = await asyncio.to_thread(self.queue.cancel, job_id)
        live = self.live.get(job_id)
        if live is not None and live.task is not None:
            live.task.cancel()
        if is_end:
            await self._ended(job_id)
        await self.tell()
        return await self.entry(job_id)

    async def retry(self, job_id: str) -> Entry | None:
        """Queue an ended job again that did not complete."""
        entry = await asyncio.to_thread(self.queue.retry, job_id)
        await self.tell()
        return entry

    async def purge(self) -> int:
        """Drop all that waits; return how many."""
        gone = await asyncio.to_thread(self.queue.purge)
        for job_id in gone:
            await self._ended(job_id)
        await self.tell()
        return len(gone)

    async def tell(self) -> None:
        """Wake all who wait for something to change."""
        async with self._changed:
            self.turn += 1
            self._changed.notify_all()

    async def change(self, turn: int, seconds: float) -> None:
        """Wait for a change after number `turn`, at most so long."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: self.turn != turn or self.leaving)
        except TimeoutError:
            return

    async def entry(self, job_id: str) -> Entry | None:
        """Return what is known of a job."""
        return await asyncio.to_thread(self.queue.entry, job_id)

    async def over(self, job_id: str, seconds: float) -> Entry | None:
        """Wait for a job's end, at most so long; return its entry."""
        until = time.monotonic() + seconds
        while True:
            turn = self.turn
            entry = await asyncio.to_thread(self.queue.entry, job_id)
            left = until - time.monotonic()
            if entry is None or entry.status in FINAL or left <= 0 or self.leaving:
                return entry
            await self.change(turn, left)

    def _give_up(self) -> None:
        """End jobs that ran at every kill of the server: one of them may be what kills it."""
        error = TalkheadError(
            Code.CAPACITY,
            f"the server was killed {self.settings.kills} times while this job ran",
            "ask for a smaller size where memory ran out; /retry lets it go on from its folder",
            retryable=False,
        )
        for job_id in self.queue.give_up(self.settings.kills, error_text(error)):
            logs.failure(error, job_id)
            entry = self.queue.entry(job_id)
            if entry is not None:
                self.ended(entry, None)

    async def _lane(self, lane: Lane) -> None:
        """Take one job after another of a lane."""
        while not self.leaving:
            turn = self.turn
            taken = await self._surely(self.queue.claim, lane)
            if taken is None:
                await self.change(turn, DUE_S)
                continue
            ticket, entry = taken
            live = self.live[ticket.id] = Live()
            live.task = asyncio.create_task(self._attempt(ticket, entry.attempt, live))
            try:
                await asyncio.wait({live.task})
            finally:
                del self.live[ticket.id]
                await self.tell()

    async def _attempt(self, ticket: Ticket, attempt: int, live: Live) -> None:
        """Run a job once and write down what came of it."""
        asked = asked_of(ticket)
        entry = await self._surely(self.queue.entry, ticket.id)
        if entry is None or entry.status != "IN_PROGRESS":
            return  # it was cancelled between being taken and being known as live
        try:
            async with aclosing(self.pool.submit(Job(asked, _lane_of(ticket)))) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        await self._progress(live, event)
                    else:
                        await self._settle(ticket, attempt, event)
        except asyncio.CancelledError:
            return  # `cancel` has written the end down, and told of it

    async def _progress(self, live: Live, progress: Progress) -> None:
        shown = payload(progress)
        if shown != live.progress:
            live.number, live.progress = live.number + 1, shown
            await self.tell()

    async def _settle(self, ticket: Ticket, attempt: int, found: Answer) -> None:
        """Write an answer down, or put the job back where it should be tried again."""
        error = found.error
        if error is not None and error.code is Code.CANCELLED and self.leaving:
            await self._surely(self.queue.give_back, ticket.id, attempt)
            return
        if error is not None and self._again(error, attempt):
            wait = self.settings.retry_s * 2 ** (attempt - 1)
            logs.event(
                "job.again", job_id=ticket.id, code=error.code.value, attempt=attempt, seconds=wait
            )
            await self._surely(self.queue.again, ticket.id, attempt, time.time() + wait)
            return
        status = status_of(error)
        output = found.body or None
        text = found.text.encode("utf-8", "replace").decode() or None  # no halves of characters
        if await self._surely(self.queue.finish, ticket.id, attempt, status, output, text):
            await self._ended(ticket.id, found)

    async def _ended(self, job_id: str, answer: Answer | None = None) -> None:
        """Tell of an end that has been written down just now."""
        entry = await self._surely(self.queue.entry, job_id)
        if entry is not None:
            self.ended(entry, answer)
            if entry.facts.get("aside"):
                self._asides.append((time.monotonic(), job_id))

    async def _surely(self, call: Callable[..., Kept], *arguments: Any) -> Kept:
        """Have the queue do something, again and again while its database does not answer.

        What is to be written down is true whenever that is; nothing else would know of it. A
        server that leaves does not wait: the next one finds the job as one that was in progress.
        """
        while True:
            try:
                with naming(None):
                    return await asyncio.to_thread(call, *arguments)
            except TalkheadError as error:
                logs.failure(error, name="queue.failed")
                if self.leaving:
                    raise
                await asyncio.sleep(AGAIN_S)

    def _again(self, error: TalkheadError, attempt: int) -> bool:
        return error.retryable and error.code not in WANTED and attempt <= self.settings.retries

    async def _sweeping(self) -> None:
        """End what waited past its time, and forget what ended long ago."""
        while True:
            now = time.time()
            for job_id in await self._surely(self.queue.expire, now):
                await self._ended(job_id)
            await self._surely(self.queue.sweep, now - self.settings.keep_days * 86_400)
            while self._asides and time.monotonic() - self._asides[0][0] > ASIDE_S:
                await self._surely(self.queue.forget, self._asides.popleft()[1])
            await asyncio.sleep(SWEEP_S)


def asked_of(ticket: Ticket) -> Asked:
    """Return a ticket as those who answer take it."""
    body = ticket.body
    timeout = (body.get("policy") or {}).get("executionTimeout")
    deadline = timeout / 1000 if timeout else None
    return Asked(ticket.id, body.get("input"), body.get("s3Config"), deadline)


def status_of(error: TalkheadError | None) -> Ended:
    """Return the platform's word for an end."""
    if error is None:
        return "COMPLETED"
    ends: dict[Code, Ended] = {Code.TIMEOUT: "TIMED_OUT", Code.CANCELLED: "CANCELLED"}
    return ends.get(error.code, "FAILED")


def failure(text: str | None) -> dict[str, Any]:
    """Return an entry's error as an object, empty where there is none."""
    if not text:
        return {}
    found = json.loads(text)
    return found if isinstance(found, dict) else {"message": str(found)}


def _lane_of(ticket: Ticket) -> Lane:
    return "desk" if ticket.lane == "desk" else "render"
