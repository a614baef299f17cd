"""OmniAvatar from files as they are published, of a tiny size: command line and worker.

At 32 x 32, since convolutions of so few channels are slow on a CPU; that is all that
`support.tinyavatar` changes.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from support import neural, omni_installation
from support.harness import PORTRAITS, SPEECH, Cli, frames_digest, read_sound, write_wav
from support.neural import committed, killed_midway, result
from support.plane import platform
from support.serving import Ground, working

ENGINES = json.dumps({"omniavatar": "support.tinyavatar:TinyAvatar"})
PORTRAIT = PORTRAITS / "woman_frontal_closed.png"
VOICE = SPEECH / "librivox_0870.flac"
# at 32 x 32 chunks of 57 frames, each of which is a segment of its own
CHUNKS = {"options.max_tokens": 57, "options.overlap": 5, "sampling.steps": 1}
THREE = 56 + 52 + 12
SECONDS = (56 + 52) / 25  # of speech, for the worker: two chunks


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return settings that lead to an installation, its pickles converted."""
    folder = tmp_path_factory.mktemp("omniavatar")
    settings = neural.converted(
        folder, omni_installation.install(folder / "weights"), omni_installation.pickles()
    )
    return {**settings, "TALKHEAD_ENGINES": ENGINES, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def tiny(cli: Cli, weights: dict[str, str]) -> Cli:
    """Return the command line where the weights are known and the engine works at a tiny size."""
    cli.env |= weights
    return cli


def words(out: str, frames: int = THREE) -> list[object]:
    fields = [f"--set={name}={value}" for name, value in {**CHUNKS, "max_frames": frames}.items()]
    return ["talk", PORTRAIT, VOICE, "--engine", "omniavatar", "--size", "256x256",
            "--seed", 3, *fields, "--json", "-o", out]  # fmt: skip


@pytest.mark.soak  # in CI: contract/test_engines.py, in one process
def test_a_killed_job_goes_on_with_the_same_frames(tiny: Cli) -> None:
    whole = result(tiny(*words("whole.mp4")))
    assert whole["segments"] == {"total": 3, "resumed": 0}
    assert whole["engine"] == "omniavatar"
    frames, _ = digest = frames_digest(tiny.folder / "whole.mp4")
    assert frames == THREE
    killed_midway(tiny, words("again.mp4"))
    again = result(tiny(*words("again.mp4")))
    assert again["segments"]["total"] == 3
    assert 0 < again["segments"]["resumed"] < 3
    assert frames_digest(tiny.folder / "again.mp4") == digest


def test_a_plan_needs_no_weights(tiny: Cli) -> None:
    tiny.env |= {"TALKHEAD_WEIGHTS": str(tiny.folder / "none")}
    request = ["--engine", "omniavatar", "--json"]
    planned = result(tiny("plan", PORTRAIT, VOICE, *request))
    assert any("weights pull omniavatar" in note["message"] for note in planned["warnings"])
    assert tiny.left() == []


def payload(folder: Path, **more: Any) -> dict[str, Any]:
    """Return what the OmniAvatar worker takes, with two chunks of speech."""
    samples = read_sound(VOICE)[: round(SECONDS * 16_000)]
    sound = write_wav(folder / "speech.wav", samples)
    return {
        "image_base64": base64.b64encode(PORTRAIT.read_bytes()).decode(),
        "audio_base64": base64.b64encode(sound.read_bytes()).decode(),
        "prompt": "A person talks to the camera",
        "guidance_scale": 4,
        "num_steps": 1,
        "max_hw": 256,
        "overlap_frame": 5,
        "max_tokens": 57,
        "seed": 3,
        **more,
    }


@pytest.mark.soak  # in CI: test_runpod_worker.py, with a cheaper engine
def test_the_worker_is_killed_and_another_goes_on(weights: dict[str, str], tmp_path: Path) -> None:
    """What the first answers is in the answer; the second's is too large for that."""
    ground = Ground(tmp_path, **weights, TALKHEAD_ENGINE="omniavatar")
    with platform() as plane, working(ground, plane) as worker:
        peace = plane.end(plane.run(payload(tmp_path)), 120)
        assert peace["status"] == "COMPLETED", peace
        assert set(peace["output"]) == {"video", "result"}  # in the older worker's own shape
        made = tmp_path / "made.mp4"
        made.write_bytes(base64.b64decode(peace["output"]["video"]))
        job = plane.run(payload(tmp_path, guidance_scale=4.0))
        plane.until(lambda: committed(ground.jobs), "a segment", 120)
        worker.kill()
        plane.requeue(job)
        with working(ground, plane, "pod-2", TALKHEAD_INLINE_MB="0.001"):
            killed = plane.end(job, 120)
    assert killed["status"] == "COMPLETED", killed
    assert "video" not in killed["output"]
    stored = Path(killed["output"]["video_url"].removeprefix("file://"))
    assert stored.is_relative_to(ground.store)
    assert killed["output"]["result"]["segments"] == {"total": 2, "resumed": 1}
    assert frames_digest(made) == frames_digest(stored)
    assert frames_digest(made)[0] == round(SECONDS * 25)
