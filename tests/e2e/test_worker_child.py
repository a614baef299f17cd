"""The rendering process and the process that holds it, as real processes that are killed."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hosting import alive, order, settings_in
from talkhead.serve.worker import Host

TESTS = Path(__file__).parent.parent


class Holder:
    """A process with a host, and what it says."""

    def __init__(self, folder: Path, how: str, way: str) -> None:
        words = [sys.executable, "-m", "support.holder", str(folder), how, way]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            words, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def until(self, what: str) -> dict[str, Any]:
        """Read on until it says so. Every line is JSON."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))
            if self.lines[-1].get("holder") == what:
                return self.lines[-1]
        raise AssertionError(f"never {what}: {self.lines} {self.process.communicate()}")


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[..., Holder]]:
    made: list[Holder] = []

    def make(how: str, way: str = "plain") -> Holder:
        made.append(Holder(tmp_path, how, way))
        return made[-1]

    yield make
    for holder in made:
        holder.process.kill()
        for line in holder.lines:
            if line.get("holder") == "heartbeat":  # it keeps the pipes open
                os.kill(line["pid"], signal.SIGKILL)
        holder.process.communicate()


def soon(true: Callable[[], bool], seconds: float = 2) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize(("how", "way"), [("gil", "plain"), ("hang", "polling")])
def test_no_orphan_keeps_the_job(hold, tmp_path: Path, how: str, way: str) -> None:
    """The kernel ends the child with its parent; without that, a look twice a second does."""
    holder = hold(how, way)
    pid = holder.until("ready")["pid"]
    holder.until("render")
    lock = tmp_path / "jobs" / "held" / "lock"
    assert not free(lock)
    holder.process.kill()
    assert soon(lambda: not alive(pid) and free(lock))


def test_the_next_worker_goes_on_with_the_job(hold, tmp_path: Path) -> None:
    manifest = tmp_path / "jobs" / "held" / "manifest.jsonl"
    mark = tmp_path / "mark"
    wanted = order("held", "hang", frames=175, at=80, once=str(mark), after=str(manifest))

    async def first() -> None:
        host = Host(settings_in(tmp_path))
        task = asyncio.create_task(host.run(wanted, lambda progress: None))
        while not (mark.exists() and '"segment"' in manifest.read_text()):
            await asyncio.sleep(0.005)
        assert host.pid is not None
        os.kill(host.pid, signal.SIGSTOP)  # not even a signal handler helps here
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await host.close()

    async def second() -> Any:
        host = Host(settings_in(tmp_path))
        result = await host.run(wanted, lambda progress: None)
        await host.close()
        return result

    asyncio.run(first())
    assert asyncio.run(second()).segments.resumed == 1
    assert not list((tmp_path / "jobs").iterdir())


def test_ctrl_c_is_for_the_parent_and_noise_for_stderr(hold) -> None:
    holder = hold("noise")
    os.kill(holder.until("ready")["pid"], signal.SIGINT)
    holder.until("done")
    rest, errors = holder.process.communicate(timeout=20)
    assert holder.process.returncode == 0
    assert rest == ""
    assert "noise from python" in errors
    assert "noise from below" in errors
    assert {"child.started", "child.ready"} <= {line.get("event") for line in holder.lines}


def test_a_parent_that_forgets_to_close_ends_all_the_same(hold) -> None:
    holder = hold("well", "forgetful")
    pid = holder.until("ready")["pid"]
    holder.process.communicate(timeout=20)
    assert holder.process.returncode == 0
    assert soon(lambda: not alive(pid))


def test_an_idle_parent_stays_small() -> None:
    """What renders is loaded in the child alone."""
    code = "import talkhead.serve.worker, sys; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"av", "cv2", "numpy", "PIL", "talkhead.job"} & set(run.stdout.split())
