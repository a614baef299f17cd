"""The real worker, SDK loop and all, as a process in front of a control plane of ours."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.cards import plain_portrait, seven_seconds
from support.harness import TALKHEAD
from support.hosting import alive
from support.plane import Platform
from talkhead.serve.localhost import worker_env

TESTS = Path(__file__).parent.parent
ENGINES = {"faulty": "support.faulty:Faulty", "testcard": "support.testcard:TestCard"}


class Ground:
    """The folders and variables that a worker of a test lives on."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        self.jobs = folder / "jobs"
        self.store = folder / "store"
        self.temp = folder / "temp"
        self.volume = folder / "volume"
        for made in (self.temp, self.volume):
            made.mkdir(parents=True, exist_ok=True)
        plain_portrait(self.volume)
        seven_seconds(self.volume)
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}",
            "TMPDIR": str(self.temp),
            "TALKHEAD_ENGINE": "testcard",
            "TALKHEAD_ENGINES": json.dumps(ENGINES),
            "TALKHEAD_JOBS": str(self.jobs),
            "TALKHEAD_VOLUMES": json.dumps([str(self.volume)]),
            "TALKHEAD_STORE": json.dumps({"kind": "local", "root": str(self.store)}),
            **more,
        }

    def left(self) -> list[str]:
        """Return temporary and half-written files; unfinished jobs may stay."""
        roots = [root for root in (self.jobs, self.store) if root.exists()]
        found = list(self.temp.rglob("*"))
        found += (path for root in roots for path in root.rglob("*") if _half_done(path.name))
        return sorted(str(path.relative_to(self.folder)) for path in found)


def _half_done(name: str) -> bool:
    return name.startswith(".scratch") or "partial" in name


class Worker:
    """A worker process with its log."""

    def __init__(self, ground: Ground, platform: Platform, pod: str = "pod-1", **more: str) -> None:
        self.platform = platform
        self.log = ground.folder / f"{pod}-{time.monotonic_ns()}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(TALKHEAD), "worker"],
                cwd=ground.folder,
                env={**ground.env, **worker_env(platform.base, pod), **more},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return the log's JSON lines, of one event or all."""
        found = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        lines = [json.loads(line) for line in found]
        return [line for line in lines if event in (None, line["event"])]

    def ready(self) -> "Worker":
        """Wait until it takes jobs."""
        self.wait_for("worker.started")
        return self

    def wait_for(self, event: str, timeout: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while not (found := self.lines(event)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError(f"no {event}: {self.log.read_text()[-3000:]}")
            time.sleep(0.02)
        return found[-1]

    @property
    def child(self) -> int:
        """Return the process id of the newest rendering process."""
        return int(self.lines("child.ready")[-1]["details"]["pid"])

    def kill(self) -> None:
        """Kill the worker's own process as the kernel would, and see its child follow."""
        child = self.child
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        deadline = time.monotonic() + 10
        while alive(child):
            assert time.monotonic() < deadline, "the child outlives its parent"
            time.sleep(0.01)
        self.sweep()  # the SDK's heartbeat lives on; on the platform it goes with the container

    def see_it_all_gone(self) -> None:
        """Wait for the end of its heartbeat and of what else belonged to it."""
        deadline = time.monotonic() + 5
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(self.process.pid, 0)
                time.sleep(0.01)
            raise AssertionError("a process of the worker lives on")

    def sweep(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def stop(self, timeout: float = 30) -> int:
        """Tell it to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def working(
    ground: Ground, platform: Platform, pod: str = "pod-1", **more: str
) -> Iterator[Worker]:
    """Yield a worker that takes jobs; nothing of it is left afterwards."""
    worker = Worker(ground, platform, pod, **more)
    try:
        yield worker.ready()
        if worker.process.poll() is None:
            began = time.monotonic()
            assert worker.stop() == 0
            assert time.monotonic() - began < 5, "an idle worker ends at once"
            worker.see_it_all_gone()
    finally:
        worker.sweep()
        worker.process.wait(10)


def card(how: str | None = None, *, frames: int = 25, **more: Any) -> dict[str, Any]:
    """Return a payload for the test card, or for the faulty engine with what goes wrong."""
    payload: dict[str, Any] = {
        "portrait": "volume:portrait.png",
        "speakers": [{"audio": "volume:speech.wav"}],
        "size": "320x256",
        "max_frames": frames,
        "sampling": {"seed": 1},
    }
    if how is not None:
        payload |= {"engine": "faulty", "options": {"how": how, **more.pop("options", {})}}
    return {**payload, **more}
