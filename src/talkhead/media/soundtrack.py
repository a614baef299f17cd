"""The sound of the finished video: the callers' own recordings, mixed, as one AAC track."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import av
import numpy as np

from talkhead.engines import Tick
from talkhead.media.container import open_media
from talkhead.media.files import whole_file
from talkhead.media.sound import LAYOUTS, Block, Samples, downmix, read_sound, resample, sound_track
from talkhead.media.speech import Part

RATE = 48_000
BIT_RATES = {1: 128_000, 2: 128_000, 6: 384_000}
BLOCK = 32 * 1024  # samples mixed at once; a whole number of AAC frames of 1024
KNEE = 0.9  # of full scale; where several voices together are louder, they are bent softly


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording, or a video's sound, and when it is heard."""

    path: Path
    part: Part


def write_soundtrack(
    sounds: Sequence[Sound],
    seconds: float,
    out: Path,
    tick: Tick = lambda _done, _total: None,
) -> None:
    """Write the sounds, mixed, to an M4A file of exactly `seconds`, to the nearest 1/48000 s.

    Mono, stereo and 5.1 stay what they are; any other layout becomes stereo.
    """
    channels = max((_channels(sound.path) for sound in sounds), default=1)
    size = round(seconds * RATE)
    tracks = [_timeline(sound, channels, size) for sound in sounds]
    with (
        whole_file(out) as partial_file,
        av.open(
            str(partial_file), "w", format="mp4", options={"movie_timescale": str(RATE)}
        ) as container,
    ):
        stream = container.add_stream("aac", rate=RATE, layout=LAYOUTS[channels])
        stream.bit_rate = BIT_RATES[channels]
        begin = 0
        for length in _lengths(size):
            mixed = sum((next(track) for track in tracks), _silence(channels, length))
            limited = _limited(mixed) if len(tracks) > 1 else np.clip(mixed, -1, 1)
            frame = av.AudioFrame.from_ndarray(limited, "fltp", LAYOUTS[channels])
            frame.sample_rate, frame.pts = RATE, begin
            container.mux(stream.encode(frame))
            tick(begin, size)
            begin += length
        container.mux(stream.encode(None))


def _channels(path: Path) -> int:
    """Return how many channels of a sound the soundtrack keeps."""
    with open_media(path) as container:
        track = sound_track(container, path)
        count, layout = track.channels, track.layout.name
    return count if count <= 2 or layout in {"5.1", "5.1(side)"} else 2


def _timeline(sound: Sound, channels: int, size: int) -> Iterator[Samples]:
    """Yield a sound in its place from the start of the video to its end, block by block."""
    start = min(size, round(sound.part.offset * RATE))
    stop = min(size, round((sound.part.offset + sound.part.length) * RATE))
    heard = resample(read_sound(sound.path), RATE, partial(_mix, channels))
    pieces = chain(
        (_silence(channels, length) for length in _lengths(start)),
        _cut(heard, stop - start),
        (_silence(channels, length) for length in _lengths(size)),
    )
    left = _silence(channels, 0)
    for length in _lengths(size):
        while left.shape[1] < length:
            left = np.concatenate([left, next(pieces)], axis=1)
        yield left[:, :length]
        left = left[:, length:]


def _lengths(size: int) -> Iterator[int]:
    """Cut a number of samples into blocks."""
    for begin in range(0, size, BLOCK):
        yield min(BLOCK, size - begin)


def _cut(blocks: Iterator[Samples], length: int) -> Iterator[Samples]:
    for block in blocks:
        if length <= 0:
            return
        yield block[:, :length]
        length -= block.shape[1]


def _mix(channels: int, block: Block) -> Samples:
    mixed: Samples = downmix(block.channels, channels) @ block.samples
    return mixed


def _silence(channels: int, length: int) -> Samples:
    return np.zeros((channels, length), np.float32)


def _limited(mixed: Samples) -> Samples:
    """Bend what is above the knee so that it stays below full scale; the rest is untouched."""
    size = np.abs(mixed)
    bent = KNEE + (1 - KNEE) * np.tanh((size - KNEE) / (1 - KNEE))
    limited: Samples = np.where(size > KNEE, np.sign(mixed) * bent, mixed).astype(np.float32)
    return limited
