"""What is mended of the SDK: pace, leaving in time, log lines."""

import asyncio
import io
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from talkhead.serve import logs, sdk
from talkhead.settings import Settings


def later(work: Callable[[asyncio.Event], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await work(asyncio.Event())

    return asyncio.run(main())


async def never(*_: object) -> None:
    await asyncio.Event().wait()


def test_a_poll_that_fails_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "FIRST_S", 0.02)
    monkeypatch.setattr(sdk, "LAST_S", 0.1)
    waits: list[float] = []

    async def broken(*_: object) -> None:
        raise ConnectionError("gone")

    async def work(leaving: asyncio.Event) -> None:
        poll = sdk.paced(broken, leaving)
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(ConnectionError):
                await poll("session", 1)
            waits.append(time.monotonic() - began)

    later(work)
    assert waits[0] >= 0.015
    assert waits[3] > 2 * waits[0]
    assert waits[4] < 1


def test_one_success_forgets_the_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "FIRST_S", 0.02)
    ends: list[Any] = [ConnectionError(), ConnectionError(), ["job"], ConnectionError()]

    async def poll(*_: object) -> Any:
        end = ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    async def work(leaving: asyncio.Event) -> float:
        paced = sdk.paced(poll, leaving)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await paced()
        assert await paced() == ["job"]
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            await paced()
        return time.monotonic() - began

    assert later(work) < 0.03


def test_empty_polls_take_a_breath() -> None:
    async def empty(*_: object) -> None:
        return None

    async def work(leaving: asyncio.Event) -> float:
        began = time.monotonic()
        assert await sdk.paced(empty, leaving)() == []
        return time.monotonic() - began

    assert later(work) >= sdk.BREATH_S


def test_a_poll_ends_when_it_is_time_to_leave() -> None:
    async def work(leaving: asyncio.Event) -> None:
        poll = asyncio.ensure_future(sdk.paced(never, leaving)())
        await asyncio.sleep(0)
        leaving.set()
        assert await asyncio.wait_for(poll, 5) == []
        assert await asyncio.wait_for(sdk.paced(never, leaving)(), 5) == []

    later(work)


def test_a_cancelled_poll_takes_its_work_along() -> None:
    ended: list[bool] = []

    async def held(*_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def work(leaving: asyncio.Event) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sdk.paced(held, leaving)(), 0.05)

    later(work)
    assert ended == [True]


def test_the_sdk_logs_through_us_and_never_whole_payloads() -> None:
    from runpod.serverless.modules.rp_logger import RunPodLogger

    theirs, stream = RunPodLogger(), io.StringIO()
    logs.setup(Settings(log_level="debug"), stream)
    try:
        sdk.log_through_ours()
        theirs.debug("Handler output: everything", "job-1")
        theirs.info("Started.", "job-1")
        theirs.error("gone: https://x/job-done?key=geheim " + "x" * 9000)
    finally:
        del theirs.log
        logs.close()
    started, gone = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (started["job_id"], started["level"]) == ("job-1", "debug")
    assert gone["level"] == "error"
    assert "geheim" not in gone["details"]["message"]
    assert len(gone["details"]["message"]) <= sdk.TEXT
