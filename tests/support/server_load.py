"""Many jobs and many pollers on one server: nothing lost, nothing twice, answers in time."""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.hosting import memory_mb
from support.self_hosted import FINAL, Served

POLL_S = 0.1  # between two looks of one poller


@dataclass
class Load:
    """What a load saw."""

    answered: list[float] = field(default_factory=list)  # seconds of each status call
    ends: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)  # jobs whose end changed: there must be none
    memory_mb: list[float] = field(default_factory=list)  # of the server itself

    def percentile(self, share: float) -> float:
        ordered = sorted(self.answered)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def report(self) -> dict[str, Any]:
        half = len(self.memory_mb) // 2
        return {
            "ends": dict(Counter(self.ends.values())),
            "polls": len(self.answered),
            "p50_ms": round(1000 * self.percentile(0.5), 1),
            "p99_ms": round(1000 * self.percentile(0.99), 1),
            "memory_mb": [round(self.memory_mb[half], 1), round(self.memory_mb[-1], 1)],
        }


@asynccontextmanager
async def connection(server: Served) -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
    """Yield how to get a path over one connection.

    httpx takes more processor time for a call (4 ms) than the server does (3 ms): fifty pollers in
    one process would measure themselves.
    """
    host, port = server.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def asked(path: str) -> bytes:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(30):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            assert first.split()[1] == "200", first
            headers = dict(line.lower().split(": ") for line in lines if line)
            return await reader.readexactly(int(headers["content-length"]))

    try:
        yield asked
    finally:
        writer.close()


async def poll(
    server: Served, jobs: list[str], load: Load, done: asyncio.Event, gap_s: float, seed: int
) -> None:
    """Look at one job after another until all have ended, as a waiting client would.

    Half of the looks are at jobs that have ended: their end may not change. Pollers begin anywhere
    in the gap, as clients that know nothing of each other do.
    """
    turn = random.Random(seed)
    await asyncio.sleep(turn.uniform(0, gap_s))
    async with connection(server) as asks:
        while not done.is_set():
            going_on = [job for job in jobs if job not in load.ends]
            job = turn.choice(going_on if going_on and turn.random() < 0.5 else jobs)
            began = time.perf_counter()
            answer = await asks(f"/status/{job}")
            load.answered.append(time.perf_counter() - began)
            status = json.loads(answer)["status"]
            if job in load.ends and load.ends[job] != status:
                load.changes.append(job)
            if status in FINAL:
                load.ends[job] = status
            await asyncio.sleep(gap_s)


async def watch(
    server: Served, jobs: list[str], load: Load, pollers: int, gap_s: float, limit_s: float
) -> None:
    """Poll until every job has ended."""
    done = asyncio.Event()
    tasks = [
        asyncio.create_task(poll(server, jobs, load, done, gap_s, seed)) for seed in range(pollers)
    ]
    deadline = time.monotonic() + limit_s
    while len(load.ends) < len(jobs):
        assert time.monotonic() < deadline, f"{len(load.ends)} of {len(jobs)} ended"
        load.memory_mb.append(memory_mb(server.process.pid))
        await asyncio.sleep(0.5)
    done.set()
    await asyncio.gather(*tasks)


def loaded(
    server: Served, payload: dict[str, Any], jobs: int, pollers: int, gap_s: float = POLL_S
) -> Load:
    """Queue so many jobs, poll them to their ends, and see that each ended once and well."""
    load, names = Load(), [server.run(payload) for _ in range(jobs)]
    asyncio.run(watch(server, names, load, pollers, gap_s, 30 + 5.0 * jobs))
    once_each(server, load, names)
    return load


def throttle(server: Served) -> None:
    """Leave one core to the rendering process and the desk, and of it what nobody else wants."""
    deadline = time.monotonic() + 60
    while len(found := server.events("child.ready")) < 2:
        assert time.monotonic() < deadline, "two processes were to start"
        time.sleep(0.1)
    for child in found:
        pid, cores = child["details"]["pid"], os.sched_getaffinity(0)
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 19)
            os.sched_setaffinity(int(thread.name), {max(cores)})


def once_each(server: Served, load: Load, names: list[str]) -> None:
    """Every job has reached one end, its result is whole, and nothing else was made."""
    assert not load.changes
    assert set(load.ends) == set(names)
    assert set(load.ends.values()) == {"COMPLETED"}, Counter(load.ends.values())
    kept = {path.name for path in server.ground.store.iterdir()}
    assert kept == set(names)
    for name in names:
        made = json.loads((server.ground.store / name / "result.json").read_text())
        video = server.ground.store / name / "video.mp4"
        assert made["outputs"][0]["bytes"] == video.stat().st_size
    assert not list(server.ground.jobs.glob("*/manifest.jsonl"))


def killed_at_random(
    server: Served, payload: dict[str, Any], jobs: int, kills: int, seed: int
) -> int:
    """Kill server and rendering processes in turn under a load; return how many jobs went on."""
    dice, names = random.Random(seed), [server.run(payload) for _ in range(jobs)]
    for kill in range(kills):
        time.sleep(dice.uniform(0.3, 2.0))
        if kill % 2:
            for child in server.events("child.ready")[-2:]:
                try:
                    os.kill(child["details"]["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    continue
        else:
            server.kill()
            server.start()
    ends = {name: server.end(name, 60 + 5 * jobs)["status"] for name in names}
    load = Load(ends=ends)
    once_each(server, load, names)
    results = (server.status(name)["output"]["result"] for name in names)
    return sum(result["segments"]["resumed"] > 0 for result in results)
