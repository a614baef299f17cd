"""The main job through the real command line."""

import json
import os
import stat
from pathlib import Path

import av
import numpy as np
import pytest

import talkhead
from support.harness import MEDIA, PORTRAITS, SPEECH, Cli, frames_digest, read_sound, write_wav

BUNDLED = ("library:astronaut.png", "library:librivox.flac")
SMALL = ("--size", "256x256", "--fit", "face", "--seed", "1")


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Return the first 2.4 seconds of real speech."""
    return write_wav(
        tmp_path / "short.wav", read_sound(SPEECH / "librivox_0920.flac")[: 16_000 * 12 // 5]
    )


def test_a_portrait_and_a_recording_become_a_video(cli: Cli) -> None:
    ended = cli("talk", *BUNDLED, *SMALL, "-o", "out.mp4", "--json")
    assert ended.status == 0, ended.err
    assert cli.left() == ["out.mp4", "out.result.json", "out.thumbnail.jpg"]
    result = ended.json
    assert result["version"] == talkhead.__version__
    assert (result["engine"], result["seed"]) == ("draft", 1)
    video = result["outputs"][0]
    assert (video["facts"]["width"], video["facts"]["height"]) == (256, 256)
    assert set(result["seconds"]) >= {"fetch", "probe", "plan", "prepare", "render", "assemble"}
    saved = json.loads((cli.folder / "out.result.json").read_text())
    assert saved["outputs"][0]["url"] is None
    assert saved["outputs"][0]["sha256"] == video["sha256"]
    assert not cli.jobs.exists() or not list(cli.jobs.iterdir())
    with av.open(str(cli.folder / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert container.streams.audio[0].codec_context.name == "aac"
        assert any("digitalsourcetype" in value.lower() for value in container.metadata.values())


def test_the_same_seed_gives_the_same_frames_and_another_seed_others(cli: Cli, short: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        ended = cli("talk", BUNDLED[0], short, "--size", "320", "--seed", seed, "-o", f"{name}.mp4")
        assert ended.status == 0, ended.err
    first, again, other = (frames_digest(cli.folder / f"{name}.mp4") for name in "abc")
    assert first == again
    assert first[0] == other[0]
    assert first != other


@pytest.mark.soak  # in CI: unit/test_job.py
def test_an_unset_seed_is_random_and_reported(cli: Cli, short: Path) -> None:
    seeds = set()
    for name in "ab":
        ended = cli("talk", BUNDLED[0], short, "--size", "320", "-o", f"{name}.mp4", "--json")
        seeds.add(ended.json["seed"])
    assert len(seeds) == 2
    seed = next(iter(seeds))
    ended = cli("talk", BUNDLED[0], short, "--size", "320", "--seed", seed, "-o", "c.mp4", "--json")
    assert ended.json["seed"] == seed


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ("512x300", (512, 300)),
        ("257x301", (258, 302)),
        ("300", (300, 300)),
        ("256x640", (256, 640)),
        ("720p", (720, 720)),
    ],
)
def test_any_size(cli: Cli, short: Path, asked: str, made: tuple[int, int]) -> None:
    words = ("--size", asked, "--fit", "pad", "--seed", "1", "-o", "out.mp4", "--json")
    ended = cli("talk", PORTRAITS / "woman_frontal_closed.png", short, *words)
    assert ended.status == 0, ended.out
    with av.open(str(cli.folder / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == made
    odd = any("is odd" in notice["message"] for notice in ended.json["warnings"])
    assert odd == (asked == "257x301")


@pytest.mark.parametrize("fps", ["25", "30000/1001", "12"])
def test_any_rate(cli: Cli, short: Path, fps: str) -> None:
    ended = cli(
        "talk", BUNDLED[0], short, *SMALL, "--set", f"fps={json.dumps(fps)}", "-o", "out.mp4"
    )
    assert ended.status == 0, ended.err
    with av.open(str(cli.folder / "out.mp4")) as container:
        numerator, _, denominator = fps.partition("/")
        rate = int(numerator) / int(denominator or 1)
        assert float(container.streams.video[0].average_rate) == pytest.approx(rate, rel=1e-3)
        assert container.streams.video[0].frames == int(np.ceil(2.4 * rate - 1e-6))


def test_text_is_spoken(cli: Cli) -> None:
    words = ("--text", "Good morning, Peter.", "--voice", "espeak:en-us")
    ended = cli("talk", BUNDLED[0], *words, *SMALL, "-o", "out.mp4", "--json")
    assert ended.status == 0, ended.out
    assert 0.8 < ended.json["plan"]["seconds"] < 4
    assert ended.json["plan"]["estimated"] is False


def test_two_speakers_take_turns(cli: Cli, short: Path) -> None:
    other = write_wav(
        short.with_name("other.wav"), read_sound(SPEECH / "librivox_0890.flac")[:16_000]
    )
    words = (
        "--set",
        "turns=in_turn",
        "--size",
        "480x256",
        "--seed",
        "1",
        "-o",
        "out.mp4",
        "--json",
    )
    ended = cli("talk", PORTRAITS / "two_people.png", short, other, *words)
    assert ended.status == 0, ended.out
    assert ended.json["plan"]["seconds"] == pytest.approx(3.4, abs=0.04)
    assert [face["speaker"] for face in ended.json["plan"]["faces"]].count(None) == 0


def test_plan_runs_nothing_and_marks_faces(cli: Cli) -> None:
    two = PORTRAITS / "two_people.png"
    ended = cli("plan", two, BUNDLED[1], "--faces", "faces.png", "--json")
    assert ended.status == 0, ended.err
    assert cli.left() == ["faces.png"]
    plan = ended.json["plan"]
    assert len(plan["faces"]) == 2
    assert plan["segments"] == -(-plan["frames"] // 50)
    assert plan["estimated_seconds"] > 0
    assert plan["estimated_memory_mb"] > 0
    shown = cli("plan", two, BUNDLED[1])
    assert "face 2" in shown.out


def test_plan_warns(cli: Cli) -> None:
    words = ("--set", "duration=60", "--set", "deadline_s=3", "--set", "prompt=smile")
    ended = cli("plan", *BUNDLED, *words, "--json")
    codes = {notice["code"] for notice in ended.json["warnings"]}
    assert codes >= {"W_DURATION", "W_DEADLINE", "W_IGNORED"}


def test_duration_cuts_and_pads(cli: Cli, short: Path) -> None:
    for seconds in (1.0, 4.0):
        ended = cli(
            "talk", BUNDLED[0], short, *SMALL, "--set", f"duration={seconds}", "-o", "out.mp4", "-f"
        )
        assert ended.status == 0, ended.err
        assert "the video lasts" in ended.err
        with av.open(str(cli.folder / "out.mp4")) as container:
            assert container.streams.video[0].frames == round(seconds * 25)
            assert container.duration / 1e6 == pytest.approx(seconds, abs=0.05)


def test_an_existing_output_is_refused_without_force(cli: Cli, short: Path) -> None:
    target = cli.folder / "out.mp4"
    target.write_bytes(b"precious")
    ended = cli("talk", BUNDLED[0], short, *SMALL, "-o", "out.mp4")
    assert ended.status == 2
    assert "--force" in ended.err
    assert target.read_bytes() == b"precious"
    assert cli("talk", BUNDLED[0], short, *SMALL, "-o", "out.mp4", "--force").status == 0
    assert target.stat().st_size > 1000


def test_results_can_be_read_by_others(cli: Cli, short: Path) -> None:
    previous = os.umask(0o022)
    try:
        cli("talk", BUNDLED[0], short, *SMALL, "-o", "out.mp4")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((cli.folder / "out.mp4").stat().st_mode) == 0o644


def test_a_request_file(cli: Cli, short: Path) -> None:
    request = {
        "portrait": BUNDLED[0],
        "speakers": [{"audio": str(short)}],
        "engine": "draft",
        "options": {"blinks": False, "head_motion": 0},
    }
    (cli.folder / "request.json").write_text(json.dumps(request))
    ended = cli("talk", "--request", "request.json", "--size", "320", "-o", "still.mp4")
    assert ended.status == 0, ended.err


def test_speak(cli: Cli) -> None:
    ended = cli(
        "speak", "Bonjour tout le monde.", "--voice", "espeak:fr", "-o", "hello.wav", "--json"
    )
    assert ended.status == 0, ended.out
    assert ended.json["outputs"][0]["facts"]["seconds"] == pytest.approx(1.5, abs=1)


def test_check_judges_what_talk_made(cli: Cli) -> None:
    words = ("--transcript", SPEECH / "librivox_0920.txt", "--size", "512", "--seed", "1")
    made = cli("talk", BUNDLED[0], SPEECH / "librivox_0920.flac", *words, "-o", "out.mp4")
    assert made.status == 0, made.err
    phones = ("--phones", SPEECH / "librivox_0920.phones.json")
    good = cli("check", "out.mp4", *phones, "--min", "r=0.8,auc=0.95,closed=0.9", "--json")
    assert good.status == 0, good.out
    assert good.json["grade"] == "good"
    bad = cli("check", "out.mp4", *phones, "--min", "r=0.999")
    assert bad.status == 1
    assert "below 0.999" in bad.out


def test_score_measures_the_speakers_own_face_with_the_voices_own_phones(cli: Cli) -> None:
    words = ("--text", "Peter baked more muffins before Mary moved home.", "--score")
    box = ("--box", "230,100,320,210", "--size", "960x960", "--seed", "1")
    ended = cli("talk", PORTRAITS / "two_people.png", *words, *box, "-o", "out.mp4", "--json")
    assert ended.status == 0, ended.out
    assert ended.json["score"]["phones"] == "given"
    assert ended.json["score"]["status"] == "scored"
    assert ended.json["score"]["grade"] == "good"


def test_doctor_and_version(cli: Cli) -> None:
    assert cli("--version").out.strip() == f"talkhead {talkhead.__version__}"
    ended = cli("doctor", "--json")
    assert ended.status == 0
    names = {item["name"]: item["ready"] for item in ended.json["engines"]}
    assert names["draft"] is True
    assert names["infinitetalk"] is False
    assert "draft" in cli("doctor").out


def test_every_command_has_help_with_an_example(cli: Cli) -> None:
    for command in ("talk", "plan", "speak", "check"):
        assert f"talkhead {command}" in cli(command, "--help").out.split("Examples", 1)[1]


def test_media_here() -> None:
    assert len(list((MEDIA / "portraits").glob("*.png"))) >= 6
