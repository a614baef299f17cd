"""Pictures of a video at given times: decoded in one pass, upright, RGB of 8 bits."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from talkhead.engines import Frames, Picture, Tick
from talkhead.errors import Code, TalkheadError
from talkhead.media.container import (
    MAX_PIXELS,
    open_media,
    packets,
    seconds_of,
    start_of,
    video_stream,
)
from talkhead.media.decode import MIN_SIDE
from talkhead.media.files import whole_file
from talkhead.media.fit import Fitted
from talkhead.media.sniff import bad_input

USUAL_RATE = Fraction(25)  # where a file says nothing
UNSPECIFIED = (0, 2, 3)  # matrices of ITU-T H.273 that say nothing of YUV; 3 is reserved
LARGEST_SD = 720 * 576  # what is larger and names no matrix was made with BT.709
HDR = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}
ACCURATE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
WIDEST_PIXEL = 4  # of pixels that are not square; more is damage
SHORT = 0.5  # seconds less than the header promises from which on a file counts as cut off


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What is known of a video's picture without decoding it."""

    width: int  # as it is stored
    height: int
    fps: Fraction  # the mean, where it varies
    seconds: float | None  # None where the header does not say


class _Shown(NamedTuple):
    time: float  # seconds from the start of the picture
    frame: av.VideoFrame


def probe_clip(path: Path, field: str = "") -> ClipFacts:
    """Return the facts of a video's picture. Raises E_INPUT_VALIDATION for what has none."""
    with open_media(path, field) as container:
        stream = _track(container, path, field)
        context = stream.codec_context
        return ClipFacts(context.width, context.height, _rate(stream), _seconds(container, stream))


def first_picture(path: Path, field: str = "") -> Picture:
    """Return the picture that a video begins with, upright RGB. Raises as `read_moments` does."""
    with closing(read_moments(path, (0.0,), field)) as pictures:
        picture = next(pictures)
    if min(picture.shape[:2]) < MIN_SIDE:
        height, width = picture.shape[:2]
        raise bad_input(
            field,
            f"{path.name} is {width}x{height}, too small for a portrait",
            "use a video of at least 256 pixels a side",
        )
    return picture


def read_moments(
    path: Path,
    moments: Sequence[float],
    field: str = "",
    tick: Tick = lambda _done, _total: None,
    warnings: list[str] | None = None,
) -> Generator[Picture, None, None]:
    """Yield the picture nearest to each moment, in seconds from the start of the picture, rising.

    Past the end that is the last picture. A picture that is shown again is the same array. Damaged
    frames are left out and warned of. Raises E_INPUT_VALIDATION where nothing decodes, or where
    the size changes midway, and E_MEDIA_UNSAFE for a picture past the limit.
    """
    told = [] if warnings is None else warnings
    with open_media(path, field) as container:
        stream = _track(container, path, field)
        source = _Reading(path, field, _pixel(stream))
        frames = _timed(_decoded(container, stream, source), stream)
        earlier, later = next(frames), next(frames, None)
        picture, of = source.picture(earlier.frame), earlier
        for number, moment in enumerate(moments):
            tick(number, len(moments))
            while later is not None and later.time <= moment:
                earlier, later = later, next(frames, None)
                tick(number, len(moments))
            near = earlier
            if later is not None and later.time - moment < moment - earlier.time:
                near = later
            if near is not of:
                picture, of = source.picture(near.frame), near
            yield picture
        if source.damaged:
            told.append(f"{path.name} is damaged: {source.damaged} of its frames were left out")
        known = _seconds(container, stream) or 0.0
        if later is None and _end(earlier) < min(moments[-1], known) - SHORT:
            told.append(f"{path.name} is cut off: its picture ends after {_end(earlier):.1f} s")
        tick(len(moments), len(moments))


def write_pictures(pictures: Iterator[Picture], count: int, fitted: Fitted, out: Path) -> Frames:
    """Write `count` pictures to the NumPy file `out`, each fitted as the first one was.

    They are returned as a memory map of that file, uint8 (n, height, width, 3), for reading.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *fitted.picture.shape)}
    last, shown = None, fitted.picture
    with whole_file(out) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for picture in pictures:
            if picture is not last:
                shown, last = fitted.again(picture), picture
            file.write(np.ascontiguousarray(shown).data)
    found: Frames = np.load(out, mmap_mode="r", allow_pickle=False)
    return found


class _Reading:
    """One video whose frames become pictures of one size."""

    def __init__(self, path: Path, field: str, pixel: Fraction) -> None:
        self.damaged = 0  # packets that did not decode
        self._path, self._field, self._pixel = path, field, pixel
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def check(self, frame: av.VideoFrame) -> None:
        """Raise for a frame of another size than the first one's; headers promise nothing."""
        if frame.width * frame.height > MAX_PIXELS:
            raise self._too_large(frame.width, frame.height)
        self._size = self._size or (frame.width, frame.height)
        if self._size != (frame.width, frame.height):
            was, now = (
                f"{width}x{height}" for width, height in (self._size, (frame.width, frame.height))
            )
            raise bad_input(
                self._field,
                f"{self._path.name} changes its size from {was} to {now}",
                "export it again at one size",
            )

    def picture(self, frame: av.VideoFrame) -> Picture:
        """Return a frame upright, in square pixels, as RGB with BT.709's colours."""
        width = round(frame.width * max(self._pixel, Fraction(1)))
        height = round(frame.height / min(self._pixel, Fraction(1)))
        if width * height > MAX_PIXELS:
            raise self._too_large(width, height)
        bright = frame.color_trc in HDR  # setting this conversion up takes libav some seconds
        try:
            converted = self._reformatter.reformat(
                frame,
                width=width,
                height=height,
                format="rgb24",
                src_colorspace=_matrix(frame),
                dst_color_range=ColorRange.JPEG,
                interpolation=ACCURATE,
                dst_color_trc=ColorTrc.BT709 if bright else None,
                dst_color_primaries=ColorPrimaries.BT709 if bright else None,
            )
        except (OSError, av.FFmpegError) as error:
            raise bad_input(
                self._field,
                f"{self._path.name} has colours that are not read ({error.strerror})",
                "export it as an ordinary MP4 in BT.709",
            ) from error
        turns = round(frame.rotation / 90) % 4  # phones film sideways and say so
        return np.ascontiguousarray(np.rot90(converted.to_ndarray(), turns))

    def nothing(self) -> TalkheadError:
        """Return the error for a video of which no frame decodes."""
        why = f"none of its {self.damaged} frames decodes" if self.damaged else "it has no frames"
        return bad_input(self._field, f"{self._path.name}: {why}", "export the video again")

    def _too_large(self, width: int, height: int) -> TalkheadError:
        return bad_input(
            self._field,
            f"{self._path.name} holds a picture of {width}x{height}",
            "scale it to 3840x2160 or less",
            Code.MEDIA,
        )


def _track(container: InputContainer, path: Path, field: str) -> av.VideoStream:
    stream = video_stream(container)
    if stream is None:
        raise bad_input(
            field, f"{path.name} has no picture that can be decoded", "give a picture or a video"
        )
    stream.thread_type = "AUTO"
    # What the header says was checked; this holds for what the frames themselves say
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _rate(stream: av.VideoStream) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate and rate > 0 else USUAL_RATE


def _seconds(container: InputContainer, stream: av.VideoStream) -> float | None:
    known = seconds_of(stream)
    if known is None and container.duration:
        return container.duration / av.time_base
    return known


def _pixel(stream: av.VideoStream) -> Fraction:
    """Return how wide a pixel is for its height; 1 where the file says nothing sensible."""
    ratio = stream.sample_aspect_ratio
    if not ratio or not Fraction(1, WIDEST_PIXEL) <= ratio <= WIDEST_PIXEL:
        return Fraction(1)
    return Fraction(ratio)


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Return the matrix of a frame that names none; None where it does, or is RGB."""
    if frame.colorspace not in UNSPECIFIED or frame.format.is_rgb:
        return None
    large = frame.width * frame.height > LARGEST_SD
    return Colorspace.ITU709 if large else Colorspace.ITU601


def _decoded(
    container: InputContainer, stream: av.VideoStream, source: _Reading
) -> Iterator[av.VideoFrame]:
    """Yield the frames that decode, in the order of their display; count those that do not."""
    shown = False
    for packet in packets(container, stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            source.damaged += 1
            continue
        for frame in frames:
            source.check(frame)
            shown = True
            yield frame
    if not shown:
        raise source.nothing()


def _end(shown: _Shown) -> float:
    frame = shown.frame
    return shown.time + float((frame.duration or 0) * (frame.time_base or 0))


def _timed(frames: Iterator[av.VideoFrame], stream: av.VideoStream) -> Iterator[_Shown]:
    """Yield frames with the seconds at which they are shown; the clock never runs back."""
    step = float(1 / _rate(stream))
    start = start_of(stream) if stream.start_time is not None else None
    last = -step
    for frame in frames:
        time = last + step
        if frame.time is not None:
            start = frame.time if start is None else start
            time = max(frame.time - start, last)
        last = time
        yield _Shown(time, frame)
