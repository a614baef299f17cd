"""Frames to encoded segments, on a thread of its own while the next frames are made."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event
from typing import Generic, Literal, TypeVar

import av
from av.container import OutputContainer
from av.video.reformatter import (
    ColorPrimaries,
    ColorRange,
    Colorspace,
    ColorTrc,
    Interpolation,
    VideoReformatter,
)

from talkhead.engines import Frames, Picture
from talkhead.errors import Code, TalkheadError
from talkhead.media.files import whole_file

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Encoding:
    """All that decides how frames become bytes; its digest is part of a job's identity."""

    codec: Literal["libx264"] = "libx264"
    preset: str = "veryfast"
    crf: int = 19
    threads: int = 2
    # Same bytes on any x86 CPU, and segments that can be joined
    x264_params: str = "cpu-independent=1:scenecut=0:open-gop=0:sliced-threads=0"
    pixel_format: str = "yuv420p"
    color: str = "bt709 limited, area chroma"
    library: str = av.__version__  # brings its own x264


ENCODING = Encoding()

# Faster than libswscale's default and nearer to the source, in chroma too
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP


def encode(
    chunks: Iterable[Frames],
    out: Path,
    fps: Fraction,
    width: int,
    height: int,
    encoding: Encoding = ENCODING,
) -> int:
    """Write chunks of frames (n, height, width, 3) to a video of its own; return the frame count.

    Both sides are even. Nothing is left under `out` on any failure.
    """
    with whole_file(out) as partial:
        with av.open(str(partial), "w", format="mp4") as container:
            count = _encode(chunks, container, _stream(container, fps, width, height, encoding))
        if not count:
            raise TalkheadError(Code.GENERATION, "the engine made no frames", "please report this")
    return count


def pump(items: Iterable[T], consume: Callable[[Iterator[T]], R], depth: int = 2) -> R:
    """Feed items to `consume` on a thread, at most `depth` ahead; return what it returns.

    What was made before `items` failed or was interrupted is still consumed; then `consume` sees
    Abandoned, and the failure is raised here. A failure of `consume` is raised here at once. No
    thread is left behind.
    """
    lane: _Lane[T] = _Lane(depth)
    pool = ThreadPoolExecutor(1, "encode")
    consumer = pool.submit(consume, lane.take())
    consumer.add_done_callback(lambda _: lane.closed.set())
    try:
        _feed(items, lane)
    except BaseException:
        lane.end(whole=False)
        raise
    finally:
        try:
            wait([consumer])
        finally:  # a second interrupt makes the consumer drop what waits
            lane.stopped.set()
            pool.shutdown()
    return consumer.result()


class Abandoned(Exception):  # noqa: N818  an end, not an error
    """Tells a consumer that no more items will come although they did not end."""


class _Lane(Generic[T]):
    """Items on their way from one thread to another, and the end of either side."""

    def __init__(self, depth: int) -> None:
        self.closed = Event()  # the consumer has ended
        self.stopped = Event()  # the producer wants the consumer to end at once
        self._items: Queue[T | _End] = Queue(depth)

    def put(self, item: "T | _End") -> bool:
        """Wait for room; return False where the consumer has ended instead."""
        while not self.closed.is_set():
            with suppress(Full):
                self._items.put(item, timeout=0.1)
                return True
        return False

    def end(self, whole: bool) -> None:
        """Say that no more items come, behind those that wait."""
        self.put(_End(whole))

    def take(self) -> Generator[T, None, None]:
        """Yield items until their end."""
        while not self.stopped.is_set():
            with suppress(Empty):
                item = self._items.get(timeout=0.1)
                if not isinstance(item, _End):
                    yield item
                elif item.whole:
                    return
                else:
                    break
        raise Abandoned


@dataclass(frozen=True, slots=True)
class _End:
    whole: bool  # every item came


def _feed(items: Iterable[T], lane: _Lane[T]) -> None:
    iterator = iter(items)
    try:
        for item in iterator:
            if not lane.put(item):
                return  # the consumer failed, or wants no more
        lane.end(whole=True)
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def _stream(
    container: OutputContainer, fps: Fraction, width: int, height: int, encoding: Encoding
) -> av.VideoStream:
    stream = container.add_stream(
        encoding.codec,
        rate=fps,
        options={
            "preset": encoding.preset,
            "crf": str(encoding.crf),
            "x264-params": encoding.x264_params,
        },
    )
    stream.width, stream.height, stream.pix_fmt = width, height, encoding.pixel_format
    context = stream.codec_context
    context.thread_count = encoding.threads
    context.time_base = 1 / fps
    context.color_range = ColorRange.MPEG
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    return stream


def _encode(chunks: Iterable[Frames], container: OutputContainer, stream: av.VideoStream) -> int:
    reformatter = VideoReformatter()
    count = 0
    for chunk in chunks:
        for picture in chunk:
            frame = _to_yuv(picture, reformatter, stream.pix_fmt or "")
            frame.pts = count
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
            count += 1
    if count:
        container.mux(stream.encode(None))
    return count


def _to_yuv(
    picture: Picture,
    reformatter: VideoReformatter,
    pixel_format: str,
) -> av.VideoFrame:
    """Convert RGB to BT.709 with limited range."""
    return reformatter.reformat(
        av.VideoFrame.from_ndarray(picture, "rgb24"),
        format=pixel_format,
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SCALING,
    )
