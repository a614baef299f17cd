"""What an engine sees: pictures of a video by time, trained sizes, and boxes where speakers are."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from support.cards import card_runtime
from support.harness import PORTRAITS, write_wav
from support.media import levels, tone, write_clip, write_video
from support.testcard import ClipCard
from talkhead import job
from talkhead.engines import Inputs, Probe
from talkhead.errors import Code, TalkheadError
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.validation import parse

FACE = PORTRAITS / "woman_frontal_closed.png"


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return card_runtime(tmp_path, engine="clipcard")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return 4 s of sound: 100 frames, windows of 40, 40 and 20."""
    return write_wav(tmp_path / "sound.wav", tone(4, 16_000)[0])


def run(runtime: Runtime, source: Path, sound: Path, field: str = "source", **more) -> Result:
    speakers = [{"audio": str(sound)}]
    asked = {field: str(source), "speakers": speakers, "sampling": {"seed": 1}, **more}
    return job.run(parse(asked), runtime)


def given(runtime: Runtime) -> tuple[Probe, Inputs | None]:
    engine = runtime.engine("clipcard")
    assert isinstance(engine, ClipCard)
    assert engine.probe is not None
    return engine.probe, engine.inputs


def inputs_of(runtime: Runtime) -> Inputs:
    inputs = given(runtime)[1]
    assert inputs is not None
    return inputs


def greys(tmp_path: Path, result: Result) -> list[int]:
    assert result.video is not None
    with av.open(str(tmp_path / "store" / result.video.key)) as container:
        return [round(f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]


@pytest.mark.parametrize("field", ["video", "source"])
def test_a_video_is_followed_by_its_own_time(tmp_path, runtime, sound, field) -> None:
    """Windows begin at 0, 1.6 and 3.2 s: frames 0, 48 and, past the end, the last of 90."""
    source = write_clip(tmp_path / "a.mp4", levels(90), fps=30)
    result = run(runtime, source, sound, field)
    want = [4, 4 + 4 * 48, 4 + 4 * (89 % 62)]
    found = greys(tmp_path, result)
    assert len(found) == 100
    assert [found[at] for at in (0, 39, 40, 79, 80, 99)] == pytest.approx(np.repeat(want, 2), abs=2)
    probe, inputs = given(runtime)
    assert probe.source_fps == Fraction(30)
    assert inputs is not None
    assert isinstance(inputs.pictures, np.memmap)
    assert np.array_equal(inputs.picture, inputs.pictures[0])
    assert [n.field for n in result.warnings if n.code == "W_SOURCE"] == [field]


def test_the_sound_of_a_source_is_not_used_unless_it_is_named(tmp_path, runtime, sound) -> None:
    source = write_video(tmp_path / "a.mp4", levels(50), tone(2, 48_000))
    assert run(runtime, source, sound, duration=1).video is not None
    assert run(runtime, source, source).plan.speech_seconds == pytest.approx(2, abs=0.05)


def test_a_still_stays_a_still(tmp_path, runtime, sound, portrait) -> None:
    run(runtime, portrait, sound)
    probe, inputs = given(runtime)
    assert inputs is not None
    assert (probe.source_fps, len(inputs.pictures)) == (None, 0)


@pytest.mark.parametrize(
    ("engine", "field", "moving", "code", "message"),
    [
        ("testcard", "video", True, Code.UNSUPPORTED, "video: the testcard engine takes a still"),
        ("testcard", "source", True, Code.UNSUPPORTED, "source: the testcard engine takes a still"),
        ("clipcard", "portrait", True, Code.INPUT, "portrait: a.mp4 is MP4 video, not a picture"),
        ("clipcard", "video", False, Code.INPUT, "video: portrait.png is PNG image, not a video"),
    ],
)
def test_the_file_decides_what_a_source_is(
    tmp_path, runtime, sound, portrait, engine, field, moving, code, message
) -> None:
    source = write_clip(tmp_path / "a.mp4", levels(5)) if moving else portrait
    with pytest.raises(TalkheadError) as caught:
        run(runtime, source, sound, field, engine=engine)
    assert (caught.value.code, caught.value.fields) == (code, (field,))
    assert message in caught.value.message


def test_a_dry_run_shows_the_faces_of_a_video(tmp_path, runtime, sound) -> None:
    picture = np.asarray(Image.open(FACE).convert("RGB"))
    source = write_video(tmp_path / "a.mp4", picture[None, :512, :512].repeat(3, 0))
    result = run(runtime, source, sound, dry_run=True, output={"faces": True})
    assert result.plan is not None
    assert len(result.plan.faces) == 1
    assert [made.kind for made in result.outputs] == ["image"]
    assert given(runtime)[0].faces == ()


def flat(folder: Path, width: int, height: int) -> Path:
    path = folder / f"{width}x{height}.png"
    Image.new("RGB", (width, height), (50, 90, 130)).save(path)
    return path


@pytest.mark.parametrize(
    ("source", "size", "want"),
    [
        ((640, 360), None, (512, 256)),
        ((360, 640), None, (256, 512)),
        ((500, 520), None, (384, 384)),
        ((640, 360), "480p", (512, 256)),
        ((640, 360), "720p", (640, 320)),
        ((640, 360), {"short": 720}, (640, 320)),
        ((640, 360), "360p", (640, 360)),
        ((640, 360), 720, (720, 404)),
        ((640, 360), "300x262", (300, 262)),
    ],
)
def test_trained_sizes_are_the_default_and_have_presets(
    tmp_path, runtime, sound, source, size, want
) -> None:
    result = run(runtime, flat(tmp_path, *source), sound, size=size, dry_run=True)
    plan = result.plan
    assert plan is not None
    assert (plan.width, plan.height) == want
    assert (plan.work_width % 16, plan.work_height % 16) == (0, 0)
    trained = size in (None, "480p", "720p") or isinstance(size, dict)
    assert any(notice.code == "W_SIZE" for notice in result.warnings) is not trained


def two(sound: Path, *boxes: object) -> list[dict]:
    return [{"audio": str(sound), **({"box": box} if box else {})} for box in boxes]


def test_boxes_reach_the_engine_in_fitted_pixels(tmp_path, runtime, sound) -> None:
    source = flat(tmp_path, 1024, 512)
    speakers = two(sound, [100, 40, 300, 240], [600, 300, 1100, 500])
    run(runtime, source, sound, speakers=speakers, size="512x256")
    assert [s.box for s in inputs_of(runtime).speakers] == [
        (50, 20, 150, 120),
        (300, 150, 512, 250),
    ]
    run(runtime, source, sound, speakers=two(sound, None, None), size="512x256", prompt="again")
    assert [s.box for s in inputs_of(runtime).speakers] == [None, None]
    run(runtime, source, sound, speakers=two(sound, [0, 0, 512, 512]), size="512x512", fit="pad")
    assert inputs_of(runtime).speakers[0].box == (0, 128, 256, 384)


@pytest.mark.parametrize(
    ("boxes", "field", "message"),
    [
        (([0, 0, 100, 100], [1024, 0, 1100, 90]), "speakers.1.box", "outside the picture of 1024"),
        (([0, 0, 90, 90], [930, 0, 1020, 90]), "speakers.0.box", "outside what is shown"),
    ],
)
def test_a_box_of_which_nothing_is_seen_is_refused(
    tmp_path, runtime, sound, boxes, field, message
) -> None:
    with pytest.raises(TalkheadError, match=message) as caught:
        run(runtime, flat(tmp_path, 1024, 512), sound, speakers=two(sound, *boxes), size="256x256")
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, (field,))


def test_what_boxes_name_is_kept_in_view(tmp_path, runtime, sound) -> None:
    source = flat(tmp_path, 1024, 512)
    for mode in ("crop", "face"):
        speakers = two(sound, [10, 100, 110, 220])
        run(runtime, source, sound, speakers=speakers, size="256x256", fit=mode)
        box = inputs_of(runtime).speakers[0].box
        assert box is not None
        assert box.x0 >= 0
        assert box.width == pytest.approx(50 if mode == "crop" else 256 * 100 / 288, abs=6)


def test_fit_face_finds_a_face_though_the_engine_needs_none(tmp_path, runtime, sound) -> None:
    wide = Image.new("RGB", (1400, 900), (90, 90, 90))
    wide.paste(Image.open(FACE).convert("RGB").resize((400, 400)), (950, 300))
    wide.save(tmp_path / "wide.png")
    result = run(runtime, tmp_path / "wide.png", sound, size="256x256", fit="face")
    inputs = inputs_of(runtime)
    assert (inputs.speakers[0].face, inputs.bystanders) == (None, ())
    assert inputs.picture.std() > 40  # the face, where the whole picture is nearly one grey
    assert result.plan is not None
    assert [face.speaker for face in result.plan.faces] == [None]
    with pytest.raises(TalkheadError) as caught:
        run(runtime, flat(tmp_path, 400, 400), sound, size="256x256", fit="face")
    assert caught.value.code is Code.NO_FACE


def damaged(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes(len(data) - 40))
    return path


def test_a_damaged_video_is_refused_by_name(tmp_path, runtime, sound) -> None:
    source = damaged(write_clip(tmp_path / "a.mp4", levels(5)))
    with pytest.raises(TalkheadError) as caught:
        run(runtime, source, sound, "video")
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("video",))
