"""`talkhead ui --endpoint` in front of `talkhead worker --serve`, in a real browser."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import browser
from support.browser import Watch, fill, known, made, opened, plays
from support.fake_s3 import FakeS3
from support.gate import gate
from support.serving import Ground
from support.soak import store_env

LACKING = browser.lacking()
pytestmark = [
    pytest.mark.soak,  # for the time that CI has
    pytest.mark.skipif(bool(LACKING), reason=LACKING or "-"),
]
SRC = Path(__file__).parents[2] / "src"
KEY = "rpa_SECRET0123456789"


@contextmanager
def talkhead(log: Path, env: Mapping[str, str], *words: str, says: str) -> Iterator[str]:
    """Run a command while inside; yield the address that it says."""
    with log.open("wb") as out:
        command = [sys.executable, "-m", "talkhead", *words]
        process = subprocess.Popen(command, env={**env, "PYTHONPATH": str(SRC)}, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(says, log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(30) == 0, log.read_text()[-3000:]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a worker that asks for a key and delivers to a store."""
    with FakeS3() as store:
        ground = Ground(tmp_path, TALKHEAD_ENGINE="draft", **store_env(store))
        words = ("worker", "--serve", "--port", "0")
        log = tmp_path / "worker.log"
        with (
            talkhead(log, ground.env, *words, says=r"paths on (http://[^/]+)") as base,
            gate(base, KEY) as guarded,
        ):
            yield f"{guarded}/v2/local"
        assert KEY not in log.read_text()


@pytest.fixture
def page(tmp_path: Path, endpoint: str) -> Iterator[Any]:
    log = tmp_path / "ui.log"
    words = ("ui", "--endpoint", endpoint, "--port", "0")
    with (
        talkhead(log, Ground(tmp_path).env, *words, says=r"listening on (\S+);") as base,
        browser.chromium() as started,
    ):
        watch = Watch(base)
        found = watch.over(started.new_context().new_page())
        found.set_default_timeout(60_000)
        opened(found, base)
        yield found
        assert watch.wrong == []
        assert watch.foreign == []
    assert KEY not in log.read_text()


def test_from_a_typed_key_to_a_played_video(page: Any) -> None:
    page.get_by_text("does not accept the key").first.wait_for()
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Connected.").wait_for()
    page.get_by_role("tab", name="Create").click()
    known(page)
    fill(page)
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))

    page.reload()  # this tab still has it
    plays(made(page))
    held = page.evaluate("JSON.stringify(localStorage) + document.cookie")
    assert KEY not in held
    stranger = page.context.new_page()  # another tab has not
    stranger.goto(page.url)
    stranger.get_by_text("does not accept the key").first.wait_for(timeout=60_000)
    stranger.close()
