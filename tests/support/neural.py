"""Neural engines of a tiny size in real processes: their files, their results, and a kill."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.harness import Cli, Ended

TESTS = Path(__file__).parents[1]


def converted(folder: Path, settings: Mapping[str, str], pickles: Sequence[str]) -> dict[str, str]:
    """Return settings that lead to an installation, its pickles converted, on the CPU."""
    here = {"TALKHEAD_PROMPTS": str(folder / "prompts"), "TALKHEAD_DEVICE": "cpu"}
    # this checkout's package, in whatever environment the tests run
    here |= {"PYTHONPATH": os.pathsep.join(map(str, (TESTS, TESTS.parent / "src")))}
    whole = {**settings, **here}
    made = Cli(folder)("weights", "convert", *pickles, **whole)
    assert made.status == 0, made.err
    return whole


def result(ended: Ended) -> dict[str, Any]:
    """Return what a command that went well printed as JSON."""
    assert ended.status == 0, ended.out + ended.err
    return dict(ended.json)


def committed(jobs: Path) -> bool:
    """Return whether a job has noted a segment as done."""
    return any("segment-" in file.read_text() for file in jobs.glob("*/manifest.jsonl"))


def killed_midway(cli: Cli, words: Sequence[object]) -> None:
    """Run a command and kill it once a segment is done."""
    run = cli.start(*words)
    deadline = time.monotonic() + 90
    while not committed(cli.jobs):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
