"""A host on the faulty engine, for tests of the worker: settings, orders, looks at processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from support.cards import plain_portrait, seven_seconds
from talkhead.serve.worker import Order
from talkhead.settings import Settings


def settings_in(folder: Path, **worker: float) -> Settings:
    """Return settings whose portrait.png and speech.wav (7 s) lie in a volume of the folder."""
    volume = folder / "volume"
    if not volume.exists():
        volume.mkdir(parents=True)
        plain_portrait(volume)
        seven_seconds(volume)
    return Settings(
        engine="faulty",
        engines={
            "faulty": "support.faulty:Faulty",
            "testcard": "support.testcard:TestCard",
        },
        jobs=folder / "jobs",
        volumes=(volume,),
        store={"root": folder / "store"},
        worker={"cancel_s": 0.4, "term_s": 1.0, **worker},
    )


def order(key: str, how: str = "well", *, frames: int = 10, **options: object) -> Order:
    """Return an order for the faulty engine."""
    request: dict[str, Any] = {
        "portrait": "volume:portrait.png",
        "speakers": [{"audio": "volume:speech.wav"}],
        "size": "320x256",
        "sampling": {"seed": 1},
        "engine": "faulty",
        "options": {"how": how, **options},
        "max_frames": frames,
        "idempotency_key": key,
    }
    return Order(f"job-{key}", request)


def alive(pid: int | None) -> bool:
    """Return whether a process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def memory_mb(pid: int | None) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


async def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something that no event tells of has become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


class Heard:
    """Collects progress, and lets a test wait for the job to render."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.rendering = asyncio.Event()

    def __call__(self, progress: Any) -> None:
        self.all.append(progress)
        if progress.stage == "render":
            self.rendering.set()


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    """Return what work comes to, or fail the test."""
    async with asyncio.timeout(seconds):
        return await work
