"""`talkhead smoke`: a good endpoint passes, a broken one fails with its own reason and no other."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from support.fake_endpoint import Change, FakeEndpoint, endpoint
from talkhead import job
from talkhead.errors import Code, TalkheadError
from talkhead.media import segments
from talkhead.media.mark import DigitalSource
from talkhead.media.mux import Tags, join
from talkhead.media.soundtrack import Sound, write_soundtrack
from talkhead.media.speech import Part
from talkhead.quality.reading import read_frames
from talkhead.request import Talk
from talkhead.result import Made
from talkhead.runtime import Runtime
from talkhead.serve import endpoint as endpoints
from talkhead.serve import following, smoke, smoke_checks
from talkhead.serve.cli import app
from talkhead.settings import Settings
from talkhead.validation import parse

SECONDS = 1.2  # the shortest that the lips are correlated over, and a bit
SPEECH = Path(smoke.__file__).parents[1] / "assets" / "librivox.flac"
RATE = Fraction(25)
Frames = list[np.ndarray]


@dataclass(frozen=True)
class Videos:
    """A good video and what is wrong with others, made once."""

    good: Path
    plan: dict[str, Any]
    folder: Path

    def film(self, name: str, frames: Frames, fps: Fraction = RATE, late: float = 0.0) -> Path:
        """Write frames and the speech, late by so much."""
        out, picture, sound = (self.folder / f"{name}{part}.mp4" for part in ("", "-p", "-s"))
        height, width = frames[0].shape[:2]
        segments.encode([np.stack(frames)], picture, fps, width, height)
        track = [Sound(SPEECH, Part(late, SECONDS - late))]
        write_soundtrack(track, SECONDS, sound)
        join([picture], sound, fps, out, Tags("test", DigitalSource.ANIMATED))
        return out

    @property
    def frames(self) -> Frames:
        return [np.asarray(picture) for _, picture in read_frames(self.good, 99, lambda *_: None)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Videos:
    folder = tmp_path_factory.mktemp("videos")
    settings = Settings(engine="draft", jobs=folder / "jobs", store={"root": folder / "store"})
    made = job.run(parse({**smoke.REQUEST, "duration": SECONDS}), Runtime(settings))
    assert made.video is not None
    assert made.plan is not None
    plan = made.plan.model_dump(mode="json")
    return Videos(folder / "store" / made.video.key, plan, folder)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the lips unmeasured, which takes longest."""
    monkeypatch.setattr(smoke_checks, "lips", lambda _file, _bars: iter(()))


def ran(fake: FakeEndpoint, *words: str, status: int) -> Result:
    shorter = ("--set", f"duration={SECONDS}")
    environment = {"COLUMNS": "200", "RUNPOD_API_KEY": ""}
    found = CliRunner().invoke(app, ["smoke", fake.base, *shorter, *words], env=environment)
    assert found.exit_code == status, found.output
    return found


def failed(found: Result) -> dict[str, str]:
    checks = json.loads(found.stdout)["checks"]
    return {check["name"]: check["reason"] for check in checks if not check["passed"]}


def test_a_good_endpoint_passes_twice(videos: Videos) -> None:
    with endpoint(videos.good, videos.plan) as fake:
        found = ran(fake, "--repeat", "--key", "rp_hush", "--prefix", "renders", status=0)
    assert "19 checks, all passed" in found.output
    assert fake.asked[0] == fake.asked[1]
    assert "Bearer rp_hush" in fake.keys
    assert "hush" not in found.output
    for name in ("key", "sha256", "size", "fps", "A/V length", "delay", "lips: r", "repeat"):
        assert f"\n{name} " in found.output


def small(videos: Videos) -> Path:
    return videos.film("small", [cv2.resize(f, (192, 192)) for f in videos.frames])


def slow(videos: Videos) -> Path:
    return videos.film("slow", videos.frames[::2], RATE / 2)


def mute(videos: Videos) -> Path:
    out = videos.folder / "mute.mp4"
    faststart = {"movflags": "faststart"}
    with av.open(str(videos.good)) as source, av.open(str(out), "w", options=faststart) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out


def late(videos: Videos) -> Path:
    return videos.film("late", videos.frames, late=0.2)


def still(videos: Videos) -> Path:
    frames = videos.frames
    return videos.film("still", [frames[0]] * len(frames))


def good(videos: Videos) -> Path:
    return videos.good


def elsewhere(result: dict[str, Any]) -> None:
    result["outputs"][0]["key"] = "renders/smoke/another-job/video.mp4"


def gone(result: dict[str, Any]) -> None:
    result["outputs"][0]["url"] = result["outputs"][0]["url"].replace("video.mp4", "gone.mp4")


def as_it_is(result: dict[str, Any]) -> None:
    """Leave the answer alone."""


BROKEN: dict[str, tuple[Callable[[Videos], Path], Change, tuple[str, str]]] = {
    "wrong size": (small, as_it_is, ("size", "192x192, not 256x256")),
    "wrong fps": (slow, as_it_is, ("fps", "12.500, not 25")),
    "no sound": (mute, as_it_is, ("sound", "the video has no sound")),
    "late sound": (late, as_it_is, ("delay", "the sound is 200 ms late")),
    "missing file": (good, gone, ("file", "it cannot be fetched")),
    "wrong key": (good, elsewhere, ("key", "another-job/video.mp4 does not end with smoke/smoke-")),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_endpoint_fails_with_the_reason(videos: Videos, kind: str) -> None:
    film, change, (name, reason) = BROKEN[kind]
    with endpoint(film(videos), videos.plan, change) as fake:
        found = failed(ran(fake, "--json", status=1))
    assert set(found) == {name}
    assert reason in found[name]


def test_a_static_face_fails_with_the_reason(videos: Videos) -> None:
    with endpoint(still(videos), videos.plan) as fake:
        found = ran(fake, status=1)
    static = "the mouth does not move while there is speech"
    assert f"face: {static}" in found.output
    assert f"lips: r: r could not be measured: {static}" in found.output
    assert "17 checks, 3 failed" in found.output


@pytest.mark.usefixtures("quick")
def test_other_expectations_and_a_file_that_is_not_the_one_described(videos: Videos) -> None:
    def spoil(result: dict[str, Any]) -> None:
        result["outputs"][0] |= {"bytes": 7, "sha256": "00ff"}

    words = ("--json", "--size", "512x256", "--fps", "30000/1001", "--prefix", "other")
    with endpoint(videos.good, videos.plan, spoil) as fake:
        found = failed(ran(fake, *words, status=1))
    assert set(found) == {"key", "bytes", "sha256", "size", "fps"}
    assert found["size"] == "256x256, not 512x256"
    assert found["fps"] == "25, not 29.970"
    assert "not other/smoke/smoke-" in found["key"]


@pytest.mark.usefixtures("quick")
def test_an_endpoint_that_renders_a_repeat_again_fails(videos: Videos) -> None:
    def forget(result: dict[str, Any]) -> None:
        result["repeated"] = False

    with endpoint(videos.good, videos.plan, forget) as fake:
        found = ran(fake, "--repeat", status=1)
    assert "repeat: the same request under the same key was rendered once more" in found.output
    assert "1 failed" in found.output


def test_an_old_answer_is_no_test(videos: Videos) -> None:
    def old(result: dict[str, Any]) -> None:
        result |= {"repeated": True, "outputs": []}

    with endpoint(videos.good, videos.plan, old) as fake:
        found = failed(ran(fake, "--json", status=1))
    assert found == {
        "rendered": "an older answer came back",
        "video": "the answer names no video",
    }


@pytest.mark.parametrize(
    ("url", "data", "reason"),
    [
        (Path(__file__).as_uri(), None, None),  # of this machine, as the endpoint is
        (None, None, "the answer has no link to it"),
        (None, "%%%", "not base64"),
        ("data:video/mp4;base64,AAAA", None, None),
    ],
)
def test_links_of_every_kind_are_followed(
    videos: Videos, url: str | None, data: str | None, reason: str | None
) -> None:
    def link(result: dict[str, Any]) -> None:
        result["outputs"][0] |= {"url": url, "data": data}

    with endpoint(videos.good, videos.plan, link) as fake:
        found = failed(ran(fake, "--json", status=1))
    if reason is None:  # what is there is no video, and is told so
        assert set(found) == {"bytes", "sha256", "container"}
    else:
        assert reason in found["file"]


def test_a_link_to_another_machines_disk_is_not_followed_on_this_one(tmp_path: Path) -> None:
    made = Made(kind="video", key="k", url=Path(__file__).as_uri(), mime="m", bytes=1, sha256="")
    client = smoke.Client("https://api.example/v2/x")
    with client, pytest.raises(TalkheadError, match="another machine"):
        smoke._fetched(client, made, tmp_path / "video.mp4")


def test_an_answer_that_is_none_of_ours_is_told(videos: Videos) -> None:
    def other(result: dict[str, Any]) -> None:
        result["outputs"] = ["a picture of a cat"]

    with endpoint(videos.good, videos.plan, other) as fake:
        found = failed(ran(fake, "--json", status=1))
    assert "no talkhead result: outputs.0 is not" in found["job"]


def test_without_a_plan_the_options_say_what_is_wanted(videos: Videos) -> None:
    facts = smoke_checks.facts_of(videos.good)
    assert not isinstance(facts, smoke_checks.Check)
    request = parse({**smoke.REQUEST, "size": 256, "duration": None})
    assert isinstance(request, Talk)
    lacking = list(smoke_checks.picture(facts, request, None, smoke_checks.Expected()))
    assert [check.name for check in lacking if not check.passed] == ["size", "fps", "length"]
    assert "give an option" in lacking[1].reason


def test_a_job_that_fails_is_the_reason(videos: Videos) -> None:
    with endpoint(videos.good, videos.plan) as fake:
        fake.status, fake.error = "FAILED", json.dumps({"code": "E_OOM", "message": "no room"})
        found = ran(fake, status=1)
    assert "job: E_OOM: no room" in found.output
    assert "1 check, 1 failed" in found.output


def test_a_job_that_does_not_end_is_cancelled(videos: Videos) -> None:
    with endpoint(videos.good, videos.plan) as fake:
        fake.status = "IN_QUEUE"
        found = failed(ran(fake, "--json", "--timeout", "1", status=1))
        assert fake.cancelled == ["job-0"]
    assert "no end within 1 s: the job is IN_QUEUE" in found["job"]


def test_stopping_it_cancels_the_job_and_is_no_verdict(videos: Videos) -> None:
    with endpoint(videos.good, videos.plan) as fake, smoke.Client(fake.base) as client:
        fake.status = "IN_PROGRESS"
        patience = following.Patience()
        patience.stop.set()
        with pytest.raises(TalkheadError) as caught:
            smoke.trial(client, smoke.asked(None, []), smoke_checks.Expected(), patience)
        assert fake.cancelled == ["job-0"]
    assert caught.value.code is Code.CANCELLED


@pytest.mark.parametrize("command", ["smoke", "bench-endpoint"])
def test_the_settings_may_name_the_endpoint(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(endpoints, "CALL_S", 0.1)
    monkeypatch.chdir(tmp_path)
    bare = CliRunner().invoke(app, [command])
    assert bare.exit_code == 2
    assert "no endpoint was given" in bare.output
    named = {"TALKHEAD_ENDPOINT__URL": "http://127.0.0.1:9/v2/gone"}
    found = CliRunner().invoke(app, [command, "--json"], env=named)
    assert found.exit_code == 1
    assert "http://127.0.0.1:9/v2/gone cannot be reached" in found.output


def test_an_endpoint_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "CALL_S", 0.1)
    words = ["smoke", "http://127.0.0.1:9/v2/gone", "--json"]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 1
    assert "cannot be reached" in failed(found)["job"]


@pytest.mark.parametrize("address", ["nowhere", "ftp://a.example", "https://", "a.example/v2/x"])
def test_what_is_no_address_is_no_verdict(address: str) -> None:
    for command in ("smoke", "bench-endpoint"):
        found = CliRunner().invoke(app, [command, address])
        assert found.exit_code == 2
        assert "is not a plain URL" in found.output


def test_progress_is_read_with_care() -> None:
    outputs = (
        None,
        "text",
        {"stage": "dancing"},
        {"stage": "render", "pct": 40, "windows": 3},
        {"stage": "render", "pct": 50, "item": 2, "items": 4},
    )
    bodies = ({"status": "IN_PROGRESS", "output": output} for output in outputs)
    assert [following.moment(body) for body in bodies] == [
        ("start", 0.0, ""),
        ("start", 0.0, ""),
        ("dancing", 0.0, ""),
        ("render", 40.0, "segment 1/3"),
        ("render", 50.0, "item 2/4"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "speak", "text": "Hello"}, "a talk request that renders"),
        ({"dry_run": True}, "a talk request that renders"),
        ({"portrait": "me.png"}, "portrait: me.png is a path of this machine"),
        ({"speakers": [{"audio": "a.wav"}]}, "speakers.0.audio: a.wav is a path"),
        ({"size": "5x5"}, "size"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    file = tmp_path / "request.json"
    base = {} if "action" in change else smoke.REQUEST
    file.write_text(json.dumps({**base, **change}))
    with pytest.raises(TalkheadError, match=words) as caught:
        smoke.asked(file, [])
    assert caught.value.code is Code.INPUT


def test_every_request_has_a_key_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({**smoke.REQUEST, "idempotency_key": "mine"}))
    keys = {smoke.asked(file, [])["idempotency_key"] for _ in range(3)}
    assert len(keys) == 3
    assert "mine" not in keys


@pytest.mark.parametrize(
    ("size", "fps", "bars"), [("480p", None, None), (None, "fast", None), (None, None, "beauty=1")]
)
def test_bars_that_are_none_are_refused(
    size: str | None, fps: str | None, bars: str | None
) -> None:
    with pytest.raises(TalkheadError) as caught:
        smoke.expected(size, fps, bars, None)
    assert caught.value.code is Code.INPUT


@pytest.mark.parametrize("late", [0.0, 0.25, -0.25])
def test_a_delay_is_found_either_way(late: float) -> None:
    heard = np.random.default_rng(3).normal(size=32_000).astype(np.float32)
    moved = np.roll(heard, round(late * smoke_checks.SAMPLE_RATE))
    found, alike = smoke_checks.delay(0.3 * moved, heard)
    assert found == pytest.approx(late)
    assert alike > 0.8
    assert smoke_checks.delay(heard[::-1].copy(), heard)[1] < 0.1
