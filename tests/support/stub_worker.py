"""A worker in a thread of the test: the control plane's jobs, done by `job.run` in this process.

What the SDK and the rendering process add is tested elsewhere; this one starts at once.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from support.plane import Platform
from talkhead import job
from talkhead.result import Progress, Result
from talkhead.runtime import Runtime
from talkhead.serve.answering import Asked, answer
from talkhead.serve.plane import Entry
from talkhead.serve.worker import Order
from talkhead.settings import Settings
from talkhead.validation import parse

Body = dict[str, Any]
Does = Callable[[Entry], Body | None]


class Stub:
    """Does the jobs of a platform, one after another, each at once or when `gate` opens."""

    def __init__(self, platform: Platform, settings: Settings, does: Does | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs: list[Body] = []  # requests that were rendered
        self.said: Body = {"stage": "render", "pct": 40.0, "window": 1, "windows": 3, "eta_s": 9.0}
        self._plane, self._settings, self._does = platform.plane, settings, does
        self._runtime = Runtime(settings, serving=True)
        self._task: asyncio.Task[None] | None = None

    async def run(self, order: Order, progress: Callable[[Progress], None]) -> Result:
        """Do an order, as a host does."""
        self.runs.append(order.request)
        return await asyncio.to_thread(job.run, parse(order.request), self._runtime)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            for entry in await self._plane.take("stub", 1):
                said = {"status": "IN_PROGRESS", "output": self.said}
                await self._plane.answered(entry.id, said, 0)
                await asyncio.to_thread(self.gate.wait, 30)
                await self._plane.answered(entry.id, await self._answer(entry), 0)

    async def _answer(self, entry: Entry) -> Body:
        if self._does is not None and (told := self._does(entry)) is not None:
            return told
        asked = Asked(entry.id, entry.input, entry.extras.get("s3Config"))
        made = await answer(asked, self, self._settings, lambda _: None)
        return {"output": made.body} | ({"error": made.text} if made.error else {})


@contextmanager
def stub_worker(platform: Platform, settings: Settings, does: Does | None = None) -> Iterator[Stub]:
    """Yield a worker that takes the platform's jobs."""
    stub = Stub(platform, settings, does)
    asyncio.run_coroutine_threadsafe(stub.start(), platform.loop).result(5)
    try:
        yield stub
    finally:
        stub.gate.set()
        asyncio.run_coroutine_threadsafe(stub.stop(), platform.loop).result(35)
