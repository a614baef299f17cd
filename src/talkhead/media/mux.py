"""Segments and a soundtrack to the finished MP4, without encoding anything again."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from PIL import Image

from talkhead.engines import Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media.files import whole_file
from talkhead.media.mark import DigitalSource, append_xmp, xmp

REORDER = 2  # frames: by how much x264 sends a picture ahead of its turn, with its pyramid
SOUND_RATE = 48_000
FINEST_CLOCK = 2**20  # ticks per second; no common clock of picture and sound is finer


@dataclass(frozen=True, slots=True)
class Tags:
    """What a finished file says about itself."""

    software: str
    source: DigitalSource
    title: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def join(
    segments: Sequence[Path],
    sound: Path | None,
    fps: Fraction,
    out: Path,
    tags: Tags,
    *,
    until: Fraction | None = None,
) -> int:
    """Write segments one after the other, and the soundtrack, to an MP4; return its frame count.

    Frames come at a constant rate from 0 on. The index comes first, so that the file plays while
    it loads. It is marked as made by a machine, in its metadata and in XMP. `until` ends the sound
    after so many seconds.
    """
    with whole_file(out) as partial:
        with av.open(str(partial), "w", format="mp4", options=_options(fps)) as container:
            container.metadata.update(_metadata(tags))
            frames = _remux(segments, (sound, until), fps, container)
        append_xmp(partial, xmp(tags.source, tags.software))
    return frames


def write_thumbnail(picture: Picture, out: Path, tags: Tags) -> None:
    """Write a picture as JPEG, with the mark in XMP."""
    with whole_file(out) as partial:
        packet = xmp(tags.source, tags.software)
        Image.fromarray(picture).save(partial, "JPEG", quality=90, subsampling=0, xmp=packet)


def _options(fps: Fraction) -> dict[str, str]:
    """Return the muxer's options; the file's clock has to count frames and samples exactly."""
    clock = lcm(SOUND_RATE, fps.numerator)
    return {
        "movflags": "faststart+use_metadata_tags",
        "movie_timescale": str(clock if clock <= FINEST_CLOCK else SOUND_RATE),
    }


def _metadata(tags: Tags) -> dict[str, str]:
    return {
        "title": tags.title,
        "comment": f"AI-generated: {tags.source.meaning}",
        "digital_source_type": tags.source.uri,
        "software": tags.software,
        **tags.extra,
    }


def _remux(
    segments: Sequence[Path],
    heard: tuple[Path | None, Fraction | None],
    fps: Fraction,
    container: OutputContainer,
) -> int:
    sound, until = heard
    with av.open(str(segments[0])) as first:
        template = first.streams.video[0]
        header = template.codec_context.extradata or b""
        video = container.add_stream_from_template(template)
    video.time_base = 1 / fps
    pictures = _pictures(segments, header, fps)
    if sound is None:
        return _mux(pictures, video, container)
    with av.open(str(sound)) as source:
        track = source.streams.audio[0]
        audio = container.add_stream_from_template(track)
        return _mux(
            heapq.merge(pictures, _sound(source, audio, until), key=_time), video, container
        )


def _mux(
    packets: Iterator["av.Packet[Any]"], video: av.VideoStream, container: OutputContainer
) -> int:
    frames = 0
    for packet in packets:
        if not isinstance(packet.stream, av.AudioStream):
            packet.stream = video
            frames += 1
        container.mux(packet)
    return frames


def _pictures(segments: Sequence[Path], header: bytes, fps: Fraction) -> Iterator["av.Packet[Any]"]:
    """Yield the pictures of all segments on one clock that counts frames."""
    begin = 0
    for segment in segments:
        count = 0
        with av.open(str(segment)) as container:
            stream = container.streams.video[0]
            if stream.codec_context.extradata != header:
                raise TalkheadError(
                    Code.ENCODE,
                    f"{segment.name} was encoded with other settings than the first segment",
                    "start the job again without --resume",
                )
            for packet in container.demux(stream):
                if packet.size:
                    yield _placed(packet, begin, begin + count, fps)
                    count += 1
        begin += count


def _placed(packet: "av.Packet[Any]", begin: int, sent: int, fps: Fraction) -> "av.Packet[Any]":
    """Give a picture its place: shown from the segment's begin on, sent in coded order."""
    packet.pts = begin + round((packet.pts or 0) * packet.time_base * fps)
    packet.dts = sent - REORDER
    packet.duration = 1
    packet.time_base = 1 / fps
    return packet


def _sound(
    source: InputContainer, audio: av.AudioStream, until: Fraction | None
) -> Iterator["av.Packet[Any]"]:
    for packet in source.demux(source.streams.audio[0]):
        if packet.size:
            if until is not None and _time(packet) >= until:
                return
            packet.stream = audio
            yield packet


def _time(packet: "av.Packet[Any]") -> Fraction:
    return (packet.dts or 0) * packet.time_base
