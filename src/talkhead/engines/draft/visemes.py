"""Phones to mouth shapes over time, by dominance blending (Cohen and Massaro, 1993).

Every phone pulls the mouth towards its own shape, with full force in its middle and less and less
before and after; what the mouth does is the weighted mean. The lips' closures are set on top.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Phone
from talkhead.engines.draft.motion import frame_times
from talkhead.engines.draft.phones import SIL, PhoneTrack
from talkhead.engines.draft.pose import Mouth

Track = NDArray[np.float32]  # (frames,)

CONSONANT, VOWEL, LIPS = 0.7, 1.0, 1.6  # how strongly a shape pulls; lips are seen most


class Shape(NamedTuple):
    """A mouth shape and how strongly it pulls; lengths as in Mouth."""

    aperture: float
    spread: float
    weight: float = CONSONANT
    bite: float = 0.0
    tongue: float = 0.0
    sound: float = 1.0  # 0 in silence


def _vowel(aperture: float, spread: float) -> Shape:
    return Shape(aperture, spread, VOWEL)


# Two shapes are a diphthong: the first half of the phone, then the second.
TARGETS: Mapping[str, tuple[Shape, ...]] = MappingProxyType(
    {
        "AA": (_vowel(0.33, 0.05),),
        "AE": (_vowel(0.31, 0.40),),
        "AH": (_vowel(0.22, 0.10),),
        "AO": (_vowel(0.26, -0.40),),
        "AW": (_vowel(0.31, 0.10), _vowel(0.12, -0.65)),
        "AY": (_vowel(0.31, 0.15), _vowel(0.15, 0.45)),
        "B": (Shape(0.0, 0.0),),
        "CH": (Shape(0.09, -0.35),),
        "D": (Shape(0.10, 0.15, tongue=1.0),),
        "DH": (Shape(0.10, 0.10, tongue=1.0),),
        "EH": (_vowel(0.24, 0.35),),
        "ER": (_vowel(0.15, -0.25),),
        "EY": (_vowel(0.22, 0.40), _vowel(0.13, 0.60)),
        "F": (Shape(0.025, 0.10, LIPS, bite=1.0),),
        "G": (Shape(0.13, 0.10),),
        "HH": (Shape(0.17, 0.10),),
        "IH": (_vowel(0.16, 0.35),),
        "IY": (_vowel(0.12, 0.65),),
        "JH": (Shape(0.09, -0.35),),
        "K": (Shape(0.13, 0.10),),
        "L": (Shape(0.15, 0.15, tongue=1.0),),
        "M": (Shape(0.0, 0.0),),
        "N": (Shape(0.10, 0.15, tongue=1.0),),
        "NG": (Shape(0.13, 0.20),),
        "OW": (Shape(0.22, -0.50, LIPS), Shape(0.11, -0.80, LIPS)),
        "OY": (_vowel(0.22, -0.60), _vowel(0.14, 0.40)),
        "P": (Shape(0.0, 0.0),),
        "R": (Shape(0.12, -0.40, LIPS),),
        "S": (Shape(0.075, 0.35),),
        "SH": (Shape(0.09, -0.50, LIPS),),
        "T": (Shape(0.09, 0.20, tongue=1.0),),
        "TH": (Shape(0.09, 0.15, tongue=1.0),),
        "UH": (_vowel(0.14, -0.50),),
        "UW": (Shape(0.09, -0.85, LIPS),),
        "V": (Shape(0.025, 0.10, LIPS, bite=1.0),),
        "W": (Shape(0.07, -0.90, LIPS),),
        "Y": (Shape(0.10, 0.50),),
        "Z": (Shape(0.075, 0.35),),
        "ZH": (Shape(0.09, -0.45),),
    }
)
REST = Shape(0.0, 0.0, 1.0, sound=0.0)
PAUSE = Shape(0.0, 0.0, 1.0)
GAP = Shape(0.0, 0.0, 0.25)  # hardly closes the mouth
BILABIALS = frozenset({"P", "B", "M"})
OPEN_VOWELS = frozenset({"AA", "AE", "AO", "AH", "EH", "AY", "AW", "EY", "OW"})

# Seconds. The mouth prepares for a sound a little longer than it keeps it.
BEFORE, AFTER = 0.045, 0.038  # time constants of a shape's pull outside the phone's middle
REACH = 8 * BEFORE  # a pull of e^-8 is none
CORE = 0.75  # share of the phone, around its middle, that has the full pull
LONGEST_MARGIN = 0.03  # beside the core; a long silence does not close the mouth any later
LONGEST_GAP, LONGEST_PAUSE = 0.12, 0.5  # of silence; beyond, nobody speaks in any language
CLOSING = 0.055  # ramp of a closure, on either side
CLOSED = 0.6  # share of a bilabial during which the lips touch

# Loudness against the speaker's own, in dB, to the gain of the aperture.
LOUD, RANGE = -2.0, 30.0  # full gain at LOUD, none at LOUD - RANGE
MOST_GAIN = 1.12
QUIET_SHARE = 0.35  # what is left of the aperture in the quietest speech
LOUDEST_APERTURE = 0.26  # of a mouth that follows loudness alone
SMOOTHING = 0.04  # seconds


def mouth_tracks(
    track: PhoneTrack, loudness: Track, frames: int, fps: Fraction
) -> dict[str, Track]:
    """Return one (frames,) array for each field of Mouth, at the middle of each frame's display.

    `loudness` is (frames,), the RMS around the same times; a quiet mouth opens less.
    """
    times = frame_times(frames, fps)
    phones = _without_gaps(track.phones)
    shape = _blend(phones, times)
    gain = _gain(loudness, _speaking(phones, times), fps)
    heard = shape[:, 0] * (QUIET_SHARE + (1 - QUIET_SHARE) * gain)
    loud = shape[:, 4] * LOUDEST_APERTURE * gain**1.5
    aperture = (1 - track.energy) * heard + track.energy * loud
    press = _closures(phones, times)
    awake = np.clip(4 * gain, 0, 1)  # noise that was taken for a phone moves nothing
    aperture = aperture * (1 - press) * awake
    values = (aperture, shape[:, 1], press, shape[:, 2], shape[:, 3])
    return {
        name: value.astype(np.float32) for name, value in zip(Mouth._fields, values, strict=True)
    }


def expected_aperture(
    phones: Sequence[Phone], loudness: Track, frames: int, fps: Fraction
) -> Track:
    """Return how far a mouth that says these phones is open in each frame, as mouth_tracks does."""
    return mouth_tracks(PhoneTrack(tuple(phones), "given", ()), loudness, frames, fps)["aperture"]


def _without_gaps(phones: Sequence[Phone]) -> list[Phone]:
    """Return the phones with one silence wherever nothing is said, for ever before and after."""
    filled = [Phone(SIL, -np.inf, -np.inf)]
    for phone in phones:
        if phone.name in TARGETS:
            if phone.start > filled[-1].end:
                filled.append(Phone(SIL, filled[-1].end, phone.start))
            filled.append(phone)
    return [*filled[1:], Phone(SIL, filled[-1].end, np.inf)]


def _blend(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (frames, 5): aperture, spread, bite, tongue and sound."""
    sums = np.zeros((times.size, 5))
    weights = np.full(times.size, 1e-9)
    for phone in phones:
        for shape, start, end in _parts(phone):
            first, last = np.searchsorted(times, (start - REACH, end + REACH))
            pull = shape.weight * _dominance(times[first:last], start, end)
            weights[first:last] += pull
            goal = (shape.aperture, shape.spread, shape.bite, shape.tongue, shape.sound)
            sums[first:last] += pull[:, None] * goal
    return np.asarray(sums / weights[:, None], np.float64)


def _parts(phone: Phone) -> list[tuple[Shape, float, float]]:
    if phone.name == SIL:
        seconds = phone.end - phone.start
        silence = REST if seconds > LONGEST_PAUSE else PAUSE if seconds > LONGEST_GAP else GAP
        return [(silence, phone.start, phone.end)]
    shapes = TARGETS[phone.name]
    borders = np.linspace(phone.start, phone.end, len(shapes) + 1).tolist()
    return list(zip(shapes, borders[:-1], borders[1:], strict=True))


def _dominance(times: NDArray[np.float64], start: float, end: float) -> NDArray[np.float64]:
    margin = min((1 - CORE) / 2 * (end - start), LONGEST_MARGIN)
    early = np.maximum(start + margin - times, 0) / BEFORE
    late = np.maximum(times - (end - margin), 0) / AFTER
    pull: NDArray[np.float64] = np.exp(-(early + late))
    return pull


def _closures(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how closed the lips are, 0..1; every P, B and M closes one frame for certain."""
    press = np.zeros(times.size)
    for phone in phones:
        if phone.name not in BILABIALS:
            continue
        middle, half = (phone.start + phone.end) / 2, max((phone.end - phone.start) / 2, 0.03)
        reach = CLOSED * half + CLOSING
        first, last = np.searchsorted(times, (middle - reach, middle + reach))
        away = np.maximum(np.abs(times[first:last] - middle) - CLOSED * half, 0)
        ramp = 1 - away / CLOSING
        press[first:last] = np.maximum(press[first:last], ramp * ramp * (3 - 2 * ramp))
        # a closure may be shorter than a frame, and must be seen all the same
        nearest = _nearest(times, middle)
        if nearest is not None:
            press[nearest] = 1.0
    return press


def _nearest(times: NDArray[np.float64], time: float) -> int | None:
    """Return the frame whose display holds the time, None outside of all."""
    if not times.size:
        return None
    frame = int(time / (2 * times[0]))  # the first frame's middle is half a frame
    return frame if time >= 0 and frame < times.size else None


def _speaking(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (frames,): whether a phone, and not silence, is said there."""
    starts = np.array([phone.start for phone in phones])
    sounds = np.array([phone.name != SIL for phone in phones])
    said: NDArray[np.bool_] = sounds[np.searchsorted(starts, times, "right") - 1]
    return said


def _gain(loudness: Track, speaking: NDArray[np.bool_], fps: Fraction) -> NDArray[np.float64]:
    """Return (frames,): 0 silent to 1 as loud as this speaker usually is, and a little above."""
    if not speaking.any():
        return np.zeros(loudness.size)
    usual = np.percentile(loudness[speaking], 80) + 1e-9
    level = 20 * np.log10(loudness / usual + 1e-5)
    gain = np.clip((level - LOUD + RANGE) / RANGE, 0, MOST_GAIN)
    half = round(SMOOTHING * float(fps))
    kernel = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(np.pad(gain, half, "edge"), kernel / kernel.sum(), "valid")
