from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from support.media import moving, tone, write_sound, write_video
from talkhead.errors import Code, TalkheadError
from talkhead.media.facts import boxes, video_facts


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
def test_facts_of_other_peoples_videos(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", moving(50), tone(1.5, 48_000), late=0.5)
    facts = video_facts(path)
    assert (facts.codec, facts.width, facts.height) == ("h264", 64, 64)
    assert (facts.fps, facts.frames) == (Fraction(25), 50)
    assert facts.seconds == pytest.approx(2, abs=0.05)
    assert (facts.audio_codec, facts.audio_rate, facts.audio_channels) == ("aac", 48_000, 1)
    late = 0.0 if suffix == "avi" else 0.5  # AVI has no times; its writer fills up
    assert facts.audio_start == pytest.approx(late, abs=0.05)
    assert not facts.faststart
    assert facts.matrix == "unspecified"
    assert facts.bytes == path.stat().st_size
    assert facts.digital_source_type == ""


def test_a_video_without_sound(tmp_path: Path) -> None:
    facts = video_facts(write_video(tmp_path / "a.mp4", moving(3)))
    assert facts.audio_codec is None
    assert facts.audio_seconds is None
    assert facts.audio_start is None


def test_a_recording_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", tone(1, 48_000), 48_000, "aac", container="ipod")
    with pytest.raises(TalkheadError, match="no picture") as caught:
        video_facts(path, "video")
    assert caught.value.code == Code.INPUT


def test_boxes_end_where_sizes_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x08free" + b"\0\0\0\x03mdat" + bytes(20))
    assert list(boxes(path)) == [(b"free", 0, 8)]
    large = b"\0\0\0\x01mdat" + (24).to_bytes(8, "big") + bytes(8)
    path.write_bytes(large + b"\0\0\0\0free" + bytes(4))
    assert list(boxes(path)) == [(b"mdat", 0, 24), (b"free", 24, 12)]
    path.write_bytes(np.random.default_rng(0).integers(0, 256, 500, np.uint8).tobytes())
    assert len(list(boxes(path))) < 100
