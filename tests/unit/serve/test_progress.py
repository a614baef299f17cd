"""Progress is ordered, rare, and over before the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from talkhead.result import Progress
from talkhead.serve.progress import News, Sender, payload

GAP = 0.05


def step(pct: float) -> Progress:
    return Progress(stage="render", done=round(pct), total=100, pct=pct)


class Platform:
    """Stands for the platform: takes posts, holds them, or refuses them."""

    def __init__(self) -> None:
        self.begun: list[tuple[float, float]] = []  # when, pct
        self.ended: list[float] = []
        self.closed = 0
        self.hold: asyncio.Event | None = None
        self.refuse = 0
        self.most = self.now = 0
        self.news = asyncio.Event()

    async def post(self, body: dict[str, Any]) -> None:
        self.begun.append((time.monotonic(), body["pct"]))
        self.now += 1
        self.most = max(self.most, self.now)
        self.news.set()
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            if self.refuse:
                self.refuse -= 1
                raise ConnectionError("no")
            self.ended.append(body["pct"])
        except asyncio.CancelledError:
            self.closed += 1
            raise
        finally:
            self.now -= 1

    async def heard(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.begun) < count:
                self.news.clear()
                await self.news.wait()


def play(script: Callable[[Platform, Sender, list[Exception]], Awaitable[None]]) -> Platform:
    async def main() -> Platform:
        platform, failures = Platform(), []
        sender = Sender(platform.post, failures.append, gap_s=GAP)
        await script(platform, sender, failures)
        await sender.drain()
        return platform

    return asyncio.run(main())


def test_the_newest_wins_and_posts_keep_their_distance() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        sender(step(1))
        await platform.heard(1)
        for pct in range(2, 30):
            sender(step(pct))
        await platform.heard(2)
        sender(step(40))
        await platform.heard(3)

    platform = play(script)
    assert [pct for _, pct in platform.begun] == [1, 29, 40]
    times = [at for at, _ in platform.begun]
    assert all(later - sooner >= GAP for sooner, later in pairwise(times))


def test_one_post_at_a_time() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        platform.hold = asyncio.Event()
        sender(step(1))
        await platform.heard(1)
        sender(step(2))
        await asyncio.sleep(3 * GAP)
        assert len(platform.begun) == 1
        platform.hold.set()
        await platform.heard(2)

    assert play(script).most == 1


def test_percent_never_falls() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        sender(step(50))
        await platform.heard(1)
        sender(step(20))
        sender(step(50.5))
        sender(step(30))
        await platform.heard(2)

    assert [pct for _, pct in play(script).begun] == [50, 50.5]


def test_nothing_is_sent_after_the_drain() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        sender(step(1))
        await platform.heard(1)
        sender(step(2))
        await sender.drain()
        sender(step(3))
        await asyncio.sleep(3 * GAP)

    assert [pct for _, pct in play(script).begun] == [1]


def test_a_post_under_way_is_seen_off() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        platform.hold = asyncio.Event()
        sender(step(1))
        await platform.heard(1)
        asyncio.get_running_loop().call_later(GAP, platform.hold.set)
        await sender.drain()
        assert platform.ended == [1]

    assert play(script).closed == 0


def test_a_post_that_hangs_is_cancelled_in_time() -> None:
    async def script(platform: Platform, sender: Sender, _: list[Exception]) -> None:
        platform.hold = asyncio.Event()
        sender(step(1))
        await platform.heard(1)
        began = time.monotonic()
        await sender.drain(0.1)
        assert 0.1 <= time.monotonic() - began < 1

    platform = play(script)
    assert platform.closed == 1
    assert platform.ended == []


def test_drain_without_any_progress_takes_no_time() -> None:
    began = time.monotonic()

    async def script(*_: object) -> None:
        pass

    play(script)
    assert time.monotonic() - began < 1


def test_a_failure_is_told_once_and_never_raised() -> None:
    async def script(platform: Platform, sender: Sender, failures: list[Exception]) -> None:
        platform.refuse = 2
        for number in range(1, 4):
            sender(step(number))
            await platform.heard(number)
        await sender.drain()
        assert [str(error) for error in failures] == ["no"]

    assert play(script).ended == [3]


@pytest.mark.parametrize("eta", [None, 4.5])
def test_the_payload_leaves_out_what_is_not_known(eta: float | None) -> None:
    bare = Progress(stage="fetch", done=1, total=2, pct=0.5, eta_s=eta)
    expected = {"stage": "fetch", "pct": 0.5, "step": 1, "steps": 2}
    assert payload(bare) == ({**expected, "eta_s": eta} if eta else expected)


def test_the_payload_counts_segments_as_windows() -> None:
    shown = payload(Progress("render", 3, 8, 41.0, segment=2, segments=5, eta_s=95.0))
    assert shown == {
        "stage": "render",
        "pct": 41.0,
        "window": 2,
        "windows": 5,
        "step": 3,
        "steps": 8,
        "eta_s": 95.0,
    }


def test_the_payload_of_a_batch_names_the_item() -> None:
    step = Progress(stage="render", done=1, total=4, pct=50.0, item=2, items=3)
    assert payload(step).items() >= {"item": 2, "items": 3}.items()


def test_the_payload_says_where_the_video_can_be_watched() -> None:
    step = Progress("render", 3, 8, 41.0, stream_url="https://a/index.m3u8", stream_s=6.4)
    assert payload(step)["stream"] == {"url": "https://a/index.m3u8", "seconds": 6.4}


def test_news_are_few_and_the_newest() -> None:
    """All of a job of hours, kept in one answer, stays small."""

    async def main() -> list[dict[str, Any]]:
        news = News()

        async def work() -> None:
            for number in range(100_000):
                url = "u" if number >= 50_100 else None
                news(Progress("render", number, 100_000, round(number / 1000, 1), stream_url=url))
                if number % 100 == 0:
                    await asyncio.sleep(0)

        return [shown async for shown in news.until(asyncio.create_task(work()))]

    found = asyncio.run(main())
    assert 190 < len(found) <= 202
    assert [shown["pct"] for shown in found] == sorted(shown["pct"] for shown in found)
    assert next(shown for shown in found if "stream" in shown)["step"] == 50_100
