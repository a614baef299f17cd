"""A real Chromium in front of the page, and the page in front of a fake server."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
CHROMIUM = Path("/usr/bin/chromium")
ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --mute-audio --autoplay-policy=no-user-gesture-required"
).split()
HERE = "TALKHEAD_TEST_PAGE"  # the address of a page that is served already, by a real server


def lacking() -> str:
    """Return what is missing for tests in a browser; empty where nothing is."""
    if not CHROMIUM.exists():
        return f"no Chromium at {CHROMIUM}: apt-get install chromium"
    missing = [name for name in ("playwright", "gradio") if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(*words: str) -> Iterator[str]:
    """Run a fake server with the page in a process of its own; yield its address."""
    if os.environ.get(HERE):
        yield os.environ[HERE].rstrip("/")
        return
    port = free_port()
    command = [sys.executable, "-m", "support.fake_server", "--port", str(port), "--page", *words]
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        yield _ready(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors, errors


def _ready(base: str, process: "subprocess.Popen[str]") -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(base, timeout=5) as reply:
                if b"gradio" in reply.read():
                    return base
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"no page at {base}")


def tell(base: str, path: str, **said: Any) -> Any:
    """Set how the fake goes on, or ask it what it saw."""
    body = json.dumps(said).encode() if path != "/fake/jobs" else None
    request = urllib.request.Request(base + path, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


@dataclass
class Watch:
    """What a page did that it should not."""

    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def over(self, page: Any) -> Any:
        page.on("console", lambda said: self._said(said))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        return page

    def _said(self, said: Any) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base + "/", "data:", "blob:")):
            self.foreign.append(url)
