import itertools
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from support.media import chunks, decoded_frames, decoded_sound, moving, tone, write_sound
from talkhead.errors import Code, TalkheadError
from talkhead.media.facts import boxes, video_facts
from talkhead.media.mark import XMP_BOX, DigitalSource
from talkhead.media.mux import Tags, join, write_thumbnail
from talkhead.media.segments import encode
from talkhead.media.soundtrack import Sound, write_soundtrack
from talkhead.media.speech import Part

TAGS = Tags("talkhead 1.2.3", DigitalSource.ANIMATED, "A title — with ümlaut", {"seed": "42"})
RATES = [Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60), Fraction(12)]


def _segments(folder: Path, counts: list[int], fps: Fraction, side: int = 64) -> list[Path]:
    made = []
    for number, count in enumerate(counts):
        path = folder / f"{number}.mp4"
        encode(chunks(moving(count, side, 100 * number)), path, fps, side, side)
        made.append(path)
    return made


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("counts", [[1], [2], [1, 1, 1], [3, 50, 1, 2, 50, 1]])
def test_joining_changes_no_frame(tmp_path: Path, counts: list[int], fps: Fraction) -> None:
    """Decoded frames are those of the segments; times are even and the dts rise."""
    parts = _segments(tmp_path, counts, fps)
    out = tmp_path / "out.mp4"
    assert join(parts, None, fps, out, TAGS) == sum(counts)
    joined = decoded_frames(out)
    apart = [frame for part in parts for frame in decoded_frames(part)]
    assert len(joined) == len(apart) == sum(counts)
    for one, other in zip(joined, apart, strict=True):
        np.testing.assert_array_equal(one, other)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        base = stream.time_base
    assert base is not None
    shown = sorted(packet.pts * base for packet in packets)
    assert shown == [number / fps for number in range(sum(counts))]
    sent = [packet.dts for packet in packets]
    assert all(before < after for before, after in itertools.pairwise(sent))
    facts = video_facts(out)
    assert (facts.fps, facts.frames, facts.start) == (fps, sum(counts), 0)
    assert facts.seconds == pytest.approx(float(sum(counts) / fps), abs=1e-6)
    assert facts.faststart


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    return write_sound(folder / "a.wav", tone(181, 16_000), 16_000)


@pytest.mark.parametrize(
    ("number", "seconds"),
    list(enumerate(np.geomspace(0.3, 180, 20).round(3).tolist())),
)
def test_sound_and_picture_last_equally_long(
    tmp_path: Path, speech: Path, number: int, seconds: float
) -> None:
    fps = RATES[number % 3]
    frames = -int(-seconds * fps // 1)
    still = moving(1, 32)
    repeated: Iterator[np.ndarray] = (still for _ in range(frames))
    encode(repeated, tmp_path / "a.mp4", fps, 32, 32)
    length = float(frames / fps)
    write_soundtrack([Sound(speech, Part(0, seconds))], length, tmp_path / "a.m4a")
    out = tmp_path / "out.mp4"
    join([tmp_path / "a.mp4"], tmp_path / "a.m4a", fps, out, TAGS)
    facts = video_facts(out)
    assert facts.frames == frames
    assert facts.audio_seconds == pytest.approx(facts.seconds, abs=0.0005)
    assert (facts.start, facts.audio_start) == (0, 0)
    assert facts.seconds - seconds < 1 / fps


def test_sound_keeps_its_time_through_the_join(tmp_path: Path) -> None:
    click = np.zeros((1, 16_000), np.float32)
    click[0, 8000:8040] = 0.8
    source = write_sound(tmp_path / "a.wav", click, 16_000)
    write_soundtrack([Sound(source, Part(0, 1))], 1, tmp_path / "a.m4a")
    parts = _segments(tmp_path, [20, 5], Fraction(25))
    join(parts, tmp_path / "a.m4a", Fraction(25), tmp_path / "out.mp4", TAGS)
    energy = decoded_sound(tmp_path / "out.mp4")[0].astype(float) ** 2
    middle = (energy * np.arange(len(energy))).sum() / energy.sum() / 48_000
    assert middle == pytest.approx(0.5 + 20 / 16_000, abs=0.002)


def test_sound_and_picture_lie_close_together_in_the_file(tmp_path: Path, speech: Path) -> None:
    """A player that loads the file in order has both when it needs them."""
    fps = Fraction(25)
    parts = _segments(tmp_path, [50, 50, 50], fps)
    write_soundtrack([Sound(speech, Part(0, 6))], 6, tmp_path / "a.m4a")
    join(parts, tmp_path / "a.m4a", fps, tmp_path / "out.mp4", TAGS)
    apart = 0.0
    clocks = {"video": 0.0, "audio": 0.0}
    with av.open(str(tmp_path / "out.mp4")) as container:
        for packet in container.demux():
            if packet.size and packet.dts is not None:
                clocks[packet.stream.type] = float(packet.dts * packet.time_base)
                apart = max(apart, abs(clocks["video"] - clocks["audio"]))
    assert apart < 0.3


def test_the_mark_reads_back(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    join(_segments(tmp_path, [3], Fraction(25)), None, Fraction(25), out, TAGS)
    with av.open(str(out)) as container:
        tags = dict(container.metadata)
    assert tags["title"] == "A title — with ümlaut"
    assert tags["software"] == "talkhead 1.2.3"
    assert tags["seed"] == "42"
    assert "AI-generated" in tags["comment"]
    uri = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
    assert tags["digital_source_type"] == uri
    assert video_facts(out).digital_source_type == uri
    kinds = [kind for kind, _, _ in boxes(out)]
    assert kinds == [b"ftyp", b"moov", b"free", b"mdat", b"uuid"]
    _, at, size = list(boxes(out))[-1]
    content = out.read_bytes()[at + 8 : at + size]
    assert content[:16] == XMP_BOX.bytes
    assert uri in _source_types(content[16:])


def _source_types(packet: bytes) -> list[str | None]:
    name = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    return [found.text for found in ET.fromstring(packet.decode()).iter(name)]


def test_a_thumbnail_with_the_mark(tmp_path: Path) -> None:
    picture = moving(1, 256)[0]
    write_thumbnail(picture, tmp_path / "a.jpg", TAGS)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == (256, 256)
        assert np.abs(np.asarray(image).astype(int) - picture).mean() < 3
        assert "compositeSynthetic" in _source_types(image.info["xmp"])[0]


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    parts = _segments(tmp_path, [5, 3], Fraction(25))
    source = write_sound(tmp_path / "a.wav", tone(1, 16_000), 16_000)
    write_soundtrack([Sound(source, Part(0, 1))], 8 / 25, tmp_path / "a.m4a")
    for name in ("one.mp4", "two.mp4"):
        join(parts, tmp_path / "a.m4a", Fraction(25), tmp_path / name, TAGS)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_segments_of_another_size_are_refused(tmp_path: Path) -> None:
    small = _segments(tmp_path, [3], Fraction(25))[0].rename(tmp_path / "small.mp4")
    large = _segments(tmp_path, [3], Fraction(25), 96)[0]
    with pytest.raises(TalkheadError, match="other settings") as caught:
        join([small, large], None, Fraction(25), tmp_path / "out.mp4", TAGS)
    assert caught.value.code == Code.ENCODE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.mp4", "small.mp4"]


def test_a_full_disk_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3), np.uint8)
        encode(chunks(noise), tmp_path / "a.mp4", Fraction(25), 128, 128)
        source = write_sound(tmp_path / "a.wav", tone(20, 16_000), 16_000)
        tasks = (
            lambda: encode(chunks(noise), disk / "x.mp4", Fraction(25), 128, 128),
            lambda: join([tmp_path / "a.mp4"], None, Fraction(25), disk / "x.mp4", TAGS),
            lambda: write_thumbnail(noise.reshape(640, 512, 3), disk / "x.jpg", TAGS),
            lambda: write_soundtrack([Sound(source, Part(0, 20))], 20, disk / "x.m4a"),
        )
        for task in tasks:
            with pytest.raises(TalkheadError, match="disk is full") as caught:
                task()
            assert caught.value.code == Code.CAPACITY
            assert str(disk) in caught.value.hint
            assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
