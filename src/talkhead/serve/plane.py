"""The state behind a RunPod control plane of our own: its queue, its jobs and what befell them."""

import asyncio
import json
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from talkhead.errors import Code

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
LIMITS = {"run": 10 * 10**6, "runsync": 20 * 10**6}  # bytes of a request and of an answer
TO_WORKER = ("webhook", "s3Config")  # what a worker sees of a request beside `input`


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for tests."""

    at: float  # monotonic seconds
    kind: str  # submit, take, lost, progress, done, late, refused, stream, stop, ping, ...
    job: str | None
    details: Any = None


@dataclass(slots=True)
class Faults:
    """What is to go wrong next."""

    refuse_done: int = 0  # so many final answers meet a 500
    drop_take: int = 0  # so many jobs are handed over on a connection that breaks
    delay_progress_s: float = 0.0  # progress waits this long before it counts
    # calls of clients: which (run, status, …), and what becomes of it: an HTTP status; "cut", no
    # answer; "lost", done and no answer
    calls: list[tuple[str, int | str]] = field(default_factory=list)

    def call(self, name: str) -> int | str | None:
        """Return what is to become of a client's call, once."""
        for planned in self.calls:
            if planned[0] == name:
                self.calls.remove(planned)
                return planned[1]
        return None


@dataclass(slots=True)
class Entry:
    """A job as the platform keeps it."""

    id: str
    input: Any
    extras: dict[str, Any]
    limit: int
    timeout_s: float | None
    status: str = "IN_QUEUE"
    worker: str | None = None
    output: Any = None
    error: str | None = None
    stream: list[Any] = field(default_factory=list)
    queued: float = field(default_factory=time.monotonic)
    began: float | None = None
    ended: float | None = None

    def wire(self) -> dict[str, Any]:
        """Return the answer to /status."""
        shown: dict[str, Any] = {"id": self.id, "status": self.status}
        if self.began is not None:
            shown["delayTime"] = round(1000 * (self.began - self.queued))
            shown["workerId"] = self.worker
            if self.ended is not None:
                shown["executionTime"] = round(1000 * (self.ended - self.began))
        if self.output is not None:
            shown["output"] = self.output
        if self.error is not None:
            shown["error"] = self.error
        return shown


class Plane:
    """The queue, its jobs and its workers. Used within one event loop."""

    def __init__(self, hold_s: float = 20.0) -> None:
        self.hold_s = hold_s  # how long a worker's polls are held open
        self.jobs: dict[str, Entry] = {}
        self.events: list[Event] = []
        self.faults = Faults()
        self.seen: dict[str, float] = {}  # a worker's last call, monotonic seconds
        self._queue: deque[str] = deque()
        self._stops: dict[str, list[str]] = {}
        self._changed = asyncio.Condition()

    def note(self, kind: str, job: str | None = None, details: Any = None) -> None:
        """Record an event."""
        self.events.append(Event(time.monotonic(), kind, job, details))

    async def submit(self, body: dict[str, Any], kind: str, job_id: str | None = None) -> Entry:
        """Queue a job; an id that is there already is that job."""
        name = job_id or f"{'sync-' if kind == 'runsync' else ''}{uuid.uuid4()}-local"
        if name in self.jobs:
            return self.jobs[name]
        if "webhook" in body and not any(event.kind == "webhook" for event in self.events):
            self.note("webhook", name)
            sys.stderr.write("note: `webhook` is RunPod's to call; here nothing calls it\n")
        timeout = (body.get("policy") or {}).get("executionTimeout")
        entry = Entry(
            id=name,
            input=body["input"],
            extras={key: body[key] for key in TO_WORKER if key in body},
            limit=LIMITS[kind],
            timeout_s=timeout / 1000 if timeout else None,
        )
        self.jobs[name] = entry
        self.note("submit", name)
        await self._enqueue(entry)
        return entry

    async def take(self, worker: str, most: int) -> list[Entry]:
        """Hand over up to `most` jobs, waiting for the first of them as long as a poll is held."""
        if not await self._until(lambda: bool(self._queue), self.hold_s):
            return []
        taken = [self.jobs[self._queue.popleft()] for _ in range(min(most, len(self._queue)))]
        for entry in taken:
            entry.status, entry.worker, entry.began = "IN_PROGRESS", worker, time.monotonic()
            self.note("take", entry.id, worker)
            if entry.timeout_s is not None:
                asyncio.get_running_loop().call_later(
                    entry.timeout_s, self._time_out, entry, entry.began
                )
        await self._tell()
        return taken

    async def answered(self, job_id: str, body: dict[str, Any], size: int) -> int:
        """Take what a worker says about a job; return the HTTP status of the reply."""
        entry = self.jobs.get(job_id)
        if entry is None or entry.status in FINAL:
            self.note("late", job_id, body)
            return 200
        if body.get("status") == "IN_PROGRESS":
            entry.output = body.get("output")
            self.note("progress", job_id, body.get("output"))
            await self._tell()
            return 200
        if self.faults.refuse_done > 0:
            self.faults.refuse_done -= 1
            self.note("refused", job_id, 500)
            return 500
        if size > entry.limit:
            self.note("refused", job_id, 413)
            return 413
        entry.output, entry.error = body.get("output"), body.get("error")
        self.note("done", job_id, body)
        await self._end(entry, "FAILED" if entry.error else "COMPLETED")
        return 200

    async def streamed(self, job_id: str, part: Any) -> None:
        """Keep a part of a streamed answer."""
        if job_id in self.jobs:
            self.jobs[job_id].stream.append(part)
            self.note("stream", job_id, part)
            await self._tell()

    async def cancel(self, entry: Entry) -> None:
        """End a job; the worker that has it is told to stop."""
        if entry.status in FINAL:
            return
        if entry.id in self._queue:
            self._queue.remove(entry.id)
        elif entry.worker is not None:
            self._stops.setdefault(entry.worker, []).append(entry.id)
        self.note("cancel", entry.id)
        await self._end(entry, "CANCELLED")

    async def stops(self, worker: str) -> list[str]:
        """Return the jobs that a worker has to stop, waiting as long as a poll is held."""
        await self._until(lambda: bool(self._stops.get(worker)), self.hold_s)
        found = self._stops.pop(worker, [])
        for job_id in found:
            self.note("stop", job_id, worker)
        return found

    async def requeue(self, entry: Entry) -> None:
        """Queue a job again under its own id: a retry, or after its worker is gone."""
        entry.status, entry.worker, entry.output, entry.error = "IN_QUEUE", None, None, None
        entry.stream, entry.began, entry.ended = [], None, None
        self.note("requeue", entry.id)
        await self._enqueue(entry)

    async def worker_lost(self) -> None:
        """Queue again what a worker that died was at; what loses a second one has failed."""
        for entry in [entry for entry in self.jobs.values() if entry.status == "IN_PROGRESS"]:
            if any(event.kind == "requeue" and event.job == entry.id for event in self.events):
                error = {
                    "code": Code.CAPACITY,
                    "message": "two workers in turn died at this job",
                    "hint": "see why in the log; memory is the usual cause",
                    "retryable": True,
                }
                await self.answered(entry.id, {"error": json.dumps(error)}, 0)
            else:
                await self.requeue(entry)

    async def purge(self) -> int:
        """Drop every job that waits; return how many."""
        gone = [self.jobs.pop(job_id) for job_id in self._queue]
        self._queue.clear()
        return len(gone)

    async def ended(self, entry: Entry, timeout_s: float) -> bool:
        """Wait until a job has ended; return whether it has."""
        return await self._until(lambda: entry.status in FINAL, timeout_s)

    async def said(self, entry: Entry, timeout_s: float) -> None:
        """Wait until a stream has something new, or the job has ended."""
        await self._until(lambda: bool(entry.stream) or entry.status in FINAL, timeout_s)

    def counts(self) -> dict[str, Any]:
        """Return the answer to /health."""
        states = [entry.status for entry in self.jobs.values()]
        busy = {entry.worker for entry in self.jobs.values() if entry.status == "IN_PROGRESS"}
        alive = {name for name, at in self.seen.items() if time.monotonic() - at < 60}
        return {
            "jobs": {
                "completed": states.count("COMPLETED"),
                "failed": states.count("FAILED") + states.count("TIMED_OUT"),
                "inProgress": states.count("IN_PROGRESS"),
                "inQueue": states.count("IN_QUEUE"),
                "retried": sum(event.kind == "requeue" for event in self.events),
            },
            "workers": {
                "idle": len(alive - busy),
                "initializing": 0,
                "ready": len(alive),
                "running": len(alive & busy),
                "throttled": 0,
                "unhealthy": 0,
            },
        }

    def _time_out(self, entry: Entry, began: float) -> None:
        same = entry.status == "IN_PROGRESS" and entry.began == began
        if same and entry.worker is not None:
            self._stops.setdefault(entry.worker, []).append(entry.id)
            task = asyncio.ensure_future(self._end(entry, "TIMED_OUT"))
            task.add_done_callback(lambda done: done.result())

    async def _enqueue(self, entry: Entry) -> None:
        self._queue.append(entry.id)
        await self._tell()

    async def _end(self, entry: Entry, status: str) -> None:
        entry.status, entry.ended = status, time.monotonic()
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, fact: Callable[[], bool], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(fact)
        except TimeoutError:
            return False
        return True
