"""Makes sound and video files of many kinds for the tests of media."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def tone(seconds: float, rate: int, channels: int = 1, hertz: float = 440.0) -> NDArray[np.float32]:
    """Return a sine of half of full scale, (channels, n)."""
    times = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * hertz * times)
    return np.repeat(wave[None], channels, 0).astype(np.float32)


def write_sound(
    path: Path,
    samples: NDArray[np.float32],
    rate: int,
    codec: str = "pcm_s16le",
    layout: str = "",
    container: str | None = None,
) -> Path:
    """Write (channels, n) floats with any codec of libav."""
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(samples)]
    with av.open(str(path), "w", format=container) as target:
        options = {"strict": "experimental"} if codec == "vorbis" else {}
        stream = target.add_stream(codec, rate=rate, layout=layout, options=options)
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(wanted, layout, rate)
        for begin in range(0, samples.shape[1], 4096):
            # interleaved: PyAV 18.1 cannot take more than 7 planes
            part = np.ascontiguousarray(samples[:, begin : begin + 4096].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(part, "flt", layout)
            frame.sample_rate, frame.pts = rate, begin
            for ready in resampler.resample(frame):
                target.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            target.mux(stream.encode(ready))
        target.mux(stream.encode(None))
    return path


def moving(frames: int, side: int = 64, first: int = 0) -> NDArray[np.uint8]:
    """Return (frames, side, side, 3): a bar that moves over a gradient, each frame its own."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    base = np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side))], -1)
    out = np.zeros((frames, side, side, 3), np.uint8)
    out[..., :2] = base
    for index in range(frames):
        at = (first + 3 * index) % (side - 8)
        out[index, :, at : at + 8] = (255, 40, (first + index) * 5 % 256)
    return out


def chunks(frames: NDArray[np.uint8], size: int = 7) -> Iterator[NDArray[np.uint8]]:
    """Cut frames into chunks."""
    for begin in range(0, len(frames), size):
        yield frames[begin : begin + size]


def write_video(
    path: Path, frames: NDArray[np.uint8], sound: NDArray[np.float32] | None = None, late: float = 0
) -> Path:
    """Write a video of 25 fps in the container of the path's suffix, its sound `late` seconds."""
    with av.open(str(path), "w") as target:
        video = target.add_stream("libx264", rate=25)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        audio = target.add_stream("aac", rate=48_000, layout="mono") if sound is not None else None
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = index
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
        if audio is not None and sound is not None:
            for begin in range(0, sound.shape[1], 1024):
                part = np.ascontiguousarray(sound[:, begin : begin + 1024])
                frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                frame.sample_rate, frame.pts = 48_000, begin + round(late * 48_000)
                target.mux(audio.encode(frame))
            target.mux(audio.encode(None))
    return path


def decoded_frames(path: Path) -> list[NDArray[np.uint8]]:
    """Return every frame of a video as it is stored, YUV."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def decoded_sound(path: Path) -> NDArray[np.float32]:
    """Return a file's sound as (channels, n) floats at its own rate."""
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray() for frame in container.decode(audio=0)]
    return np.concatenate(parts, axis=1)


def write_clip(
    path: Path,
    pictures: NDArray[np.uint8],
    times: Sequence[Fraction | float] | None = None,
    fps: Fraction | int = 30,
    codec: str = "libx264",
    turned: int = 0,
    pixel: Fraction | None = None,
) -> Path:
    """Write RGB pictures losslessly, shown at `times` in seconds, or at a constant rate.

    `turned` is how many degrees a player has to turn them, counterclockwise; `pixel` how wide a
    pixel is for its height.
    """
    with av.open(str(path), "w") as target:
        options = {"crf": "0", "g": "12"} if codec == "libx264" else {}
        video = target.add_stream(codec, rate=fps, options=options)
        video.height, video.width = pictures.shape[1:3]
        video.pix_fmt = {"libx264": "yuv444p", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        base = Fraction(1, 3000) if times is not None else 1 / Fraction(fps)
        video.codec_context.time_base = base
        if pixel is not None:
            video.codec_context.sample_aspect_ratio = pixel
        if turned:
            video.set_display_rotation(turned)
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            seconds = times[index] if times is not None else index / Fraction(fps)
            frame.pts, frame.time_base = round(Fraction(seconds) / base), base
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


def levels(count: int, height: int = 64, width: int = 80) -> NDArray[np.uint8]:
    """Return grey pictures, each of its own level: 4, 8, 12 and so on; from 252 on again from 4."""
    steps = (4 + 4 * (np.arange(count) % 62)).astype(np.uint8)
    return np.ascontiguousarray(
        np.broadcast_to(steps[:, None, None, None], (count, height, width, 3))
    )
