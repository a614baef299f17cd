"""What a video file is, read from the file: for the check of a job's result and of any video."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from talkhead.media.container import decodes, open_media, seconds_of, start_of, video_stream
from talkhead.media.sniff import bad_input

# Numbers of ITU-T H.273, which mean the same system as matrix, primaries and transfer
SYSTEMS = {
    1: "bt709",
    2: "unspecified",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
    13: "srgb",
    16: "pq",
    18: "hlg",
}
RANGES = {1: "limited", 2: "full"}


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """A video file's properties; sound is None where there is none."""

    codec: str
    width: int  # as it is stored
    height: int
    fps: Fraction
    frames: int
    seconds: float  # of the picture
    start: float  # of the picture, on the container's clock
    pixel_format: str
    matrix: str  # colours: "unspecified" where the file does not say
    primaries: str
    transfer: str
    color_range: str
    audio_codec: str | None
    audio_seconds: float | None
    audio_rate: int | None
    audio_channels: int | None
    audio_start: float | None  # after the picture's start; negative is early
    faststart: bool  # an MP4 or MOV whose index comes before its data
    bytes: int
    title: str
    digital_source_type: str  # IPTC's term for how it was made, or ""


def video_facts(path: Path, field: str = "") -> VideoFacts:
    """Return the facts of a video; decodes nothing. Raises E_INPUT_VALIDATION for what is none."""
    with open_media(path, field) as container:
        stream = video_stream(container)
        if stream is None:
            raise bad_input(
                field, f"{path.name} has no picture that can be decoded", "give a video file"
            )
        audio = next(filter(decodes, container.streams.audio), None)
        context = stream.codec_context
        frames, seconds = _length(container, stream)
        return VideoFacts(
            codec=context.name,
            width=context.width,
            height=context.height,
            fps=Fraction(stream.average_rate or stream.guessed_rate or 0),
            frames=frames,
            seconds=seconds,
            start=start_of(stream),
            pixel_format=context.pix_fmt or "",
            matrix=_named(context.colorspace),
            primaries=_named(context.color_primaries),
            transfer=_named(context.color_trc),
            color_range=RANGES.get(context.color_range, "unspecified"),
            audio_codec=audio.codec_context.name if audio else None,
            audio_seconds=_audio_seconds(container, audio) if audio else None,
            audio_rate=audio.rate if audio else None,
            audio_channels=audio.channels if audio else None,
            audio_start=start_of(audio) - start_of(stream) if audio else None,
            faststart=_is_faststart(path),
            bytes=path.stat().st_size,
            title=container.metadata.get("title", ""),
            digital_source_type=container.metadata.get("digital_source_type", ""),
        )


def boxes(path: Path) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, offset, size) of the boxes at the top of an ISO base media file."""
    with path.open("rb") as file:
        end = path.stat().st_size
        at = 0
        while at + 8 <= end:
            size, kind = _box(file, at, end)
            if size < 8:
                return
            yield kind, at, size
            at += size


def _box(file: BinaryIO, at: int, end: int) -> tuple[int, bytes]:
    file.seek(at)
    head = file.read(16)
    size = int.from_bytes(head[:4], "big")
    if size == 1:  # the size follows in 64 bits
        size = int.from_bytes(head[8:16], "big")
    return size or end - at, head[4:8]


def _is_faststart(path: Path) -> bool:
    with path.open("rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return False
    kinds = [kind for kind, _, _ in boxes(path)]
    return b"moov" in kinds and b"mdat" in kinds and kinds.index(b"moov") < kinds.index(b"mdat")


def _length(container: InputContainer, stream: av.VideoStream) -> tuple[int, float]:
    """Return frames and seconds: from the header, or counted where it does not say."""
    known = seconds_of(stream)
    if stream.frames and known is not None:
        return stream.frames, known
    frames, first, last = 0, None, 0
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            frames += 1
            first = packet.pts if first is None else min(first, packet.pts)
            last = max(last, packet.pts + (packet.duration or 0))
    return frames, known or float((last - (first or 0)) * (stream.time_base or 0))


def _audio_seconds(container: InputContainer, audio: av.AudioStream) -> float:
    known = seconds_of(audio)
    return (container.duration or 0) / av.time_base if known is None else known


def _named(system: int) -> str:
    return SYSTEMS.get(system, str(system))
