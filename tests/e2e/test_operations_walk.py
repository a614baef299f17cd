"""The newcomer's walk of docs/operations.md, word for word."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCK = re.compile(r"<!-- walk: (\w+) -->\n\n```sh\n(.*?)```", re.DOTALL)
INSTALL_S, START_S, SMOKE_S = 1800, 240, 600  # on a busy machine


def walk() -> dict[str, str]:
    """Return the walk's commands by the name of their step."""
    return dict(BLOCK.findall(PAGE))


def test_the_walk_has_three_steps_and_begins_the_page() -> None:
    steps = walk()
    assert list(steps) == ["install", "serve", "smoke"]
    assert steps["install"].startswith('git clone "$REPOSITORY" talkhead\ncd talkhead\n')
    (port,) = re.findall(r"--port (\d+)", steps["serve"])
    assert f"http://127.0.0.1:{port}/v2/local\n" in steps["smoke"]  # where localhost.py serves
    assert PAGE.index("<!-- walk: smoke -->") < PAGE.index("## From nothing")


@pytest.mark.soak
def test_a_newcomer_gets_from_a_clone_to_a_passed_smoke_test(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """`--junit-xml` keeps how long the walk took."""
    steps, began = walk(), time.monotonic()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 8000)), "something else listens on port 8000"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TALKHEAD_", "PYTHON"))}
    env = {**kept, "REPOSITORY": str(ROOT), "HOME": str(tmp_path / "home")}
    run(steps["install"], tmp_path, env, INSTALL_S)
    installed = time.monotonic()
    log = tmp_path / "serve.log"
    with log.open("wb") as out:
        served = subprocess.Popen(
            ["sh", "-ec", f"exec {steps['serve']}"],
            cwd=tmp_path / "talkhead",
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + START_S
        while "RunPod's paths on" not in log.read_text():
            assert served.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        run(steps["smoke"], tmp_path / "talkhead", env, SMOKE_S)
    finally:
        served.send_signal(signal.SIGINT)
        served.wait(30)
    record_property("install_s", round(installed - began))
    record_property("walk_s", round(time.monotonic() - began))


def run(commands: str, folder: Path, env: dict[str, str], seconds: float) -> str:
    """Run lines of the page as a shell would; return what they print."""
    ended = subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env=env,
        timeout=seconds,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
