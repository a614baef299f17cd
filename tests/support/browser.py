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
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]
ASSETS = TESTS.parent / "src" / "talkhead" / "assets"
PORTRAIT, SPEECH = ASSETS / "astronaut.png", ASSETS / "librivox.flac"
WAIT = 60_000  # ms, of which an idle machine needs two thousand: other tests run beside
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
    with process("--page", *words) as base:
        yield base


@contextmanager
def process(*words: str) -> Iterator[str]:
    """Run a fake with these words in a process of its own; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "support.fake_server", "--port", str(port), *words]
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    try:
        sign = b"gradio" if any("page" in word for word in words) else b""
        yield _ready(f"http://127.0.0.1:{port}", process, sign)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors, errors


def _ready(base: str, process: "subprocess.Popen[str]", sign: bytes) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(base, timeout=5) as reply:
                if sign in reply.read():
                    return base
        except urllib.error.HTTPError:
            if not sign:
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


# What Gradio's own code says when a page is left while it listens.
LEFT = ("was aborted", "signal is aborted", "Connection errored out", "network error")


@dataclass
class Watch:
    """What a page did that it should not."""

    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    visits: int = 0

    @property
    def wrong(self) -> list[str]:
        """Return the errors, less what leaving a page makes Gradio say."""
        if self.visits < 2:
            return self.errors
        return [text for text in self.errors if not any(sign in text for sign in LEFT)]

    def over(self, page: Any) -> Any:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._asked)
        return page

    def _said(self, said: Any) -> None:
        if said.type == "error":
            self.errors.append(said.text)

    def _asked(self, request: Any) -> None:
        url = request.url
        self.visits += request.is_navigation_request()
        if not url.startswith((self.base + "/", "data:", "blob:")):
            self.foreign.append(url)


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser, and end it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as run:
        started = run.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield started
        started.close()


def opened(page: Any, base: str) -> Any:
    """Load the page, and wait until it can be used."""
    page.goto(base)
    page.get_by_role("button", name="Make the video").wait_for()
    return page


def known(page: Any) -> Any:
    """Wait until the server's engines are there."""
    chosen = page.get_by_label("Engine", exact=True)
    page.wait_for_function("e => e.value !== ''", arg=chosen.element_handle())
    return page


def fill(page: Any, portrait: Path = PORTRAIT, speech: Path = SPEECH) -> None:
    page.set_input_files("#th-portrait input[type=file]", str(portrait))
    page.set_input_files("#th-audio-1 input[type=file]", str(speech))


def made(page: Any) -> Any:
    """Wait for the finished video; return its element."""
    page.locator("#th-sheet").get_by_text("Your video is ready").wait_for()
    return page.locator("#th-screen video")


def plays(video: Any) -> None:
    """See that a video really goes on."""
    video.evaluate("v => { v.muted = true; return v.play(); }")
    video.page.wait_for_function(
        "v => v.currentTime > 0.4 && !v.error && v.videoWidth > 0", arg=video.element_handle()
    )
