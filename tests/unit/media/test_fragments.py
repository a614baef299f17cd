"""Parts are the final video, cut: the same pictures, the same sound, on one exact clock."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.media import chunks, moving, tone, write_sound
from talkhead.errors import Code, TalkheadError
from talkhead.media.boxes import children, inside
from talkhead.media.fragments import clock, init_segment, media_part
from talkhead.media.mark import DigitalSource
from talkhead.media.mux import Tags, join
from talkhead.media.segments import encode
from talkhead.media.soundtrack import Sound, write_soundtrack
from talkhead.media.speech import Part

TAGS = Tags("talkhead", DigitalSource.ANIMATED)
RATES = [Fraction(24), Fraction(25), Fraction(30000, 1001)]
HOUR = 3600


def made(folder: Path, counts: list[int], fps: Fraction, channels: int = 1) -> list[Path]:
    """Return segments of so many frames, with `sound.m4a` of the same length beside them."""
    seconds = float(sum(counts) / fps)
    wav = write_sound(folder / "sound.wav", tone(seconds + 1, 48_000, channels), 48_000)
    write_soundtrack([Sound(wav, Part(0, seconds))], seconds, folder / "sound.m4a")
    found = []
    for number, count in enumerate(counts):
        found.append(folder / f"{number}.mp4")
        encode(chunks(moving(count, 32, 9 * number)), found[-1], fps, 32, 32)
    return found


def parts(folder: Path, segments: list[Path], counts: list[int], fps: Fraction) -> list[bytes]:
    sound = folder / "sound.m4a"
    begins = [sum(counts[:number]) for number in range(len(counts))]
    return [
        media_part(segment, sound, fps, number, begin, count)
        for number, (segment, begin, count) in enumerate(zip(segments, begins, counts, strict=True))
    ]


def decoded(path: Path) -> tuple[list[np.ndarray], list[float], np.ndarray]:
    """Return pictures, the times they are shown at, and the sound."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(path)) as container:
        heard = [frame.to_ndarray() for frame in container.decode(audio=0)]
    pictures = [frame.to_ndarray() for frame in frames]
    return pictures, [float(frame.time or 0) for frame in frames], np.concatenate(heard, 1)


def runs(part: bytes) -> dict[int, tuple[int, list[tuple[int, int, int, int]]]]:
    """Return when each track goes on in a part, and its samples: length, size, flags, shift."""
    found = {}
    for name, content in children(inside(part, b"moof")):
        if name == b"traf":
            track = struct.unpack(">I", inside(content, b"tfhd")[4:8])[0]
            time = struct.unpack(">Q", inside(content, b"tfdt")[4:])[0]
            rows = inside(content, b"trun")[12:]
            found[track] = (time, list(struct.iter_unpack(">IIIi", rows)))
    return found


@pytest.mark.parametrize("fps", RATES)
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_parts_are_the_final_video(tmp_path: Path, fps: Fraction, counts: list[int]) -> None:
    """Pictures, their times and every sample of sound; no gap and no overlap at any join."""
    segments = made(tmp_path, counts, fps)
    join(segments, tmp_path / "sound.m4a", fps, tmp_path / "final.mp4", TAGS)
    init = init_segment(segments[0], tmp_path / "sound.m4a", fps)
    cut = parts(tmp_path, segments, counts, fps)
    (tmp_path / "parts.mp4").write_bytes(init + b"".join(cut))
    ours, final = decoded(tmp_path / "parts.mp4"), decoded(tmp_path / "final.mp4")
    assert len(ours[0]) == len(final[0]) == sum(counts)
    assert all((one == other).all() for one, other in zip(ours[0], final[0], strict=True))
    assert ours[1] == pytest.approx(final[1], abs=1e-4)
    assert ours[1][0] == 0
    # the final file ends its last packet at its last sample, a part tells whole packets
    assert 0 <= ours[2].shape[1] - final[2].shape[1] < 1024
    np.testing.assert_array_equal(ours[2][:, : final[2].shape[1]], final[2])
    ends = {1: 0, 2: 0}
    for part in cut:
        for track, (begin, samples) in runs(part).items():
            assert begin == ends[track]
            ends[track] += sum(length for length, *_ in samples)
    assert ends[1] == sum(counts) * clock(fps)[1]


def test_the_sound_of_a_part_is_that_of_its_pictures(tmp_path: Path) -> None:
    counts, fps = [10, 12, 9], Fraction(25)
    segments = made(tmp_path, counts, fps, channels=2)
    cut = [runs(part) for part in parts(tmp_path, segments, counts, fps)]
    begins = [found[2][0] - 1024 for found in cut[1:]]  # less the run-in, as all of its clock
    late = [begin - 1920 * frames for begin, frames in zip(begins, (10, 22), strict=True)]
    assert all(0 <= samples < 1024 for samples in late)


def test_a_part_is_the_same_each_time(tmp_path: Path) -> None:
    counts, fps = [20, 15], Fraction(25)
    segments = made(tmp_path, counts, fps)
    first = parts(tmp_path, segments, counts, fps)
    assert parts(tmp_path, segments, counts, fps) == first
    assert inside(first[1], b"moof", b"mfhd")[4:] == struct.pack(">I", 2)
    assert [name for name, _ in children(first[1])] == [b"styp", b"moof", b"mdat"]
    flags = [flags for _, _, flags, _ in runs(first[1])[1][1]]
    assert (flags[0], set(flags[1:])) == (0x02000000, {0x01010000})


@pytest.mark.parametrize("fps", [*RATES, Fraction(24000, 1001), Fraction(60)])
def test_the_clock_is_exact_for_hours(tmp_path: Path, fps: Fraction) -> None:
    """A day's last part begins where a whole number of frames ends."""
    segment = made(tmp_path, [5], fps)[0]
    begin = int(24 * HOUR * fps)
    time, samples = runs(media_part(segment, tmp_path / "sound.m4a", fps, 9, begin, 5))[1]
    scale, tick = clock(fps)
    assert Fraction(time, scale) == begin / fps
    assert {Fraction(length, scale) for length, *_ in samples} == {1 / fps}
    assert scale < 2**32
    assert tick >= 1


def test_a_segment_of_another_length_is_refused(tmp_path: Path) -> None:
    segment = made(tmp_path, [5], Fraction(25))[0]
    with pytest.raises(TalkheadError, match="5 frames where 6") as caught:
        media_part(segment, tmp_path / "sound.m4a", Fraction(25), 0, 0, 6)
    assert caught.value.code is Code.ENCODE
