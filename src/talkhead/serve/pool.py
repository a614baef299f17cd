"""Where jobs of a server run: one process for each GPU, or one, and one for what is quick.

`Pool.submit` is the only seam between the server and what renders: another pool, of other machines
say, needs to offer that, `size` and the three ends of its life.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from talkhead.result import Progress
from talkhead.serve.answering import Answer, Asked, answer
from talkhead.serve.worker import Host
from talkhead.settings import Settings, visible_gpus

Lane = Literal["render", "desk"]
LANES: tuple[Lane, ...] = ("render", "desk")
GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a job. The desk takes what must not wait behind a long render."""

    asked: Asked
    lane: Lane = "render"


class Pool:
    """Rendering processes of this machine, each kept alive and replaced by its Host.

    All methods belong to one event loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hosts: dict[Lane, Sequence[Host]] = {
            "render": [Host(with_device(settings, name)) for name in devices(settings)],
            "desk": [Host(planning(settings))],
        }
        self._idle: dict[Lane, asyncio.LifoQueue[Host]] = {}
        for lane, hosts in self._hosts.items():
            self._idle[lane] = asyncio.LifoQueue()
            for host in hosts:
                self._idle[lane].put_nowait(host)

    def size(self, lane: Lane) -> int:
        """Return how many jobs of a lane run at a time."""
        return len(self._hosts[lane])

    def busy(self, lane: Lane) -> int:
        """Return how many of them run now."""
        return self.size(lane) - self._idle[lane].qsize()

    def ready(self, lane: Lane) -> int:
        """Return how many processes of a lane are there and can work."""
        return sum(host.pid is not None for host in self._hosts[lane])

    async def start(self) -> None:
        """Start the processes. One that cannot start says so, and again at its first job."""
        hosts = [host for lane in LANES for host in self._hosts[lane]]
        await asyncio.gather(*(host.start() for host in hosts), return_exceptions=True)

    async def submit(self, job: Job) -> AsyncGenerator[Progress | Answer]:
        """Do a job: yield its progress as it comes, and its answer last.

        Where the caller leaves early or is cancelled, the job is stopped, and this ends only when
        its process is idle again, or replaced.
        """
        idle = self._idle[job.lane]
        host = await idle.get()
        news: asyncio.Queue[Progress | None] = asyncio.Queue()
        work = asyncio.create_task(answer(job.asked, host, self._settings, news.put_nowait))
        work.add_done_callback(lambda _: news.put_nowait(None))
        try:
            while (progress := await news.get()) is not None:
                yield progress
            yield await work
        finally:
            work.cancel()
            await asyncio.wait({work})
            idle.put_nowait(host)

    def interrupt(self) -> None:
        """End all running jobs with E_CANCELLED within seconds, and refuse later ones."""
        for lane in LANES:
            for host in self._hosts[lane]:
                host.interrupt()

    async def close(self) -> None:
        """Interrupt what runs and see every process gone."""
        await asyncio.gather(*(host.close() for lane in LANES for host in self._hosts[lane]))


def devices(settings: Settings) -> tuple[str, ...]:
    """Return where the rendering processes compute, one each. Loads no torch."""
    if settings.server.devices:
        return settings.server.devices
    if settings.device != "auto" or find_spec("torch") is None:
        return (settings.device,)
    count = visible_gpus()
    if count is None:
        count = len(list(GPUS.iterdir())) if GPUS.is_dir() else 0
    return tuple(f"cuda:{index}" for index in range(count)) or (settings.device,)


def with_device(settings: Settings, device: str) -> Settings:
    """Return settings for a process that computes on a device."""
    return settings.model_copy(update={"device": device})


def planning(settings: Settings) -> Settings:
    """Return settings for the process that plans while others render."""
    worker = settings.worker.model_copy(update={"plans_only": True, "warm_up": None})
    return settings.model_copy(update={"worker": worker})


def on_gpus(settings: Settings) -> bool:
    """Return whether what is long runs on GPUs here."""
    return any(name.startswith("cuda") for name in devices(settings))
