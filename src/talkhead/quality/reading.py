"""A video's pictures and sound, read as the check needs them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Picture, Tick
from talkhead.engines.draft.phones import SAMPLE_RATE
from talkhead.media.container import open_media, video_stream
from talkhead.media.speech import Part, decode_speech, probe_audio


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Speech on the video's clock, in a file of its own."""

    samples: NDArray[np.float32]  # (n,), mono, 16 kHz, memory-mapped
    warnings: tuple[str, ...]


def read_frames(path: Path, count: int, tick: Tick) -> Iterator[tuple[float, Picture]]:
    """Yield (middle of its display in seconds, RGB picture) for the first `count` frames."""
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            return
        stream.thread_type = "AUTO"
        half = 0.5 / float(stream.average_rate or 25)
        for number, frame in enumerate(container.decode(stream)):
            if number >= count:
                return
            tick(number, count)
            time = frame.time if frame.time is not None else 2 * half * number
            # Phones film sideways and say so; a face lying down is not found.
            turns = round(frame.rotation / 90) % 4
            yield time + half, np.rot90(frame.to_ndarray(format="rgb24"), turns)
    tick(count, count)


def read_sound(path: Path, folder: Path) -> Sound:
    """Decode a file's sound into a folder, to be read from there as it is needed."""
    seconds = probe_audio(path).seconds
    decoded = decode_speech(path, folder / "speech.npy", SAMPLE_RATE, Part(0, seconds), seconds)
    return Sound(decoded.samples, tuple(decoded.warnings))
