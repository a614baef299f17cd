"""What a face does besides speaking: loudness over time, blinks, small motion of the head.

Noise is a function of (seed, time) alone: its knots are hashed from the seed and their number, so a
value depends neither on the video's length nor on where a run starts.
"""

from enum import IntEnum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from talkhead.engines.draft.align import SAMPLE_RATE

Track = NDArray[np.float32]  # (frames,)

LOUDNESS_WINDOW = 0.04  # seconds
LOUDNESS_BLOCK = 512  # frames read at a time

# A blink, in seconds: the lids close, stay and open.
CLOSING, HOLD, OPENING = 0.07, 0.05, 0.14
FIRST_BLINK = (0.8, 2.0)  # earliest and latest
BLINK_PAUSE = (2.2, 4.8)  # from one blink to the next; 17 a minute

SETTLE = 1.0  # seconds in which the head leaves the picture's own position
NOD_SMOOTHING = 0.6  # seconds
USUAL_LOUDNESS = 0.4  # of the speaker's loudest; a head that speaks so is level


class Stream(IntEnum):
    """What noise is used for, so that no two uses of a seed are alike."""

    BLINK = 1
    ROLL = 2
    X = 3
    Y = 4
    SCALE = 5
    YAW = 6
    PITCH = 7


def frame_times(frames: int, fps: Fraction) -> NDArray[np.float64]:
    """Return (frames,): the middle of each frame's display, seconds."""
    return np.asarray((np.arange(frames) + 0.5) / float(fps), np.float64)


def loudness(speech: NDArray[np.float32], frames: int, fps: Fraction) -> Track:
    """Return (frames,): the RMS of 40 ms around the middle of each frame's display.

    `speech` is (n,) at 16 kHz and may be a memory map; frames past its end are silent.
    """
    levels = np.zeros(frames, np.float32)
    middles = frame_times(frames, fps)
    half = round(LOUDNESS_WINDOW * SAMPLE_RATE / 2)
    for first in range(0, frames, LOUDNESS_BLOCK):
        samples = (middles[first : first + LOUDNESS_BLOCK] * SAMPLE_RATE).astype(np.int64)
        starts = np.clip(samples - half, 0, speech.size)
        ends = np.clip(samples + half, 0, speech.size)
        piece = np.asarray(speech[starts[0] : ends[-1]], np.float64)
        power = np.concatenate([[0.0], np.cumsum(piece**2)])
        energy = power[ends - starts[0]] - power[starts - starts[0]]
        levels[first : first + samples.size] = np.sqrt(np.maximum(energy, 0) / (2 * half))
    return levels


def blink_track(frames: int, fps: Fraction, seed: int) -> Track:
    """Return (frames,): 0 eyes as in the picture to 1 closed."""
    times = frame_times(frames, fps)
    lids = np.zeros(frames)
    for start in _blinks(times[-1] if frames else 0.0, seed):
        first, last = np.searchsorted(times, (start, start + CLOSING + HOLD + OPENING))
        since = times[first:last] - start
        closing, opening = since / CLOSING, (CLOSING + HOLD + OPENING - since) / OPENING
        ramp = np.clip(np.minimum(closing, opening), 0, 1)
        lids[first:last] = ramp * ramp * (3 - 2 * ramp)
    return lids.astype(np.float32)


def head_tracks(loudness: Track, frames: int, fps: Fraction, seed: int) -> dict[str, Track]:
    """Return one (frames,) array for each field of Head.

    The head drifts slowly and nods a little with `loudness`, (frames,) RMS. It starts as in the
    picture.
    """
    times = frame_times(frames, fps)
    settled = np.clip(times / SETTLE, 0, 1)
    settled = settled * settled * (3 - 2 * settled)
    nod = _smooth_loudness(loudness, fps) - USUAL_LOUDNESS
    tracks = {
        "roll": 0.010 * _noise(seed, Stream.ROLL, times, 1.9),
        "x": 0.006 * _noise(seed, Stream.X, times, 2.3),
        "y": 0.004 * _noise(seed, Stream.Y, times, 1.7) - 0.010 * nod,
        "scale": 0.004 * _noise(seed, Stream.SCALE, times, 3.1) + 0.003 * nod,
        "yaw": 0.018 * _noise(seed, Stream.YAW, times, 1.6),
        "pitch": 0.010 * _noise(seed, Stream.PITCH, times, 1.3) - 0.012 * nod,
    }
    return {name: (settled * track).astype(np.float32) for name, track in tracks.items()}


def _blinks(until: float, seed: int) -> list[float]:
    """Return when each blink up to a time starts, seconds."""
    count = int(until / BLINK_PAUSE[0]) + 2
    chance = _uniform(seed, Stream.BLINK, np.arange(count))
    pauses = BLINK_PAUSE[0] + (BLINK_PAUSE[1] - BLINK_PAUSE[0]) * chance
    pauses[0] = FIRST_BLINK[0] + (FIRST_BLINK[1] - FIRST_BLINK[0]) * chance[0]
    return [start for start in np.cumsum(pauses).tolist() if start <= until]


def _noise(
    seed: int, stream: Stream, times: NDArray[np.float64], period: float
) -> NDArray[np.float64]:
    """Return smooth noise of unit variance within +-2.5: a cubic B-spline, a knot each period."""
    whole = np.floor(times / period)
    u = times / period - whole
    weights = (
        (1 - u) ** 3 / 6,
        (3 * u**3 - 6 * u**2 + 4) / 6,
        (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
        u**3 / 6,
    )
    knots = whole.astype(np.int64)
    total = np.zeros(times.size)
    for index, weight in enumerate(weights):
        total += weight * (_uniform(seed, stream, knots + index) - 0.5)
    return 5.0 * total  # the knots' variance is 1/12, and the spline leaves .48 of it


def _uniform(seed: int, stream: Stream, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return numbers in [0, 1), each a hash of seed, stream and index (splitmix64)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    value = np.full(index.shape, seed, np.uint64)
    for part in (np.full(index.shape, int(stream), np.uint64), index.astype(np.uint64)):
        value = (value ^ (part * np.uint64(0xD1B54A32D192ED03))) + golden
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        value ^= value >> np.uint64(31)
    return (value >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _smooth_loudness(loudness: Track, fps: Fraction) -> NDArray[np.float64]:
    """Return loudness as a share of the speaker's loudest, slow enough for a head to follow."""
    loudest = float(np.percentile(loudness, 95)) if loudness.size else 0.0
    if loudest <= 0:
        return np.zeros(loudness.size)
    share = np.minimum(loudness / loudest, 1.2)
    half = max(round(NOD_SMOOTHING * float(fps) / 2), 1)
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(share, half, "edge"), kernel / kernel.sum(), "valid")
