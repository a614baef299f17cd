"""A job that is stopped at any point goes on, and shows the same frames as one that was not."""

import random
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from support.harness import SPEECH, Cli, frames_digest, read_sound, write_wav

PORTRAIT = "library:astronaut.png"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 16 s of speech: eight segments."""
    sound = [read_sound(SPEECH / f"librivox_0{number}.flac") for number in (870, 890, 920)]
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    return write_wav(path, np.concatenate(sound)[: 16 * 16_000])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, speech: Path) -> tuple[int, str]:
    """Return the frames of a render that nobody stopped."""
    unstopped = Cli(tmp_path_factory.mktemp("whole"))
    assert unstopped(*words(speech)).status == 0
    return frames_digest(unstopped.folder / "out.mp4")


def words(speech: Path, out: str = "out.mp4", seed: int = 3) -> list[object]:
    return ["talk", PORTRAIT, speech, "--size", "384", "--seed", seed, "-o", out]


def wait_for_segments(cli: Cli, run: "subprocess.Popen[str]", count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        if len(list(cli.jobs.glob("*/segment-*.mp4"))) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} segments in time: {run.communicate()}")


def resumed_like(cli: Cli, speech: Path, whole: tuple[int, str], out: str = "out.mp4") -> int:
    """Give the command again, compare the frames, and return how many segments were not redone."""
    ended = cli(*words(speech, out), "--force", "--json")
    assert ended.status == 0, ended.out
    assert frames_digest(cli.folder / out) == whole
    assert not [name for name in cli.left() if "partial" in name]
    assert not list(cli.jobs.iterdir())
    return int(ended.json["segments"]["resumed"])


def test_a_kill(cli: Cli, speech: Path, whole: tuple[int, str]) -> None:
    run = cli.start(*words(speech))
    wait_for_segments(cli, run, 3)
    run.kill()
    run.communicate()
    assert not (cli.folder / "out.mp4").exists()
    assert resumed_like(cli, speech, whole) >= 2  # the third may be written and not yet noted


@pytest.mark.soak
def test_ten_kills(cli: Cli, speech: Path, whole: tuple[int, str]) -> None:
    began = time.monotonic()
    assert cli(*words(speech, "again.mp4", seed=4)).status == 0
    length = time.monotonic() - began
    dice = random.Random(12)
    killed = resumed = number = 0
    while killed < 10 and (number := number + 1) <= 30:
        out = f"out{number}.mp4"
        run = cli.start(*words(speech, out))
        try:
            run.communicate(timeout=dice.uniform(0.15, 0.95) * length)
            continue  # it was done before the kill came
        except subprocess.TimeoutExpired:
            run.kill()
            run.communicate()
        assert not (cli.folder / out).exists() or frames_digest(cli.folder / out)[0] == 400
        resumed += resumed_like(cli, speech, whole, out)
        killed += 1
    assert killed == 10, f"only {killed} kills came in time"
    assert resumed > 0


@pytest.mark.soak  # in CI: unit/test_prepare.py, in one process
def test_a_kill_while_a_text_is_shown(cli: Cli) -> None:
    text = "Hello there, my good old friend. " * 3
    said = ["talk", PORTRAIT, "--text", text, "--size", "384", "--seed", 3, "-o"]
    assert cli(*said, "whole.mp4").status == 0
    run = cli.start(*said, "out.mp4")
    wait_for_segments(cli, run, 2)
    run.kill()
    run.communicate()
    for voice in cli.jobs.glob("*/voice-0.*"):  # also where only the segments were kept
        voice.unlink()
    ended = cli(*said, "out.mp4", "--json")
    assert ended.status == 0, ended.out
    assert ended.json["segments"]["resumed"] >= 1
    assert frames_digest(cli.folder / "out.mp4") == frames_digest(cli.folder / "whole.mp4")


def test_ctrl_c_prints_the_command_that_resumes(
    cli: Cli, speech: Path, whole: tuple[int, str]
) -> None:
    run = cli.start(*words(speech))
    wait_for_segments(cli, run, 2)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=10)
    assert run.returncode == 130, err
    assert not (cli.folder / "out.mp4").exists()
    command = re.search(r"resume with: talkhead (.*)", err)
    assert command, err
    listed = cli("jobs", "list", "--json").json
    assert [job["state"] for job in listed] == ["interrupted"]
    assert listed[0]["id"] in command[1]
    ended = cli(*command[1].split(), "--json")
    assert ended.status == 0, ended.out
    assert ended.json["segments"]["resumed"] >= 2
    assert frames_digest(cli.folder / "out.mp4") == whole
    assert cli("jobs", "list").out.strip() == "no unfinished jobs"


@pytest.mark.soak  # in CI: unit/test_folder.py
def test_a_folder_of_another_job_is_refused(cli: Cli, speech: Path) -> None:
    run = cli.start(*words(speech))
    wait_for_segments(cli, run, 1)
    run.kill()
    run.communicate()
    job = cli("jobs", "list", "--json").json[0]["id"]
    seed = cli(*words(speech, seed=99), "--resume", job)
    assert (seed.status, "seed changed" in seed.err) == (2, True), seed.err
    other = write_wav(speech.with_name("other.wav"), read_sound(speech)[:32_000])
    changed = cli(*words(other), "--resume", job)
    assert (changed.status, "speakers.0.audio changed" in changed.err) == (2, True), changed.err
    size = cli("talk", PORTRAIT, speech, "--size", "320", "-o", "out.mp4", "--resume", job)
    assert (size.status, "request changed" in size.err) == (2, True), size.err
    missing = cli("talk", "--resume", "nothing", "-o", "out.mp4")
    assert (missing.status, "no unfinished job" in missing.err) == (2, True), missing.err
    assert cli("talk", "--resume", job, "-o", "out.mp4").status == 0


def test_a_second_process_on_the_same_job_is_refused(cli: Cli, speech: Path) -> None:
    run = cli.start(*words(speech))
    wait_for_segments(cli, run, 1)
    run.send_signal(signal.SIGSTOP)  # it would be done before the other one has started
    second = cli(*words(speech, "second.mp4"))
    run.send_signal(signal.SIGCONT)
    assert second.status == 4, second.out
    assert "E_CAPACITY" in second.err
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert cli.left() == ["out.mp4", "out.result.json", "out.thumbnail.jpg"]


def test_clean_deletes_what_was_interrupted(cli: Cli, speech: Path) -> None:
    run = cli.start(*words(speech))
    wait_for_segments(cli, run, 1)
    run.kill()
    run.communicate()
    assert "deleted 0" in cli("jobs", "clean").out
    assert "deleted 1" in cli("jobs", "clean", "--all").out
    assert not list(cli.jobs.iterdir())
