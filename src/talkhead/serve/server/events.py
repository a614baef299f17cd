"""A job as it goes on: RunPod's /stream, and the same as server-sent events."""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.queue import FINAL, Entry
from talkhead.serve.server import wire
from talkhead.serve.server.refusals import unknown

HOLD_S = 20.0  # that /stream waits for something new
BEAT_S = 15.0  # between two signs of life, which keep a proxy from closing the line
READERS = 10_000  # jobs whose /stream is under way


class Streams:
    """How far callers of /stream have read, by job: it gives what is new since the last call."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._seen: OrderedDict[str, int] = OrderedDict()

    async def take(self, job_id: str) -> dict[str, Any]:
        """Return the state and the newest progress, waiting for one; raise RefusedError."""
        seen = self._seen.pop(job_id, 0)
        until, found = time.monotonic() + HOLD_S, list[dict[str, Any]]()
        while True:
            turn = self._dispatcher.turn
            entry = await _entry(self._dispatcher, job_id)
            live = self._dispatcher.live.get(job_id)
            if live is not None and live.number > seen and live.progress is not None:
                seen = live.number
                found.append({"output": live.progress})
            left = until - time.monotonic()
            if found or entry.status in FINAL or left <= 0 or self._dispatcher.leaving:
                break
            await self._dispatcher.change(turn, left)
        if entry.status not in FINAL:
            self._seen[job_id] = seen
            while len(self._seen) > READERS:
                self._seen.popitem(last=False)
        return {"status": entry.status, "stream": found}


async def events(dispatcher: Dispatcher, job_id: str) -> AsyncIterator[str]:
    """Yield server-sent events of a job until its end: `status`, `progress`, at last `end`.

    A job that waits has a new `status` whenever its place in the queue is another.
    """
    seen, told = 0, dict[str, Any]()
    while not dispatcher.leaving:
        turn = dispatcher.turn
        entry = await _entry(dispatcher, job_id)
        live = dispatcher.live.get(job_id)
        if entry.status in FINAL:
            yield event("end", wire.status(entry, None))
            return
        ahead = None
        if entry.status == "IN_QUEUE":
            ahead = await asyncio.to_thread(dispatcher.queue.ahead, job_id)
        status = wire.status(entry, None, ahead)
        if status != told:
            told = status
            yield event("status", status)
        if live is not None and live.number > seen and live.progress is not None:
            seen = live.number
            yield event("progress", live.progress)
        began = time.monotonic()
        await dispatcher.change(turn, BEAT_S)
        if time.monotonic() - began >= BEAT_S:
            yield ": still here\n\n"


def event(name: str, data: dict[str, Any]) -> str:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _entry(dispatcher: Dispatcher, job_id: str) -> Entry:
    entry = await dispatcher.entry(job_id)
    if entry is None:
        raise unknown(job_id)
    return entry
