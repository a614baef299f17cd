"""Progress on its way to the platform: in order, at most one a second, none after the answer.

The SDK's own sender starts a thread for each call, so that an old word can overtake the answer and
leave a finished job in progress for ever. This one owns the order.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from talkhead.result import Progress

GAP_S = 1.0  # between two posts
DRAIN_S = 2.0  # that a post under way may hold up the answer

Post = Callable[[dict[str, Any]], Awaitable[None]]
Failed = Callable[[Exception], None]


def payload(progress: Progress) -> dict[str, Any]:
    """Return what callers see of progress; members without a value are left out."""
    shown: dict[str, Any] = {"stage": progress.stage, "pct": progress.pct}
    if progress.items:
        shown |= {"item": progress.item, "items": progress.items}
    if progress.segments:
        shown |= {"window": progress.segment, "windows": progress.segments}
    shown |= {"step": progress.done, "steps": progress.total}
    if progress.eta_s is not None:
        shown["eta_s"] = progress.eta_s
    if progress.late is not None:
        shown["late"] = progress.late
    if progress.stream_url is not None:
        shown["stream"] = {"url": progress.stream_url, "seconds": progress.stream_s}
    return shown


class News:
    """One job's progress for those who keep all of it: a few hundred steps, however long it runs.

    A step counts where stage or half percent have changed, or the stream has come.
    """

    def __init__(self) -> None:
        self._newest: dict[str, Any] | None = None
        self._last: tuple[Any, ...] = ()
        self._wake = asyncio.Event()

    def __call__(self, progress: Progress) -> None:
        """Take progress; never blocks."""
        step = (progress.stage, int(2 * progress.pct), progress.stream_url is None)
        if step != self._last:
            self._last, self._newest = step, payload(progress)
            self._wake.set()

    async def until(self, work: "asyncio.Task[Any]") -> AsyncIterator[dict[str, Any]]:
        """Yield what is new, the newest only, until the work has ended."""
        work.add_done_callback(lambda _: self._wake.set())
        while not work.done():
            await self._wake.wait()
            self._wake.clear()
            newest, self._newest = self._newest, None
            if newest is not None:
                yield newest


class Sender:
    """Sends one job's progress through `post`, one at a time and the newest only.

    A post that fails is not tried again: the next one says more. `failed` hears of the first.
    """

    def __init__(self, post: Post, failed: Failed, gap_s: float = GAP_S) -> None:
        self._post = post
        self._failed = failed
        self._gap_s = gap_s
        self._newest: dict[str, Any] | None = None
        self._highest = 0.0
        self._complained = False
        self._closed = False
        self._under_way = False
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._send())

    def __call__(self, progress: Progress) -> None:
        """Take progress; what goes back or comes after `drain` is dropped. Never blocks."""
        if self._closed or progress.pct < self._highest:
            return
        self._highest = progress.pct
        self._newest = payload(progress)
        self._wake.set()

    async def drain(self, bound_s: float = DRAIN_S) -> None:
        """Drop what waits and see a post under way off, within `bound_s` seconds.

        A post that takes longer is cancelled; `post` has to close its connection then.
        """
        self._closed, self._newest = True, None
        if not self._under_way:
            self._task.cancel()
        self._wake.set()
        try:
            await asyncio.wait([self._task], timeout=bound_s)
        finally:  # we may be cancelled too
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self) -> None:
        while not self._closed:
            await self._wake.wait()
            self._wake.clear()
            newest, self._newest = self._newest, None
            if newest is None:
                continue
            self._under_way = True
            try:
                await self._post(newest)
            except (OSError, RuntimeError, TimeoutError) as error:
                if not self._complained:
                    self._complained = True
                    self._failed(error)
            finally:
                self._under_way = False
            if not self._closed:
                await asyncio.sleep(self._gap_s)
