import json
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from support.media import chunks, decoded_frames, moving
from talkhead.errors import Code, TalkheadError
from talkhead.media.segments import ENCODING, Abandoned, encode, pump

FPS = Fraction(25)
COLOURS = np.array(
    [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 255],
        [0, 0, 0],
        [128, 128, 128],
        [222, 172, 142],
        [92, 56, 40],
        [255, 255, 0],
        [20, 90, 160],
    ],
    np.uint8,
)

THREADS: set[threading.Thread] = set()  # of the test runner and of earlier tests


@pytest.fixture(autouse=True)
def _threads_before() -> None:
    THREADS.clear()
    THREADS.update(threading.enumerate())


def _left() -> list[threading.Thread]:
    """Return threads that a pump left behind."""
    return [thread for thread in threading.enumerate() if thread not in THREADS]


def _from_709(planes: np.ndarray, side: int) -> np.ndarray:
    """Decode limited-range BT.709 by its definition, independently of libav."""
    y = (planes[:side].astype(float) - 16) / 219
    quarter = planes[side:].reshape(2, side // 2, side // 2).astype(float)
    blue, red = ((plane - 128) / 224 for plane in quarter.repeat(2, 1).repeat(2, 2))
    r, b = y + 1.5748 * red, y + 1.8556 * blue
    g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
    return 255 * np.stack([r, g, b], -1)


def test_known_colours_come_back_within_two_levels(tmp_path: Path) -> None:
    side = 320
    frame = np.repeat(COLOURS[None], side, 0).repeat(side // len(COLOURS), 1)[None]
    encode(iter([frame.repeat(3, 0)]), tmp_path / "a.mp4", FPS, side, side)
    for planes in decoded_frames(tmp_path / "a.mp4"):
        decoded = _from_709(planes, side)
        middles = decoded[side // 2, 16 :: side // len(COLOURS)]
        assert np.abs(middles - COLOURS).max() <= 2


def test_the_stream_says_what_it_is(tmp_path: Path) -> None:
    encode(chunks(moving(5)), tmp_path / "a.mp4", Fraction(30000, 1001), 64, 64)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        assert tags == (1, 1, 1, 1)
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_every_frame_once_in_order_and_the_same_bytes_twice(tmp_path: Path, count: int) -> None:
    frames = moving(count)
    for name, size in (("one.mp4", 7), ("two.mp4", 1)):
        assert encode(chunks(frames, size), tmp_path / name, FPS, 64, 64) == count
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    decoded = decoded_frames(tmp_path / "one.mp4")
    assert len(decoded) == count
    for planes, frame in zip(decoded, frames, strict=True):
        assert np.abs(_from_709(planes, 64) - frame).mean() < 12


def test_each_segment_stands_alone(tmp_path: Path) -> None:
    """One key frame, at its start, and no frame that refers beyond it."""
    encode(chunks(moving(60)), tmp_path / "a.mp4", FPS, 64, 64)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [packet.is_keyframe for packet in container.demux() if packet.size]
    assert keys == [True] + [False] * 59


def test_rectangles_and_slices_of_frames(tmp_path: Path) -> None:
    wide = moving(4, 128)[:, :66, ::2]  # not contiguous, sides that are no multiple of 16
    encode(iter([wide]), tmp_path / "a.mp4", FPS, 64, 66)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (64, 66)


def test_nothing_is_left_of_a_failure(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield moving(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode(broken(), tmp_path / "a.mp4", FPS, 64, 64)
    with pytest.raises(TalkheadError, match="no frames") as none:
        encode(iter([]), tmp_path / "a.mp4", FPS, 64, 64)
    assert none.value.code == Code.GENERATION
    with pytest.raises(TalkheadError) as odd:
        encode(chunks(moving(3, 65)), tmp_path / "a.mp4", FPS, 65, 65)
    assert odd.value.code == Code.ENCODE
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TalkheadError, match="cannot write") as missing:
        encode(chunks(moving(3)), tmp_path / "none" / "a.mp4", FPS, 64, 64)
    assert missing.value.code == Code.ENCODE


def test_the_settings_make_a_digest() -> None:
    assert json.loads(json.dumps(asdict(ENCODING)))["crf"] == 19


def test_pump_hands_on_everything_in_order() -> None:
    assert pump(iter(range(100)), list) == list(range(100))
    assert pump([], list) == []
    assert not _left()


def test_pump_makes_while_it_consumes_and_never_runs_far_ahead() -> None:
    made: list[int] = []
    ahead: list[int] = []

    def make() -> Iterator[int]:
        for number in range(8):
            made.append(number)
            yield number

    def consume(items: Iterator[int]) -> None:
        for number in items:
            time.sleep(0.02)
            ahead.append(len(made) - number - 1)

    pump(make(), consume, depth=2)
    assert max(ahead) <= 4  # two wait, one is being handed over, one is consumed
    assert max(ahead) >= 2


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
def test_pump_raises_what_the_maker_raised_after_what_was_made(
    error: type[BaseException],
) -> None:
    consumed: list[int] = []
    ended: list[type[BaseException]] = []

    def make() -> Iterator[int]:
        yield from range(3)
        raise error

    def consume(items: Iterator[int]) -> None:
        try:
            for number in items:
                time.sleep(0.01)
                consumed.append(number)
        except Abandoned as abandoned:
            ended.append(type(abandoned))
            raise

    with pytest.raises(error):
        pump(make(), consume)
    assert consumed == [0, 1, 2]
    assert ended == [Abandoned]
    assert not _left()


def test_pump_raises_what_the_consumer_raised_and_closes_the_maker() -> None:
    closed: list[bool] = []
    made: list[int] = []

    def make() -> Iterator[int]:
        try:
            for number in range(10_000):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    def consume(items: Iterator[int]) -> None:
        next(items)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        pump(make(), consume)
    assert closed == [True]
    assert len(made) < 10
    assert not _left()


def test_pump_ends_where_the_consumer_wants_no_more() -> None:
    assert pump(iter(range(10_000)), next) == 0
    assert not _left()


def test_an_abandoned_segment_leaves_no_file(tmp_path: Path) -> None:
    def make() -> Iterator[np.ndarray]:
        yield moving(3)
        raise KeyboardInterrupt

    def consume(items: Iterator[np.ndarray]) -> int:
        return encode(items, tmp_path / "a.mp4", FPS, 64, 64)

    with pytest.raises(KeyboardInterrupt):
        pump(make(), consume)
    assert list(tmp_path.iterdir()) == []
