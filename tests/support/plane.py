"""A RunPod control plane in a thread, and the calls that a client makes to it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from talkhead.serve.localhost import serving
from talkhead.serve.plane import FINAL, Event, Plane


class Platform:
    """A plane that runs in a thread of its own."""

    def __init__(self, base: str, plane: Plane, over: threading.Event) -> None:
        self.base = base
        self.plane = plane
        self.loop = asyncio.get_running_loop()
        self._over = over
        self._http = httpx.Client(base_url=base, timeout=120)

    def run(self, payload: dict[str, Any], **extra: Any) -> str:
        """Submit a job; return its id."""
        return str(self.post("run", {"input": payload, **extra})["id"])

    def ask(self, payload: dict[str, Any], **extra: Any) -> dict[str, Any]:
        """Submit a job and wait for its end."""
        return self.end(self.run(payload, **extra))

    def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.post(f"{self.base}/{path}", json=body or {})
        answer.raise_for_status()
        return dict(answer.json())

    def get(self, path: str) -> dict[str, Any]:
        answer = self._http.get(f"{self.base}/{path}")
        answer.raise_for_status()
        return dict(answer.json())

    def end(self, job_id: str, timeout: float = 60) -> dict[str, Any]:
        """Wait for a job's end; return its status."""
        self.until(lambda: self.plane.jobs[job_id].status in FINAL, f"{job_id} to end", timeout)
        return self.get(f"status/{job_id}")

    def requeue(self, job_id: str) -> None:
        """Hand a job out again, as after the loss of its worker."""
        entry = self.plane.jobs[job_id]
        asyncio.run_coroutine_threadsafe(self.plane.requeue(entry), self.loop).result(10)

    def events(self, job_id: str | None, *kinds: str) -> list[Event]:
        """Return the events of a job, or of all, of these kinds, or of any."""
        return [
            event
            for event in list(self.plane.events)
            if (job_id is None or event.job == job_id) and (not kinds or event.kind in kinds)
        ]

    def until(self, fact: Callable[[], bool], what: str, timeout: float = 60) -> None:
        """Wait for a fact about the plane."""
        deadline = time.monotonic() + timeout
        while not fact():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s for {what}: {self.plane.events[-8:]}")
            time.sleep(0.01)

    def down(self) -> None:
        """Be gone, as far as workers can see."""
        self._http.close()
        self._over.set()


@contextmanager
def platform(hold_s: float = 20.0) -> Iterator[Platform]:
    """Yield a running control plane."""
    ready: list[Platform] = []
    up, over = threading.Event(), threading.Event()

    async def main() -> None:
        plane = Plane(hold_s)
        async with serving(plane) as base:
            ready.append(Platform(base, plane, over))
            up.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert up.wait(5), "the control plane did not start"
    try:
        yield ready[0]
    finally:
        ready[0].down()
        thread.join()
