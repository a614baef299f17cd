"""The SDK's handlers, without the SDK's loop."""

import asyncio
from typing import Any

import pytest

from talkhead.result import Progress
from talkhead.serve import runpod
from talkhead.serve.runpod import Front
from talkhead.settings import Settings

JOB = {"id": "j", "input": {}}


def front(monkeypatch: pytest.MonkeyPatch, done: Any) -> Front:
    made = Front(Settings())
    monkeypatch.setattr(made, "_done", done)
    return made


def test_a_generator_that_is_left_behind_stops_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK is stopped while it posts what came, and never asks for more."""

    async def main() -> None:
        posting, stopped = asyncio.Event(), asyncio.Event()

        async def done(job: dict[str, Any], told: Any) -> dict[str, Any]:
            told(Progress("render", 1, 9, 20.0))
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
            return {}

        steps = front(monkeypatch, done).stream(JOB)  # held here: nothing else ends it

        async def sdk() -> None:
            async for _ in steps:
                posting.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(sdk())
        await posting.wait()
        task.cancel()
        async with asyncio.timeout(5):
            await stopped.wait()
        await steps.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answered", "last"),
    [
        ({"result": {"action": "talk"}}, {"result": {"action": "talk"}}),
        ({"status": "error", "error": "{}"}, {"error": "{}"}),
    ],
)
def test_the_answer_or_the_error_alone_is_last(
    monkeypatch: pytest.MonkeyPatch, answered: dict[str, Any], last: dict[str, Any]
) -> None:
    async def done(job: dict[str, Any], told: Any) -> dict[str, Any]:
        told(Progress("fetch", 1, 9, 0.1))
        await asyncio.sleep(0.01)
        return answered

    async def main() -> list[dict[str, Any]]:
        return [step async for step in front(monkeypatch, done).stream(JOB)]

    found = asyncio.run(main())
    assert [step.get("stage") for step in found] == ["fetch", None]
    assert found[-1] == last


@pytest.mark.parametrize("generator", [False, True])
def test_the_setting_chooses_the_handler(monkeypatch: pytest.MonkeyPatch, generator: bool) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(runpod.sdk, "log_through_ours", lambda: None)
    monkeypatch.setattr(runpod.sdk, "attend", lambda *_, **__: None)
    monkeypatch.setattr(runpod.runpod.serverless, "register_fitness_check", lambda _: None)
    monkeypatch.setattr(runpod.runpod.serverless, "start", started.append)
    runpod.serve(Settings(worker={"generator": generator}))
    name = started[0]["handler"].__name__
    assert (name, started[0].get("return_aggregate_stream", False)) == (
        "stream" if generator else "handle",
        generator,
    )
