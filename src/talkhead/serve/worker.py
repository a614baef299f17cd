"""The one execution host: a child process that renders, kept alive, and replaced when it is not.

RunPod, server and cluster all drive a `Host`. Its life: `start`, then `run` for one order after
another, `interrupt` when this process is told to end, `close` last.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from talkhead.errors import Code, TalkheadError, rebuilt
from talkhead.report import naming
from talkhead.result import Progress, Result
from talkhead.serve import logs
from talkhead.serve.process import AGAIN, Call, Order, Process, death, ending, located, unstarted
from talkhead.settings import Settings
from talkhead.settings.groups import Worker

__all__ = ["Host", "Order"]
GRACE_S = 4.0  # for a job to stop when the whole worker has to
LATE_S = 5.0  # after its deadline, for a job to end by itself
LONGEST_S = 1e6  # more than any request may ask for
YOUNG_S = 5.0  # an idle child that dies younger than this would do so again at once


class Host:
    """One child process and the one job in it.

    All methods belong to one event loop, whose thread has to outlive the child: the kernel kills
    the child when that thread ends.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker = settings.worker
        self._turn = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._newest: asyncio.Task[Process] | None = None  # the present child, or the coming one
        self._busy = False
        self._leaving = False
        self._wake: asyncio.Future[None] | None = None  # done once `interrupt` was called

    async def start(self) -> None:
        """Start the child and wait until it can work, or raise E_PIPELINE_LOAD."""
        async with self._turn:
            await self._present()

    async def run(self, order: Order, progress: Callable[[Progress], None]) -> Result:
        """Do one order, after those that came before it; raise TalkheadError where it fails.

        `progress` is called on the event loop, in order, never after the end. When cancelled, the
        CancelledError comes out only after the child is idle again or dead, so that no second job
        meets the first. A dead child is replaced; the same order, run again, goes on where the
        job folder ends.
        """
        async with self._turn:
            child = await self._present()
            self._busy = True
            call = child.call(order, progress)
            try:
                return await self._attended(child, call, _limit(order, self._worker))
            except asyncio.CancelledError:
                await _insist(self._stopped(child, call))
                raise
            finally:
                child.hush()
                self._busy = False
                if call.answer.done() and call.answer.result()["last"]:
                    self._retire(child)

    def interrupt(self) -> None:
        """End the running job with E_CANCELLED within 4 s, and refuse all that come later.

        May be called from a signal handler or another thread. A job that is finished by then
        still gives its result.
        """
        self._leaving = True  # at once: a loop that is busy may take the next order first
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_up)

    async def close(self) -> None:
        """Interrupt what runs, end the child and see it gone."""
        self.interrupt()
        async with self._turn:
            task, self._newest = self._newest, None
            if task is None:
                return
            if not task.done():
                task.cancel()
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is None:
                await task.result().end(self._worker.term_s)

    @property
    def pid(self) -> int | None:
        """Return the process id of a child that is ready, or None."""
        child = self._child
        return child.pid if child is not None else None

    @property
    def _child(self) -> Process | None:
        task = self._newest
        if task is None or not task.done() or task.cancelled() or task.exception():
            return None
        return task.result()

    @property
    def _interrupted(self) -> asyncio.Future[None]:
        if self._wake is None:
            self._loop = asyncio.get_running_loop()
            self._wake = self._loop.create_future()
        return self._wake

    async def _present(self) -> Process:
        """Return a living child that is ready, waiting for the one that is being started."""
        while True:
            if self._leaving:
                raise _leaving(None)
            task = self._newest
            if task is None or (task.done() and self._child is None):  # an earlier start failed
                task = self._begin(None)
            await _first(task, self._interrupted)
            if not task.done():
                continue
            child = task.result()
            if not child.gone.done():
                return child

    async def _attended(self, child: Process, call: Call, limit: float | None) -> Result:
        """Wait for the end of a job, whichever of its ends it is."""
        await _first(call.answer, child.gone, self._interrupted, seconds=limit)
        if limit and not (call.answer.done() or child.gone.done() or self._interrupted.done()):
            await self._stopped(child, call)  # it does not look at the clock where it is
            if not (call.answer.done() and call.answer.result()["kind"] == "result"):
                raise _overdue(call, limit)
        if not (call.answer.done() or child.gone.done()):
            child.cancel(call.id)
            await _first(call.answer, child.gone, seconds=GRACE_S)
            if not call.answer.done():
                child.signal(signal.SIGKILL)
                raise _leaving(call)
        if not call.answer.done():
            error = death(child, call)
            logs.failure(error, call.id)  # what the child answers, it has logged itself
            raise error
        answer = call.answer.result()
        if answer["kind"] == "result":
            return Result.model_validate(answer["result"])
        raise rebuilt(answer["error"])

    async def _stopped(self, child: Process, call: Call) -> None:
        """Make the child idle, or see it dead: by asking, by SIGTERM, by SIGKILL."""
        idle = False
        try:
            child.cancel(call.id)
            await _first(call.answer, child.gone, self._interrupted, seconds=self._worker.cancel_s)
            if self._interrupted.done():
                await _first(call.answer, child.gone, seconds=GRACE_S)
            idle = call.answer.done()
            if not (idle or self._interrupted.done()):
                child.signal(signal.SIGTERM)
                await child.ends_within(self._worker.term_s)
        finally:
            if not idle:
                child.signal(signal.SIGKILL)
        if not idle:
            await asyncio.wait({child.gone})

    def _begin(self, after: Process | None) -> asyncio.Task[Process]:
        """Start a new child in the background."""
        task = asyncio.get_running_loop().create_task(self._launched(after))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # who runs asks
        self._newest = task
        return task

    async def _launched(self, after: Process | None) -> Process:
        """Return a new child that is ready, or raise E_PIPELINE_LOAD."""
        if after is not None:  # not two models in memory at once
            await asyncio.wait({after.gone})
        logs.event("child.started")
        with naming(None):  # such as no memory for one more process
            child = Process(self._settings)
        try:
            await _first(child.ready, child.gone, seconds=self._worker.ready_s)
        except asyncio.CancelledError:
            await child.end(0)
            raise
        if not child.ready.done():
            error = unstarted(child, self._worker.ready_s)
            if child.failure is None:  # else it has logged more than we know
                logs.failure(error, name="child.failed")
            await child.end(0)
            raise error
        logs.event("child.ready", pid=child.pid, seconds=round(time.monotonic() - child.born, 3))
        child.born = time.monotonic()
        child.gone.add_done_callback(partial(self._lost, child))
        return child

    def _retire(self, child: Process) -> None:
        """Put a new child in the place of one that is not to be used again."""
        child.signal(signal.SIGKILL)
        if self._child is child and not self._leaving:
            logs.event("child.replaced", level="warning", pid=child.pid, why="it wants to leave")
            self._begin(child)

    def _lost(self, child: Process, _gone: asyncio.Future[int]) -> None:
        """Replace a child that died; one that cannot live waits for the next order."""
        if self._child is not child:
            return  # replaced already
        self._newest = None
        if self._leaving:
            return
        logs.event("child.replaced", level="error", pid=child.pid, why=ending(child)[1])
        if self._busy or time.monotonic() - child.born > YOUNG_S:
            self._begin(None)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


async def _first(*events: asyncio.Future[Any], seconds: float | None = None) -> None:
    """Wait until one of the events has come, or for so many seconds."""
    await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def _insist(work: Any) -> None:
    """See work through, whoever cancels the waiting for it."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue  # it is on its way out already


def _limit(order: Order, worker: Worker) -> float | None:
    """Return the seconds after which an order is ended from here, or None for no limit."""
    if order.request.get("action") == "health":
        return worker.check_s
    deadline = order.request.get("deadline_s")
    if not isinstance(deadline, int | float) or not 0 < deadline < LONGEST_S:
        return None  # there is none, or the child refuses it
    return deadline + LATE_S


def _overdue(call: Call, limit: float) -> TalkheadError:
    message = f"no end within {limit:g} s: it was stopped from outside"
    error = TalkheadError(Code.TIMEOUT, message, AGAIN)
    return located(error, call)


def _leaving(call: Call | None) -> TalkheadError:
    error = TalkheadError(Code.CANCELLED, "the worker is shutting down", AGAIN)
    return located(error, call) if call else error
