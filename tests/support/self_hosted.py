"""The real `talkhead serve` as a process, and calls to it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from support.serving import Ground

TESTS = Path(__file__).parent.parent
SRC = TESTS.parent / "src"
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")


class Served:
    """A server process on a ground, started again by `start` after `kill`."""

    def __init__(self, ground: Ground, *arguments: str, **more: str) -> None:
        self.ground = ground
        self.log = ground.folder / "server.log"
        self._arguments = arguments
        self._env = {
            **ground.env,
            "PYTHONPATH": f"{SRC}:{TESTS}",
            "TALKHEAD_SERVER__RATE": "0",
            **more,
        }
        self.start()

    def start(self) -> None:
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "talkhead", "serve", "--port", "0", *self._arguments],
                cwd=self.ground.folder,
                env=self._env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.base = self._address(began)
        token = self._env.get("TALKHEAD_SERVER__TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=self.base, headers=headers, timeout=120)

    def _address(self, began: int) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if found := re.search(r"listening on (http://\S+);", self.log.read_text()[began:]):
                return found[1]
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.02)
        raise AssertionError(self.log.read_text()[-3000:])

    def kill(self) -> None:
        """Kill the server as the kernel would; its children follow by themselves."""
        self.http.close()
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """Tell the server to end; return its status."""
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def run(self, payload: dict[str, Any], **more: Any) -> str:
        return str(self.ok(self.http.post("/run", json={"input": payload, **more}))["id"])

    def status(self, job: str) -> dict[str, Any]:
        return self.ok(self.http.get(f"/status/{job}"))

    def end(self, job: str, seconds: float = 120) -> dict[str, Any]:
        return self.until(job, lambda status: status["status"] in FINAL, seconds)

    def until(self, job: str, fact: Any, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not fact(status := self.status(job)):
            assert time.monotonic() < deadline, status
            time.sleep(0.03)
        return status

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in lines if line["event"] == name]

    @staticmethod
    def ok(answer: httpx.Response) -> dict[str, Any]:
        assert answer.is_success, (answer.status_code, answer.text)
        return dict(answer.json())


@contextmanager
def served(ground: Ground, *arguments: str, **more: str) -> Iterator[Served]:
    server = Served(ground, *arguments, **more)
    try:
        yield server
    finally:
        server.http.close()
        with suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait(10)
