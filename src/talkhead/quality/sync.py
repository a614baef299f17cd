"""The lip-sync score: how well a measured mouth follows the phones that were said. Arrays only.

The measure is the share of the range between the mouth's own 5th and 95th percentile, because
landmarks on a beard or a dark face never read zero where the lips meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Phone
from talkhead.engines.draft.visemes import BILABIALS, OPEN_VOWELS

Series = NDArray[np.float64]  # (frames,)

STEP = 0.005  # seconds; the grid on which curves are shifted against each other
SEARCH = 0.4  # seconds; the largest lag that is looked for, either way
APART = 0.06  # seconds; an open vowel nearer to a bilabial is not counted as open
CLOSURE = 0.06  # seconds around a bilabial's middle in which the lips have to meet
NEIGHBOURHOOD = 0.22  # seconds around it in which the mouth has to have been open
SHORTEST_VOWEL = 0.05  # seconds; shorter ones are too reduced to open the mouth
CLOSED, OPEN = 0.15, 0.30  # shares of the mouth's range
SHIFTS = 200  # circular shifts from which the chance level is taken
LEAST_BILABIALS, LEAST_SPEECH = 3, 2.0  # below, phones and seconds, the phone scores say nothing
STATIC_RANGE = 0.03  # eye distances; a mouth that moves less does not speak


@dataclass(frozen=True, slots=True)
class SyncScore:
    """The score; None where it cannot be said."""

    speech_s: float  # seconds of phones that are not silence
    range: float  # p95 - p5 of the lips' opening, in eye distances
    rest: float  # p5 of it: how far the lips are apart when closest
    r0: float | None = None  # correlation with the expected opening, as it is
    r_best: float | None = None  # the same at the best lag
    lag_ms: float | None = None  # positive: the video is late
    bilabials: int = 0  # P, B and M that could be looked at
    open_vowels: int = 0
    auc: float | None = None  # chance that an open vowel is wider than a bilabial; .5 is blind
    dip: float | None = None  # how far the mouth closes for a bilabial, 1 is wholly
    closed: float | None = None  # share of bilabials with the lips together
    closed_chance: float | None = None  # the same for bilabials at random times
    open_hits: float | None = None  # share of open vowels with the mouth open


@dataclass(frozen=True, slots=True)
class Alignment:
    """How two curves correlate, and by how much one has to be moved to correlate best."""

    r0: float
    r_best: float
    lag: float  # seconds; positive: the second curve is late


def score_sync(
    times: Series, aperture: Series, expected: Series, phones: Sequence[Phone]
) -> SyncScore:
    """Score a mouth's opening (eye distances, NaN where no face was seen) at evenly spaced times.

    `expected` is the opening that the phones ask for at the same times, on any scale.
    """
    first, last = (times[0], times[-1]) if times.size else (0.0, -1.0)
    phones = [phone for phone in phones if first <= (phone.start + phone.end) / 2 <= last]
    seen = aperture[np.isfinite(aperture)]
    low, high = np.percentile(seen, [5, 95]) if seen.size else (0.0, 0.0)
    spoken = sum(phone.end - phone.start for phone in phones if phone.name != "SIL")
    score = SyncScore(speech_s=spoken, range=float(high - low), rest=float(low))
    if score.range < STATIC_RANGE:
        return score
    opening = np.maximum(aperture - low, 0) / (high - low)
    alignment = align(times, expected, opening)
    if alignment is None:
        return score
    score = replace(score, r0=alignment.r0, r_best=alignment.r_best, lag_ms=1000 * alignment.lag)
    return _with_phones(score, times, opening, phones)


def align(times: Series, expected: Series, measured: Series) -> Alignment | None:
    """Find the lag at which a measured curve follows the expected one best, within +-400 ms.

    None where there is less than a second to compare or where a curve does not move.
    """
    seen = np.isfinite(measured)
    if times.size < 2 or seen.sum() < 2 or times[-1] - times[0] < 2 * SEARCH:
        return None
    fine = np.arange(times[0], times[-1], STEP)
    wanted = np.interp(fine, times, expected)
    got = np.interp(fine, times[seen], measured[seen])
    known = np.interp(fine, times, seen.astype(np.float64)) > 0.5
    reach = round(SEARCH / STEP)
    lags = np.arange(-reach, reach + 1)
    curve = np.array([_shifted(wanted, got, known, int(lag)) for lag in lags])
    if not np.isfinite(curve).any():
        return None
    best = int(np.nanargmax(curve))
    at_zero = curve[reach]
    return Alignment(
        r0=float(at_zero) if np.isfinite(at_zero) else 0.0,
        r_best=float(curve[best]),
        lag=float((lags[best] + _peak(curve, best)) * STEP),
    )


def rank_share(larger: Series, smaller: Series) -> float:
    """Return the chance that one of `larger` exceeds one of `smaller` (AUC); ties count half."""
    ordered = np.sort(smaller)
    below = np.searchsorted(ordered, larger, side="left")
    not_above = np.searchsorted(ordered, larger, side="right")
    return float((below + not_above).mean() / 2 / smaller.size)


def _with_phones(
    score: SyncScore, times: Series, opening: Series, phones: Sequence[Phone]
) -> SyncScore:
    """Add the phones that say most: bilabials close the mouth, open vowels open it."""
    vowels = [
        phone
        for phone in phones
        if phone.name in OPEN_VOWELS and phone.end - phone.start >= SHORTEST_VOWEL
    ]
    middles = _middles([phone for phone in phones if phone.name in BILABIALS])
    tightest = np.fmin.reduce(_around(times, opening, middles, CLOSURE), axis=1)
    middles, tightest = middles[np.isfinite(tightest)], tightest[np.isfinite(tightest)]
    widest = _finite(np.array([_widest(times, opening, vowel) for vowel in vowels]))
    score = replace(score, bilabials=int(middles.size), open_vowels=int(widest.size))
    vowel_middles = _middles(vowels)
    vowel_middles = vowel_middles[_distance(vowel_middles, middles) > APART]
    # The very middle, between frames if need be: measured on 12 videos this told right from late
    # better than windows of 30 or 40 ms did.
    at_vowels = _finite(np.interp(vowel_middles, times, opening))
    at_bilabials = _finite(np.interp(middles, times, opening))
    scarce = middles.size < LEAST_BILABIALS or score.speech_s < LEAST_SPEECH
    if scarce or not at_vowels.size or not at_bilabials.size:
        return score
    widest_near = np.fmax.reduce(_around(times, opening, middles, NEIGHBOURHOOD), axis=1)
    return replace(
        score,
        auc=rank_share(at_vowels, at_bilabials),
        dip=float(np.mean(1 - tightest / np.maximum(widest_near, 1e-6))),
        closed=float(np.mean(tightest < CLOSED)),
        closed_chance=_closed_by_chance(times, opening, middles),
        open_hits=float(np.mean(widest > OPEN)),
    )


def _closed_by_chance(times: Series, opening: Series, middles: Series) -> float:
    """Return the share of closed lips at the bilabials' times, turned round at random."""
    length = times[-1] - times[0]
    # A fixed seed: the same video has the same score.
    shifts = np.random.default_rng(0).uniform(0.3, max(length - 0.3, 0.3), SHIFTS)
    moved = (middles[None] + shifts[:, None] - times[0]) % length + times[0]
    tightest = np.fmin.reduce(_around(times, opening, moved.ravel(), CLOSURE), axis=1)
    return float(np.mean(tightest[np.isfinite(tightest)] < CLOSED))


def _shifted(wanted: Series, got: Series, known: NDArray[np.bool_], lag: int) -> float:
    """Correlate got, `lag` steps later, with wanted; NaN where either is flat."""
    size = wanted.size
    x = wanted[max(0, -lag) : size - max(0, lag)]
    part = slice(max(0, lag), size - max(0, -lag))
    x, y = x[known[part]], got[part][known[part]]
    if x.size < SEARCH / STEP:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 1e-9 else float("nan")


def _peak(curve: Series, best: int) -> float:
    """Return where between samples the top of a parabola through three of them lies."""
    if not 0 < best < curve.size - 1:
        return 0.0
    left, top, right = curve[best - 1 : best + 2]
    bend = left - 2 * top + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


def _middles(phones: Sequence[Phone]) -> Series:
    return np.array([(phone.start + phone.end) / 2 for phone in phones], np.float64)


def _around(times: Series, values: Series, at: Series, reach: float) -> NDArray[np.float64]:
    """Return (len(at), w): the values within `reach` seconds of each point, NaN beside them."""
    # Never narrower than one frame, so that a slow video has a value for every phone.
    reach = max(reach, 0.5 * float(times[1] - times[0])) + 1e-6
    first = np.searchsorted(times, at - reach, side="left")
    last = np.searchsorted(times, at + reach, side="right")
    width = int((last - first).max(initial=1))
    index = first[:, None] + np.arange(max(width, 1))[None]
    inside = index < last[:, None]
    return np.where(inside, values[np.minimum(index, times.size - 1)], np.nan)


def _finite(values: Series) -> Series:
    return values[np.isfinite(values)]


def _widest(times: Series, opening: Series, vowel: Phone) -> float:
    inside = (times >= vowel.start - 0.02) & (times <= vowel.end + 0.02)
    return float(np.fmax.reduce(opening[inside], initial=np.nan))


def _distance(points: Series, others: Series) -> Series:
    """Return how far each point is from the nearest of the others."""
    if not others.size:
        return np.full(points.shape, np.inf)
    return np.asarray(np.abs(points[:, None] - others[None]).min(axis=1))
