"""Fragmented MP4 for streaming: one part for each segment, with the sound of the same span.

Nothing is encoded again: a part holds the segment's own pictures and the soundtrack's own packets.
Both lie on clocks that count whole frames and samples from the start of the video, so that parts
follow one another without a gap, however many there are. A part depends on nothing but the two
files and the segment's place, so that another run makes the same bytes.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from talkhead.errors import Code, TalkheadError
from talkhead.media.boxes import HEADER, box, full_box, inside
from talkhead.media.facts import boxes
from talkhead.media.mux import REORDER

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

VIDEO, AUDIO = 1, 2  # numbers of the tracks
FINE = 1000  # ticks of a frame, where the frame rate alone makes a coarse clock
SYNC, DEPENDENT = 0x02000000, 0x01010000  # flags of a sample
BASE_IS_MOOF = 0x020000
OFFSET, DURATIONS, SIZES, FLAGS, SHIFTS = 0x1, 0x100, 0x200, 0x400, 0x800  # what a `trun` holds
UNITY = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)  # a picture as it is


@dataclass(frozen=True, slots=True)
class Sample:
    """A coded picture or a packet of sound; times are ticks of the track's clock."""

    data: bytes
    duration: int
    shift: int = 0  # from the time of decoding to that of showing
    sync: bool = True


def clock(fps: Fraction) -> tuple[int, int]:
    """Return ticks of a second and of a frame, both whole."""
    scale = FINE if fps.numerator < FINE else 1
    return fps.numerator * scale, fps.denominator * scale


def init_segment(video: Path, sound: Path, fps: Fraction) -> bytes:
    """Return what a player needs before any part: the tracks, taken from a segment and the sound.

    Edit lists set both to 0: the pictures are shown REORDER frames after they are decoded, and the
    sound begins with the encoder's run-in, which is not to be heard.
    """
    pictures, heard = _described(video), _described(sound)
    with av.open(str(sound)) as container:
        track = container.streams.audio[0]
        rate, run_in = track.rate, -_first(track, container)
    size = inside(pictures, b"tkhd")[-8:]  # width and height, 16.16
    scale, tick = clock(fps)
    return box(b"ftyp", b"iso6", bytes(4), b"iso6mp41") + box(
        b"moov",
        full_box(b"mvhd", 0, 0, _movie_header()),
        _track(VIDEO, scale, REORDER * tick, size, bytes(2), pictures),
        _track(AUDIO, rate, run_in, bytes(8), b"\x01\x00", heard),
        box(b"mvex", *(_defaults(number) for number in (VIDEO, AUDIO))),
    )


def media_part(
    video: Path, sound: Path, fps: Fraction, number: int, begin: int, frames: int
) -> bytes:
    """Return segment `number` as a part: `frames` pictures from frame `begin` on, and their sound.

    Raises E_FFMPEG where the segment holds another number of frames.
    """
    seen = list(_pictures(video, fps))
    if len(seen) != frames:
        raise TalkheadError(
            Code.ENCODE,
            f"{video.name} holds {len(seen)} frames where {frames} were committed",
            "please report this",
        )
    from_s, to_s = begin / fps, (begin + frames) / fps
    at, heard = _heard(sound, from_s if begin else None, to_s)
    return _fragment(number, (begin * clock(fps)[1], seen), (at, heard))


def _pictures(video: Path, fps: Fraction) -> Iterator[Sample]:
    """Yield the pictures of a segment in coded order, decoded one frame after the other."""
    tick = clock(fps)[1]
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        coded = (packet for packet in container.demux(stream) if packet.size)
        for place, packet in enumerate(coded):
            shown = round((packet.pts or 0) * packet.time_base * fps)
            shift = (shown - place + REORDER) * tick
            yield Sample(bytes(packet), tick, shift, packet.is_keyframe)


def _heard(sound: Path, begin: Fraction | None, end: Fraction) -> tuple[int, list[Sample]]:
    """Return when the first packet of a span is decoded, and the packets that begin in the span.

    Without `begin` the span holds the encoder's run-in too.
    """
    found: list[Sample] = []
    at = 0
    with av.open(str(sound)) as container:
        track = container.streams.audio[0]
        first, unit = _first(track, container), 1 / (track.time_base or Fraction(1, track.rate))
        container.seek(first if begin is None else int(begin * unit), stream=track)
        for packet in container.demux(track):
            if not packet.size or packet.pts is None:
                continue
            if packet.pts >= end * unit:
                break
            if begin is None or packet.pts >= begin * unit:
                at = at if found else packet.pts - first
                found.append(Sample(bytes(packet), packet.duration or 0))
    return at, found


def _first(track: "AudioStream", container: Any) -> int:
    """Return the time of a soundtrack's first packet, at or before 0; the container is at it."""
    packet = next(packet for packet in container.demux(track) if packet.size)
    return int(packet.pts or 0)


def _fragment(
    number: int, pictures: tuple[int, Sequence[Sample]], sound: tuple[int, Sequence[Sample]]
) -> bytes:
    """Return a part: its type, `moof`, and `mdat` with the pictures first."""
    runs = ((VIDEO, *pictures), (AUDIO, *sound))

    def head(begin: int) -> bytes:
        tracks, at = [], begin
        for track, time, samples in runs:
            tracks.append(_run(track, time, samples, at))
            at += sum(len(sample.data) for sample in samples)
        return box(b"moof", full_box(b"mfhd", 0, 0, struct.pack(">I", number + 1)), *tracks)

    begin = len(head(0)) + len(box(b"mdat"))  # where the data lies, counted from the `moof`
    data = (sample.data for _, _, samples in runs for sample in samples)
    return box(b"styp", b"msdh", bytes(4), b"msdhmsix") + head(begin) + box(b"mdat", *data)


def _run(track: int, time: int, samples: Sequence[Sample], at: int) -> bytes:
    """Return a track's share of a `moof`; its data begins `at` bytes after the box's start."""
    rows = b"".join(
        struct.pack(
            ">IIIi", item.duration, len(item.data), SYNC if item.sync else DEPENDENT, item.shift
        )
        for item in samples
    )
    held = OFFSET | DURATIONS | SIZES | FLAGS | SHIFTS
    return box(
        b"traf",
        full_box(b"tfhd", 0, BASE_IS_MOOF, struct.pack(">I", track)),
        full_box(b"tfdt", 1, 0, struct.pack(">Q", time)),
        full_box(b"trun", 1, held, struct.pack(">Ii", len(samples), at), rows),
    )


def _movie_header() -> bytes:
    """Return the content of `mvhd`: a clock of milliseconds, and no length of its own."""
    times = struct.pack(">IIII", 0, 0, 1000, 0)
    return times + struct.pack(">IH10x", 0x10000, 0x100) + UNITY + bytes(24) + struct.pack(">I", 3)


def _track(number: int, rate: int, begin: int, size: bytes, volume: bytes, source: bytes) -> bytes:
    """Return a track without samples; what it holds is described as in `source`, a `trak`.

    What is at tick `begin` of its clock is shown or heard first.
    """
    kind, coding = inside(source, b"mdia", b"hdlr"), inside(source, b"mdia", b"minf")
    media = b"vmhd" if number == VIDEO else b"smhd"
    header = struct.pack(">5I8x", 0, 0, number, 0, 0) + struct.pack(">hh", 0, 0) + volume + bytes(2)
    table = box(
        b"stbl",
        box(b"stsd", inside(coding, b"stbl", b"stsd")),
        *(full_box(name, 0, 0, bytes(4)) for name in (b"stts", b"stsc")),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    return box(
        b"trak",
        full_box(b"tkhd", 0, 3, header, UNITY, size),  # enabled, and part of what is shown
        box(b"edts", full_box(b"elst", 1, 0, struct.pack(">IQqI", 1, 0, begin, 0x10000))),
        box(
            b"mdia",
            full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, rate, 0, 0x55C4, 0)),
            box(b"hdlr", kind),
            box(b"minf", box(media, inside(coding, media)), box(b"dinf", _own_file()), table),
        ),
    )


def _described(file: Path) -> bytes:
    """Return the `trak` of a file's first track."""
    at, size = next((at, size) for kind, at, size in boxes(file) if kind == b"moov")
    with file.open("rb") as source:
        source.seek(at + HEADER)
        return inside(source.read(size - HEADER), b"trak")


def _own_file() -> bytes:
    """Return a `dref` that says that the data lies in the same file."""
    return full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1))


def _defaults(number: int) -> bytes:
    return full_box(b"trex", 0, 0, struct.pack(">5I", number, 1, 0, 0, 0))
