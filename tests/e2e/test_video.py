"""A video as the source, through the real command line: followed by time, killed and resumed."""

import json
import os
import time
from pathlib import Path

import av
import numpy as np
import pytest

from support.cards import CARDS
from support.harness import Cli, frames_digest, write_wav
from support.media import levels, tone, write_clip

TESTS = Path(__file__).parents[1]


@pytest.fixture
def cards(cli: Cli) -> Cli:
    """Return the command line where the cards are known, beside a clip and a sound of 9 s.

    The clip has frames at 30 per second for 3 s and then one every half second, up to 6 s.
    """
    times = [k / 30 for k in range(90)] + [3 + k / 2 for k in range(7)]
    write_clip(cli.folder / "clip.mp4", levels(97), times)
    write_wav(cli.folder / "sound.wav", tone(9, 16_000)[0])
    paths = [str(TESTS), cli.env.get("PYTHONPATH", "")]
    cli.env |= {"PYTHONPATH": os.pathsep.join(paths), "TALKHEAD_ENGINES": json.dumps(CARDS)}
    return cli


def request(cli: Cli, **more: object) -> list[object]:
    asked = {
        "source": "clip.mp4",
        "speakers": [{"audio": "sound.wav"}],
        "engine": "clipcard",
        "sampling": {"seed": 1},
        **more,
    }
    (cli.folder / "request.json").write_text(json.dumps(asked))
    return ["talk", "--request", "request.json", "--json"]


def level_at(times: list[float], moment: float) -> int:
    number = int(np.abs(np.asarray(times) - moment).argmin())
    return 4 + 4 * (number % 62)


def test_a_video_is_followed_by_time(cards: Cli) -> None:
    ended = cards(*request(cards), "-o", "out.mp4")
    assert ended.status == 0, ended.out + ended.err
    plan = ended.json["plan"]
    assert (plan["width"], plan["height"]) == (384, 384)  # the trained size nearest to 80 x 64
    assert "its last picture stays" in " ".join(w["message"] for w in ended.json["warnings"])
    times = [k / 30 for k in range(90)] + [3 + k / 2 for k in range(7)]
    with av.open(str(cards.folder / "out.mp4")) as container:
        seen = [f.to_ndarray(format="rgb24").mean() for f in container.decode(video=0)]
    assert len(seen) == 225
    for first in range(0, 225, 40):  # where the windows begin
        assert seen[first] == pytest.approx(level_at(times, first / 25), abs=2)
        assert seen[min(first + 39, 224)] == pytest.approx(seen[first], abs=1)


def test_a_kill_while_a_video_speaks(cards: Cli) -> None:
    words = request(cards, options={"pause": 0.4, "features_mb": 5})
    assert cards(*words, "-o", "whole.mp4").status == 0
    run = cards.start(*words, "-o", "out.mp4")
    deadline = time.monotonic() + 60
    while not any("segment-" in m.read_text() for m in cards.jobs.glob("*/manifest.jsonl")):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    run.communicate()
    (left,) = cards.jobs.glob("[!.]*")
    assert (left / "prepared.features.npy").exists()
    assert not list(left.glob(".pictures*"))
    kept = (cards.folder / "clip.mp4").read_bytes()
    write_clip(cards.folder / "clip.mp4", levels(20))
    other = cards(*words, "-o", "out.mp4", "--resume", left.name)
    assert other.status == 2, other.out
    assert other.json["error"]["fields"] == ["source"]
    (cards.folder / "clip.mp4").write_bytes(kept)
    ended = cards(*words, "-o", "out.mp4")
    assert ended.status == 0, ended.out + ended.err
    assert ended.json["segments"]["resumed"] >= 1
    assert frames_digest(cards.folder / "out.mp4") == frames_digest(cards.folder / "whole.mp4")
    assert not list(cards.jobs.iterdir())


@pytest.mark.parametrize(
    ("engine", "field", "code"),
    [("testcard", "source", "E_UNSUPPORTED"), ("clipcard", "portrait", "E_INPUT_VALIDATION")],
)
def test_a_video_that_cannot_be_shown_is_refused_by_name(
    cards: Cli, engine: str, field: str, code: str
) -> None:
    ended = cards(
        *request(cards, **{"source": None, field: "clip.mp4", "engine": engine}), "-o", "out.mp4"
    )
    assert ended.status != 0
    error = ended.json["error"]
    assert (error["code"], error["fields"]) == (code, [field])
