"""What a face does in a video, frame by frame: the lips' and the eyes' opening."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Face, Picture
from talkhead.media.face import FaceFinder

Series = NDArray[np.float64]  # (frames,)

SEARCH_EVERY = 5  # frames; a search of the whole picture costs as much as following for ten

# Landmark numbers. Pairs are (upper, lower).
LIPS = ((13, 14), (82, 87), (312, 317))  # the inner lips at the middle and either side
LIDS = ((159, 145), (386, 374))
EYES = ((33, 133), (362, 263))  # the corners of either eye

BLINK, AWAKE = 0.6, 0.75  # shares of the usual opening: below closes the eye, above opens it again
LEAST_OPEN_EYE = 0.06  # eye distances; eyes that are usually narrower are shut or hidden


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One face through a video; NaN where it was not seen."""

    times: Series  # seconds, the middle of each frame's display
    aperture: Series  # opening of the inner lips, in distances between the eyes
    eyes: Series  # opening of the eyes, in the same unit
    faces: int  # found in the first frame that shows one

    @property
    def lost(self) -> float:
        """Return the share of frames without the face, 0 to 1."""
        return float(np.isnan(self.aperture).mean()) if self.aperture.size else 1.0


def follow_face(
    frames: Iterator[tuple[float, Picture]], finder: FaceFinder, index: int = 0
) -> FaceTrack:
    """Follow a face, the largest of the first frame that shows one or the index-th largest.

    `frames` are (middle of its display in seconds, RGB picture) and are consumed one by one.
    """
    times: list[float] = []
    rows: list[tuple[float, float]] = []
    face: Face | None = None
    last: Face | None = None
    count = 0
    since = 0
    for time, picture in frames:
        face = finder.track(picture, face) if face else None
        if face is None and since % SEARCH_EVERY == 0:
            found = finder.find(picture)
            face = _again(found, last) if last else _pick(found, index)
            count = count or len(found)
        since = 0 if face else since + 1
        last = face or last
        times.append(time)
        rows.append(_opening(face) if face else (np.nan, np.nan))
    values = np.array(rows, np.float64).reshape(-1, 2)
    return FaceTrack(np.array(times, np.float64), values[:, 0], values[:, 1], count)


def count_blinks(eyes: Series) -> int | None:
    """Count how often the eyes close and open again; None where they are never clearly open."""
    seen = eyes[np.isfinite(eyes)]
    if not seen.size or np.median(seen) < LEAST_OPEN_EYE:
        return None
    usual = np.median(seen)
    blinks, closed = 0, False
    for opening in seen:
        if not closed and opening < BLINK * usual:
            blinks, closed = blinks + 1, True
        elif opening > AWAKE * usual:
            closed = False
    return blinks


def even(track_times: Series, values: Series, times: Series) -> Series:
    """Return values at evenly spaced times, NaN where the nearest frame has none."""
    seen = np.isfinite(values)
    if not seen.any() or not times.size:
        return np.full(times.shape, np.nan)
    filled = np.interp(times, track_times[seen], values[seen])
    known = np.interp(times, track_times, seen.astype(np.float64)) > 0.5
    return np.where(known, filled, np.nan)


def _pick(found: list[Face], index: int) -> Face | None:
    return found[index] if index < len(found) else None


def _again(found: list[Face], last: Face) -> Face | None:
    """Return the face nearest to where it was last seen, if it is within one face's width."""

    def distance(face: Face) -> float:
        (x, y), (x0, y0) = face.box.center, last.box.center
        return float(np.hypot(x - x0, y - y0))

    nearest = min(found, key=distance, default=None)
    return nearest if nearest and distance(nearest) < 2 * last.box.width else None


def _opening(face: Face) -> tuple[float, float]:
    """Return how far the lips and the eyes are open, in distances between the eyes."""
    points = face.landmarks[:, :2].astype(np.float64)
    left, right = (points[list(pair)].mean(axis=0) for pair in EYES)
    between = float(np.hypot(*(right - left)))
    return _gap(points, LIPS) / between, _gap(points, LIDS) / between


def _gap(points: NDArray[np.float64], pairs: tuple[tuple[int, int], ...]) -> float:
    upper, lower = (points[list(side)] for side in zip(*pairs, strict=True))
    return float(np.hypot(*(upper - lower).T).mean())
