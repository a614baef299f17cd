"""InfiniteTalk from files as they are published, of a tiny size: command line and worker.

One run takes the engine as it is. The others take it at 64 x 64, since convolutions of so few
channels are slow on a CPU; that is all that `support.tinytalk` changes.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from support import installation, long_speech, neural
from support.harness import PORTRAITS, SPEECH, Cli, frames_digest
from support.media import levels, write_clip
from support.neural import committed, killed_midway, result
from support.plane import platform
from support.serving import Ground, working

SMALL = {"TALKHEAD_ENGINES": json.dumps({"infinitetalk": "support.tinytalk:TinyTalk"})}
TWO = {"sampling.text_guidance": 3, "sampling.audio_guidance": 2, "sampling.steps": 2}
SHORT = {"options.window": 17, "options.motion_frames": 5, "max_frames": 110}
VOICES = SPEECH / "librivox_0870.flac", SPEECH / "librivox_0890.flac"
GROWTH_MB = 16  # of the process's own memory over most of a long video
BOXES = (10, 20, 110, 200), (140, 30, 250, 220)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return settings that lead to an installation, its pickles converted."""
    folder = tmp_path_factory.mktemp("infinitetalk")
    return neural.converted(folder, installation.install(folder / "weights"), installation.PICKLED)


@pytest.fixture
def tiny(cli: Cli, weights: dict[str, str]) -> Cli:
    """Return the command line where the weights are known and the engine works at a tiny size."""
    # threads wait for each other longer than this work takes
    cli.env |= {**weights, **SMALL, "OMP_NUM_THREADS": "1"}
    return cli


def words(out: str, **more: Any) -> list[object]:
    portrait = PORTRAITS / "woman_frontal_closed.png"
    fields = [f"--set={name}={value}" for name, value in {**TWO, **SHORT, **more}.items()]
    return ["talk", portrait, VOICES[0], "--engine", "infinitetalk", "--size", "256x256",
            "--seed", 3, *fields, "--json", "-o", out]  # fmt: skip


def test_the_engine_as_it_is(cli: Cli, weights: dict[str, str]) -> None:
    cli.env |= weights
    short = {"options.window": 29, "options.motion_frames": 1, "max_frames": 59}
    short |= {"options.short_tail": "true"}
    made = result(cli(*words("out.mp4", **short, **{"sampling.steps": 2})))
    plan = made["plan"]
    assert (plan["work_width"], plan["work_height"], plan["frames"]) == (256, 256, 59)
    assert made["segments"] == {"total": 2, "resumed": 0}
    assert frames_digest(cli.folder / "out.mp4")[0] == 59
    assert any("alpha" in note["message"] for note in made["warnings"])  # of the quality's LoRA


@pytest.mark.soak  # OmniAvatar's goes the same way in CI
def test_a_killed_job_goes_on_with_the_same_frames(tiny: Cli) -> None:
    whole = result(tiny(*words("whole.mp4")))
    assert whole["segments"]["total"] == 2
    frames, _ = digest = frames_digest(tiny.folder / "whole.mp4")
    assert frames == 110
    killed_midway(tiny, words("again.mp4"))
    again = result(tiny(*words("again.mp4")))
    assert again["segments"] == {"total": 2, "resumed": 1}
    assert frames_digest(tiny.folder / "again.mp4") == digest


@pytest.mark.soak  # in CI: two people, and videos, in unit tests and at parity
def test_two_people_in_a_video(tiny: Cli) -> None:
    """The sound of the source is another's: it is a picture for each window, and no more."""
    source = write_clip(tiny.folder / "source.mp4", levels(60, 256, 256))
    request = tiny.folder / "request.json"
    voices = [{"audio": str(voice), "box": box} for voice, box in zip(VOICES, BOXES, strict=True)]
    fields = {"video": str(source), "speakers": voices, "turns": "in_turn", "size": "256x256"}
    request.write_text(json.dumps({**fields, "engine": "infinitetalk", "max_frames": 60,
                                   "quality": "draft", "options": {"window": 17}}))  # fmt: skip
    made = result(tiny("talk", "--request", request, "--json", "-o", "out.mp4"))
    assert made["segments"]["total"] == 2
    assert frames_digest(tiny.folder / "out.mp4")[0] == 60


@pytest.mark.soak
def test_memory_stays_flat_over_three_minutes(tmp_path: Path) -> None:
    found = long_speech.render(tmp_path)
    assert found["windows"] == 63
    assert long_speech.growth(found["curve"]) < GROWTH_MB


@pytest.mark.soak  # OmniAvatar's goes the same way in CI
def test_a_plan_needs_no_weights(cli: Cli) -> None:
    cli.env |= {"TALKHEAD_WEIGHTS": str(cli.folder / "none")}
    request = ["--engine", "infinitetalk", "--size", "256x256", "--json"]
    planned = result(cli("plan", PORTRAITS / "woman_frontal_closed.png", VOICES[0], *request))
    assert any("weights pull" in note["message"] for note in planned["warnings"])
    refused = cli(*words("out.mp4"))
    assert refused.status == 3
    assert refused.json["error"]["code"] == "E_PIPELINE_LOAD"
    assert "talkhead weights pull" in refused.json["error"]["hint"]
    assert cli.left() == []


def old_payload(**more: Any) -> dict[str, Any]:
    """Return what the older InfiniteTalk worker takes, for two people in turn."""
    voice = "volume:speech.wav"
    return {
        "cond_image": "volume:portrait.png",
        "cond_audio": {"person1": voice, "person2": voice},
        "audio_type": "add",
        "mode": "streaming",
        "max_frame_num": 110,
        "sample_steps": 2,
        "motion_frame": 5,
        **more,
    }


@pytest.mark.soak  # in CI: test_runpod_worker.py, with a cheaper engine
def test_the_worker_is_killed_and_another_goes_on(weights: dict[str, str], tmp_path: Path) -> None:
    ground = Ground(tmp_path, **weights, TALKHEAD_ENGINE="infinitetalk", OMP_NUM_THREADS="1")
    ground.env |= {**SMALL, "TALKHEAD_WORKER__WARM_UP": "64x64"}
    with platform() as plane, working(ground, plane) as worker:
        peace = plane.end(plane.run(old_payload(id="peace")), 120)
        job = plane.run(old_payload(id="killed"))
        plane.until(lambda: committed(ground.jobs), "a segment", 120)
        assert worker.lines("child.warm")
        worker.kill()
        plane.requeue(job)
        with working(ground, plane, "pod-2"):
            killed = plane.end(job, 120)
    assert _frames(peace) == _frames(killed)
    assert _frames(peace)[0] == 110
    assert "video" in peace["output"]  # in the older worker's own shape


def _frames(ended: dict[str, Any]) -> tuple[int, str]:
    assert ended["status"] == "COMPLETED", ended
    return frames_digest(Path(ended["output"]["video"]["url"].removeprefix("file://")))
