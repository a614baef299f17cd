"""What the RunPod SDK's worker loop lacks, mended from outside. Checked against runpod 1.12.

- It asks for jobs again at once after a failure: 46,000 lines in 18 s while the platform is away.
- Told to end, it goes on polling for up to 90 s, and a job that it gets then is lost.
- It runs in an event loop that only it can open, while a host has to live in that same loop.
- Its logger prints whole inputs and outputs, and URLs with what is secret in them.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from runpod.serverless.modules import (  # type: ignore[import-untyped]
    rp_fitness,
    rp_logger,
    rp_scale,
)

from talkhead.serve import logs

FIRST_S, LAST_S = 0.5, 30.0  # waits after failures in a row
BREATH_S = 0.25  # between two polls that come back empty at once
TEXT = 2000  # characters of a line

# Debug lines hold whole inputs and outputs, so they have no way out.
LEVELS: dict[str, logs.Level] = {"INFO": "debug", "TIP": "debug", "WARN": "warning"}
LEVELS |= {"ERROR": "error"}

Poll = Callable[..., Awaitable[Any]]


def log_through_ours() -> None:
    """Turn the SDK's log lines into ours: JSON, without secrets, its chatter at level debug."""
    theirs = rp_logger.RunPodLogger()

    def log(message: object, message_level: str = "INFO", job_id: str | None = None) -> None:
        level = LEVELS.get(message_level)
        if level is not None:
            text = str(message)[:TEXT]
            logs.event("log.library", level=level, job_id=job_id, logger="runpod", message=text)

    theirs.log = log


def attend(
    around: Callable[[], AbstractAsyncContextManager[None]],
    interrupt: Callable[[], None],
    *,
    tied: bool = False,
) -> None:
    """Run every worker loop from now on inside `around`, and end it in time when told to.

    SIGTERM and SIGINT call `interrupt` and end all polls; with `tied`, so does the end of stdin.
    """
    original = rp_scale.JobScaler.run

    async def run(scaler: Any) -> None:
        leaving = asyncio.Event()
        scaler.jobs_fetcher = paced(scaler.jobs_fetcher, leaving)
        scaler.stop_signals_fetcher = paced(scaler.stop_signals_fetcher, leaving)

        def leave() -> None:
            if not leaving.is_set():
                logs.event("worker.stopping")
                leaving.set()
                scaler.kill_worker()
                interrupt()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):  # in the place of the SDK's own
            loop.add_signal_handler(number, leave)
        if tied:
            loop.add_reader(sys.stdin.fileno(), _listen, loop, leave)
        async with around():
            await original(scaler)

    rp_scale.JobScaler.run = run


def paced(poll: Poll, leaving: asyncio.Event) -> Poll:
    """Return a poll that slows down while it fails, and comes back empty when it is time to leave.

    A poll under way is dropped then; what the platform hands out in that moment counts as lost
    with its worker.
    """
    failures = 0

    async def paced_poll(*args: Any) -> Any:
        nonlocal failures
        began = time.monotonic()
        try:
            found = await unless(leaving, poll(*args))
        except Exception:  # whatever it is, it is raised again, only later
            wait = min(FIRST_S * 2 ** min(failures, 10), LAST_S)
            failures += 1
            await unless(leaving, asyncio.sleep(wait * random.uniform(0.75, 1)))  # noqa: S311
            raise
        failures = 0
        if not found and time.monotonic() - began < BREATH_S:
            await unless(leaving, asyncio.sleep(BREATH_S))
        return found or []

    return paced_poll


async def unless(leaving: asyncio.Event, work: Awaitable[Any]) -> Any:
    """Return what work gives, or None as soon as it is time to leave."""
    task = asyncio.ensure_future(work)
    stop = asyncio.ensure_future(leaving.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return None if task.cancelled() else task.result()


def report_unhealthy(check: str, reason: str) -> None:
    """Tell the platform why this worker ends, where the SDK knows how to."""
    if report := getattr(rp_fitness, "_report_unhealthy", None):
        report(check, logs.redact(reason))


def _listen(loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> None:
    """Leave at the end of stdin: whoever started this process is gone."""
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())
        leave()
