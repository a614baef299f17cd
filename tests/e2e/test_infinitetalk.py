"""InfiniteTalk from files as they are published, of a tiny size, through the command line."""

import json
import signal
import time
from pathlib import Path

import pytest

from support.harness import PORTRAITS, SPEECH, Cli, frames_digest

STEPS = {"sampling.steps": 2, "sampling.text_guidance": 1, "sampling.audio_guidance": 2}
SHORT = {"options.window": 17, "options.motion_frames": 5, "max_frames": 110}
VOICES = {
    1: [SPEECH / "librivox_0870.wav"],
    2: [SPEECH / "librivox_0870.wav", SPEECH / "librivox_0890.wav"],
}


@pytest.fixture
def tiny(cli: Cli, tmp_path: Path) -> Cli:
    """Return the command line where the engine tinytalk is known."""
    cli.env |= {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "TALKHEAD_ENGINES": json.dumps({"tinytalk": "support.tinytalk:TinyTalk"}),
        "TINYTALK": str(tmp_path / "weights"),
        "OMP_NUM_THREADS": "1",  # threads wait for each other longer than this work takes
    }
    return cli


def words(out: str, speakers: int = 1) -> list[object]:
    portrait = PORTRAITS / ("two_people.png" if speakers > 1 else "woman_frontal_closed.png")
    fields = [f"--set={name}={value}" for name, value in {**STEPS, **SHORT}.items()]
    voices = VOICES[speakers]
    return ["talk", portrait, *voices, "--engine", "tinytalk", "--size", "256x256", "--seed", 3,
            *fields, "--json", "-o", out]  # fmt: skip


def committed(cli: Cli) -> bool:
    """Return whether a job has noted a segment as done."""
    return any("segment-" in file.read_text() for file in cli.jobs.glob("*/manifest.jsonl"))


@pytest.mark.parametrize("speakers", [1, 2])
def test_a_killed_job_goes_on_with_the_same_frames(tiny: Cli, speakers: int) -> None:
    whole = tiny(*words("whole.mp4", speakers))
    assert whole.status == 0, whole.out + whole.err
    assert whole.json["segments"]["total"] == 2
    frames, _ = digest = frames_digest(tiny.folder / "whole.mp4")
    assert frames == 110
    run = tiny.start(*words("again.mp4", speakers))
    deadline = time.monotonic() + 90
    while not committed(tiny):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    again = tiny(*words("again.mp4", speakers))
    assert again.status == 0, again.out + again.err
    assert again.json["segments"] == {"total": 2, "resumed": 1}
    assert frames_digest(tiny.folder / "again.mp4") == digest
