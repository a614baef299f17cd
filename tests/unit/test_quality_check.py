"""The whole check on real files: a clip of the draft engine, and what can be wrong with a clip."""

import struct
import wave
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from support.harness import read_sound
from talkhead.engines import Inputs, Phone, Probe, Speaker
from talkhead.engines.draft import Draft
from talkhead.media.face import FaceFinder
from talkhead.quality import CheckOptions, check_video, read_phones

MEDIA = Path(__file__).parents[1] / "media"
SPEECH = MEDIA / "speech" / "librivox_0920.flac"
PHONES = read_phones(MEDIA / "speech" / "librivox_0920.phones.json")
FPS = 25


def _silent(_done: int, _total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def picture():
    portrait = Image.open(MEDIA / "portraits" / "closeup_redhair_closed.png").convert("RGB")
    return np.asarray(portrait.resize((256, 256), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def sound():
    return np.round(read_sound(SPEECH) * 32768).astype(np.int16)


@pytest.fixture(scope="module")
def clip(picture, sound, tmp_path_factory):
    """The draft engine's frames, encoded here so that only the engine is needed."""
    (face,) = FaceFinder().find(picture)
    frames = len(sound) * FPS // 16000
    engine = Draft()
    plan = engine.plan(Probe(256, 256, Fraction(FPS), frames, (face,), frames / FPS, False))
    speaker = Speaker((sound / 32768).astype(np.float32), face, phones=PHONES)
    prepared = engine.prepare(Inputs(picture, (speaker,), seed=1), plan, _silent)
    chunks = engine.generate(prepared, plan, _silent, None)
    pictures = (frame for chunk in chunks for frame in chunk.frames)
    return _write(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, sound)


def _write(path: Path, pictures: Iterator[np.ndarray], sound: np.ndarray | None) -> Path:
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=FPS, options={"crf": "19"})
        video.width, video.height, video.pix_fmt = 256, 256, "yuv420p"
        audio = target.add_stream("aac", rate=16000, layout="mono") if sound is not None else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture)
            frame.pts = number
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        if audio is not None:
            for start in range(0, len(sound), 1024):
                block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "s16", "mono")
                block.rate, block.pts = 16000, start
                target.mux(audio.encode(block))
            target.mux(audio.encode(None))
    return path


def _still(path: Path, picture: np.ndarray, sound: np.ndarray | None, frames: int = 75) -> Path:
    return _write(path, iter([picture] * frames), sound)


def test_a_clip_with_its_phones_is_good(clip):
    ticks = []
    report = check_video(clip, phones=PHONES, tick=lambda *step: ticks.append(step))
    assert (report.status, report.grade, report.phones) == ("scored", "good", "given")
    assert (report.faces, report.lost) == (1, 0)
    sync = report.sync
    assert sync.r0 > 0.85
    assert abs(sync.lag_ms) < 20
    assert sync.auc > 0.97
    assert sync.dip > 0.85
    assert sync.closed == 1
    assert sync.closed_chance < 0.8
    assert report.measured_s == pytest.approx(6.04, abs=0.05)
    assert 0 <= report.blinks <= 4
    assert report.warnings == ()
    assert ticks[-1] == (151, 151)
    assert all(a <= b for a, b in pairwise(ticks))


def test_a_clip_with_its_transcript_or_from_its_sound_alone(clip):
    words = SPEECH.with_suffix(".txt").read_text()
    aligned = check_video(clip, transcript=words, options=CheckOptions(language="en"))
    assert (aligned.phones, aligned.grade) == ("aligned", "good")
    heard = check_video(clip, SPEECH)
    assert heard.phones == "allphone"
    assert heard.sync.r0 > 0.6
    assert abs(heard.sync.lag_ms) < 40


def test_a_clip_200_ms_late_is_found_out(clip, sound, tmp_path):
    cut = tmp_path / "cut.wav"
    with wave.open(str(cut), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(sound[3200:].tobytes())
    early = [Phone(p.name, max(p.start - 0.2, 0), p.end - 0.2) for p in PHONES if p.end > 0.2]
    report = check_video(clip, cut, phones=early)
    assert report.sync.lag_ms == pytest.approx(200, abs=20)
    assert report.sync.r_best > 0.8
    assert report.sync.auc < 0.75
    assert report.grade == "poor"


def test_shuffled_phones_are_poor(clip):
    grades = []
    for seed in range(3):
        names = np.random.default_rng(seed).permutation([phone.name for phone in PHONES])
        mixed = [Phone(str(n), p.start, p.end) for n, p in zip(names, PHONES, strict=True)]
        grades.append(check_video(clip, phones=mixed).grade)
    assert grades == ["poor"] * 3


def test_a_limit_is_kept_and_said(clip):
    report = check_video(clip, phones=PHONES, options=CheckOptions(limit_s=1))
    assert report.measured_s == 1
    assert report.status == "insufficient"
    assert report.grade is None
    assert report.warnings == ("only the first 1.0 of 6.0 s were measured",)


def test_a_still_picture_under_speech_is_static(picture, sound, tmp_path):
    report = check_video(_still(tmp_path / "still.mp4", picture, sound[:48000]))
    assert (report.status, report.grade) == ("static", "poor")
    assert report.sync.range < 0.01


def test_a_video_without_a_face(sound, tmp_path):
    grey = np.full((256, 256, 3), 128, np.uint8)
    report = check_video(_still(tmp_path / "grey.mp4", grey, sound[:48000]))
    assert (report.status, report.grade, report.sync) == ("no_face", None, None)
    assert (report.faces, report.lost) == (0, 1)


def test_a_video_without_sound_or_with_silence(picture, tmp_path):
    mute = check_video(_still(tmp_path / "mute.mp4", picture, None))
    assert (mute.status, mute.grade, mute.phones) == ("no_speech", None, None)
    assert mute.warnings == ("the video has no sound",)
    quiet = np.zeros(48000, np.int16)
    silent = check_video(_still(tmp_path / "silent.mp4", picture, quiet))
    assert silent.status == "no_speech"


def test_a_face_that_goes_away_for_a_while(picture, sound, tmp_path):
    grey = np.full((256, 256, 3), 128, np.uint8)
    pictures = [picture] * 40 + [grey] * 20 + [picture] * 40
    path = _write(tmp_path / "gone.mp4", iter(pictures), sound[:64000])
    report = check_video(path, phones=PHONES)
    assert 0.2 <= report.lost <= 0.25
    assert "the face was lost in" in report.warnings[0]


def test_a_video_that_is_to_be_shown_turned_is_turned_first(picture, sound, tmp_path):
    path = tmp_path / "turned.mp4"
    _still(path, cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE), sound[:48000])
    assert check_video(path, phones=PHONES).status == "no_face"
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # of the video track, which comes first
    one = 0x10000
    data[matrix : matrix + 24] = struct.pack(
        ">6i", 0, one, 0, -one, 0, 0
    )  # clockwise by 90 degrees
    path.write_bytes(data)
    report = check_video(path, phones=PHONES)
    assert (report.faces, report.lost, report.status) == (1, 0, "static")
