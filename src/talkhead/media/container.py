"""Media files opened as what they are and nothing else, within limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
from av.container import InputContainer
from av.stream import Disposition

from talkhead.errors import TalkheadError
from talkhead.media.sniff import Kind, bad_input, sniff

S = TypeVar("S", av.VideoStream, av.AudioStream)

MAX_STREAMS = 16
MAX_PIXELS = 32_000_000
MAX_FPS = 240
MAX_SECONDS = 4 * 3600


@contextmanager
def open_media(path: Path, field: str = "") -> Iterator[InputContainer]:
    """Open a recording or a video by its content, and only through the demuxer for that content.

    What it refers to outside itself is never followed. Raises E_INPUT_VALIDATION for pictures,
    damaged files and those past the limits.
    """
    kind = sniff(path, field)
    if kind.family == "image":
        raise bad_input(field, f"{path.name} is a picture ({kind.name})", "give sound or a video")
    try:
        # Resolved: libav takes a relative name such as "concat:a" for a protocol.
        container = av.open(
            str(path.resolve()),
            format=kind.reader,
            options={"format_whitelist": kind.reader, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise damaged(path, field, kind, error) from error
    with container:
        _check_limits(container, path, field)
        yield container


def video_stream(container: InputContainer) -> av.VideoStream | None:
    """Return the first moving picture that can be decoded; cover art is none."""
    for stream in container.streams.video:
        if decodes(stream) and not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def packets(container: InputContainer, stream: S) -> Iterator["av.Packet[S]"]:
    """Yield a stream's packets and the empty one that drains the decoder, up to the first break."""
    found = container.demux(stream)
    while True:
        try:
            packet = next(found, None)
        except av.FFmpegError:  # the file ends in the middle of something
            return
        if packet is None:
            return
        yield packet


def decodes(stream: av.VideoStream | av.AudioStream) -> bool:
    """Return whether there is a decoder; without one PyAV has no context, whatever it declares."""
    context: object = stream.codec_context
    return context is not None


def seconds_of(stream: av.VideoStream | av.AudioStream) -> float | None:
    """Return a stream's length as its header has it, None where the header has none."""
    if stream.duration is None or stream.time_base is None or stream.duration <= 0:
        return None
    return float(stream.duration * stream.time_base)


def start_of(stream: av.VideoStream | av.AudioStream) -> float:
    """Return when a stream starts on its container's clock, in seconds."""
    if stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)


def damaged(path: Path, field: str, kind: Kind, error: av.FFmpegError) -> TalkheadError:
    """Return the error for a file that starts like its kind but cannot be read on."""
    return bad_input(
        field,
        f"{path.name} starts like {kind.name} but cannot be read ({error.strerror})",
        "it may be cut off or damaged; export or download it again",
    )


def too_long(path: Path, field: str) -> TalkheadError:
    """Return the error for a file past MAX_SECONDS."""
    hours = MAX_SECONDS // 3600
    return bad_input(field, f"{path.name} is longer than {hours} hours", "cut it into parts")


def _check_limits(container: InputContainer, path: Path, field: str) -> None:
    if len(container.streams) > MAX_STREAMS:
        raise bad_input(field, f"{path.name} has {len(container.streams)} tracks", "keep one")
    for stream in filter(decodes, container.streams.video):
        if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
            size = f"{stream.codec_context.width}x{stream.codec_context.height}"
            raise bad_input(field, f"{path.name} is {size}", "scale it to 3840x2160 or less")
        if (stream.average_rate or Fraction(0)) > MAX_FPS and video_stream(container) is stream:
            rate = float(stream.average_rate or 0)
            raise bad_input(field, f"{path.name} has {rate:.0f} fps", f"at most {MAX_FPS}")
    if container.duration is not None and container.duration / av.time_base > MAX_SECONDS:
        raise too_long(path, field)
