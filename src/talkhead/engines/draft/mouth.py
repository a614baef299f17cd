"""The lips: where they are in the still picture, and how a mouth shape moves them.

All lengths are shares of the mouth's width. Curves have one value for each column of the patch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Face, Picture
from talkhead.engines.draft.geometry import (
    Axes,
    Floats,
    Fold,
    Patch,
    Span,
    follow,
    monotone,
    smoothstep,
)
from talkhead.engines.draft.pose import Mouth
from talkhead.engines.draft.seam import read_seam

NODES = 48  # per mouth width

# Landmarks from the left of the picture to the right.
OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
JAW = (172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397)
# The face's outline from the temple down to the chin.
OUTLINE_LEFT = (234, 93, 132, 58, 172, 136, 150, 149, 176)
OUTLINE_RIGHT = (454, 323, 361, 288, 397, 365, 379, 378, 400)
NOSE = (2, 97, 326)
CHIN = 152
EYES = ((33, 133), (362, 263))

BELOW_CHIN = 0.62  # the throat gives way to the jaw over this length


@dataclass(frozen=True, slots=True, eq=False)
class Lips:
    """A mouth in the still picture."""

    patch: Patch
    upper_outer: Floats  # (n,), each curve a v for every column
    upper_inner: Floats
    lower_inner: Floats
    lower_outer: Floats
    seam: Floats  # where the lips meet when they close
    chin: Floats
    floor: Floats  # where the throat, or the picture, stands still
    across: Floats  # -1 at the left inner corner, 0 in the middle, 1 at the right one
    apart: Floats  # 0 in the middle to 1 at the outline of the face, level with the mouth
    apart_at: Floats  # (m, n), the same at each height
    jaw: Floats  # 1 over the chin to 0 at the angles of the jaw
    corners: Floats  # 1 between the corners to 0 in the cheeks
    middle: float  # u of the middle of the lips
    smile: float  # 0 as wide as at rest, 1 a broad smile
    millimetre: float  # one, on an average head


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """The lips in one frame: for each column, where its curves were and where they are."""

    before: tuple[Floats, ...]  # upper outer, upper inner, lower inner, lower outer, chin
    after: tuple[Floats, ...]
    narrow: float  # width over width in the picture
    raised: float  # how far the upper lip went up
    rounded: float  # 0..1
    open: NDArray[np.bool_]  # (n,), columns between the corners where the lips are apart

    @property
    def top(self) -> Floats:
        """Return the lower edge of the upper lip (n,)."""
        return self.after[1]

    @property
    def bottom(self) -> Floats:
        """Return the upper edge of the lower lip (n,)."""
        return self.after[2]


def find_lips(picture: Picture, face: Face, content: Span) -> Lips:
    """Measure a face's mouth in the part of the picture that is not plain bars."""
    points = face.landmarks[:, :2].astype(np.float64)
    axes = _axes(points)
    spots = axes.local(points)
    left, right = (
        _outline(spots, numbers, sign, np.zeros(1, np.float32))[0]
        for numbers, sign in ((OUTLINE_LEFT, -1), (OUTLINE_RIGHT, 1))
    )
    top = float(spots[list(NOSE), 1].min()) - 0.12
    bottom = float(spots[CHIN, 1]) + BELOW_CHIN
    patch = Patch.over(axes, (max(1.3 * left, -1.7), top), (min(1.3 * right, 1.7), bottom), NODES)
    u = patch.u
    landmark_curves = [
        monotone(spots[list(numbers), 0], spots[list(numbers), 1], u)
        for numbers in (OUTER_UPPER, INNER_UPPER, INNER_LOWER, OUTER_LOWER)
    ]
    curves = _fan_out(landmark_curves, spots, u)
    middle = float(spots[[13, 14, 0, 17], 0].mean())
    inner_left, inner_right = float(spots[78, 0]), float(spots[308, 0])
    inside = (u > inner_left) & (u < inner_right)
    upper_inner, lower_inner = read_seam(picture, patch, curves, inside)
    across = np.where(
        u < middle, (u - middle) / (middle - inner_left), (u - middle) / (inner_right - middle)
    )
    side = np.where(u < middle, left, right)  # signed half width of the face at the mouth
    rows = patch.v[:, 0]
    sides = np.where(
        u < middle,
        _outline(spots, OUTLINE_LEFT, -1, rows)[:, None],
        _outline(spots, OUTLINE_RIGHT, 1, rows)[:, None],
    )
    apart = (u - middle) / (side - middle)  # 0 in the middle, 1 at the outline
    eyes = axes.unit * np.linalg.norm(spots[list(EYES[0])].mean(0) - spots[list(EYES[1])].mean(0))
    return Lips(
        patch=patch,
        upper_outer=curves[0],
        upper_inner=upper_inner,
        lower_inner=lower_inner,
        lower_outer=curves[3],
        seam=upper_inner + np.float32(0.42) * (lower_inner - upper_inner),
        chin=np.maximum(monotone(spots[list(JAW), 0], spots[list(JAW), 1], u), curves[3] + 0.12),
        floor=np.minimum(_border(axes, u, content.y1 - 1) - 0.02, bottom - 0.04).astype(np.float32),
        across=across.astype(np.float32),
        apart=np.abs(apart).astype(np.float32),
        apart_at=((u - middle) / (sides - middle)).astype(np.float32),
        jaw=smoothstep(1 - (np.abs(apart) - 0.30) / 0.80),
        corners=smoothstep(
            1 - (np.abs(u - middle) - 0.45) / np.clip(np.abs(side) - 0.45, 0.2, 0.6)
        ),
        middle=middle,
        smile=float(np.clip((axes.unit / eyes - 0.82) / 0.18, 0, 1)),
        millimetre=float(np.clip(eyes / 63 / axes.unit, 0.014, 0.024)),
    )


def open_lips(lips: Lips, mouth: Mouth) -> Opening:
    """Move the curves of the lips and the chin to a mouth shape."""
    rounded = max(-mouth.spread, 0.0)
    narrow = 1 + 0.13 * max(mouth.spread, 0.0) - (0.30 + 0.16 * lips.smile) * rounded
    u = lips.patch.u
    source = u + (u - lips.middle) * (1 / narrow - 1) * _reach(lips, lips.apart, narrow)

    def at(curve: Floats) -> Floats:
        return np.interp(source, u, curve).astype(np.float32)

    outer_up, inner_up, inner_low, outer_low = map(
        at, (lips.upper_outer, lips.upper_inner, lips.lower_inner, lips.lower_outer)
    )
    seam, chin, corners = at(lips.seam), at(lips.chin), at(lips.corners)
    aperture = _seen(mouth)
    up = _raised(mouth, rounded, lips.smile)
    down = aperture - up
    # A rounded mouth opens in the middle only: its sides stay sealed.
    lens = _lens(at(lips.across) / (1 - 0.22 * rounded), rounded)
    level = rounded * (0.35 + 0.5 * lips.smile) * np.maximum(at_middle(lips, lips.seam) - seam, 0)
    sink = (0.22 * max(down, 0.0) * (1 - lens) + level) * corners
    inside = smoothstep((1.12 - np.abs(at(lips.across))) / 0.10)
    top = inner_up + inside * (seam - inner_up) - up * lens + sink
    bottom = np.maximum(inner_low + inside * (seam - inner_low) + down * lens + sink, top)
    moved_up, moved_down = top - inner_up, bottom - inner_low
    full = 0.20 * rounded
    upper_edge = outer_up + moved_up * np.where(moved_up > 0, 0.8, 0.55)
    upper_edge += (0.22 * mouth.press - 0.5 * full) * (inner_up - outer_up)
    lower_edge = outer_low + moved_down * np.where(moved_down < 0, 0.85, 0.92)
    lower_edge += (0.4 * full - 0.20 * mouth.press) * (outer_low - inner_low)
    lower_edge -= 0.02 * mouth.bite * lens
    upper_edge = np.minimum(upper_edge, top - 2e-3)
    lower_edge = np.maximum(lower_edge, bottom + 2e-3)
    apart = (lens > 0) & (bottom - top > 1e-3)
    # Near the lower border the chin stays, and the lip comes down on it.
    drop = np.minimum(0.82 * down * at(lips.jaw), 0.7 * np.maximum(lips.floor - chin, 0))
    dropped = np.maximum(chin + drop, lower_edge + 0.05)
    after = (upper_edge, top, bottom, lower_edge, dropped)
    return Opening(
        (outer_up, inner_up, inner_low, outer_low, chin),
        tuple(curve.astype(np.float32) for curve in after),
        narrow,
        up,
        rounded,
        apart,
    )


def fold_lips(lips: Lips, opening: Opening) -> Fold:
    """Return where the picture around the mouth takes its colours from."""
    patch = lips.patch
    u, v = patch.u, patch.v
    edge = np.full_like(u, v[0, 0] + 0.02)
    outer_up, inner_up, inner_low, outer_low, chin = opening.before
    to_outer_up, to_inner_up, to_inner_low, to_outer_low, to_chin = opening.after
    hollow, to_hollow = 0.55 * outer_low + 0.45 * chin, 0.55 * to_outer_low + 0.45 * to_chin
    floor = np.maximum(lips.floor, to_chin + 0.05)
    upper = follow(v, (edge, to_outer_up, to_inner_up), (edge, outer_up, inner_up))
    lower = follow(
        v,
        (to_inner_low, to_outer_low, to_hollow, to_chin, floor),
        (inner_low, outer_low, hollow, chin, floor),
    )
    reach = _reach(lips, lips.apart_at, opening.narrow)
    aside = (u - lips.middle) * np.float32(1 / opening.narrow - 1) * reach * _near(v)
    cut = 0.5 * (to_inner_up + to_inner_low)
    return Fold(
        patch.pixels(np.dstack([aside, upper])),
        patch.pixels(np.dstack([aside, lower])),
        (v - cut) * np.float32(patch.axes.unit),
    )


def parted(lips: Lips, opening: Opening) -> tuple[slice, slice] | None:
    """Return the (rows, columns) of nodes between open lips, None where they are shut."""
    columns = np.flatnonzero(opening.open)
    if not len(columns):
        return None
    high, low = opening.top[columns].min() - 0.05, opening.bottom[columns].max() + 0.05
    rows = np.flatnonzero((lips.patch.v[:, 0] > high) & (lips.patch.v[:, 0] < low))
    return slice(rows[0], rows[-1] + 1), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def at_middle(lips: Lips, curve: Floats) -> float:
    """Return a curve's value in the middle of the lips."""
    return float(np.interp(lips.middle, lips.patch.u, curve))


def _axes(points: NDArray[np.float64]) -> Axes:
    """Lay the axes along the mouth, steadied by the line of the eyes."""
    mouth, eyes = points[291] - points[61], points[263] - points[33]
    width = float(np.linalg.norm(mouth))
    along = mouth / width + eyes / np.linalg.norm(eyes)
    along /= np.linalg.norm(along)
    down = np.array([-along[1], along[0]])
    return Axes(points[[78, 308, 13, 14]].mean(axis=0), along, down, width)


def _border(axes: Axes, u: Floats, row: int) -> NDArray[np.float64]:
    """Return v of a row of pixels for each column (n,)."""
    away = (row - axes.origin[1]) / axes.unit
    return np.asarray((away - u * axes.along[1]) / max(float(axes.down[1]), 0.2), np.float64)


def _outline(
    spots: NDArray[np.float64], numbers: tuple[int, ...], sign: int, rows: Floats
) -> Floats:
    """Return u of the face's outline at each v (m,); a face turned away keeps some cheek."""
    edge = spots[list(numbers)]
    return np.asarray(
        sign * np.maximum(sign * monotone(edge[:, 1], edge[:, 0], rows), 0.75), np.float32
    )


def _fan_out(curves: list[Floats], spots: NDArray[np.float64], u: Floats) -> tuple[Floats, ...]:
    """Spread the curves past the corners, so that they never cross and no seam runs on."""
    outside = np.maximum(np.maximum(spots[61, 0] - u, u - spots[291, 0]), 0)
    slopes = (-0.25, -0.04, 0.04, 0.25)
    return tuple(
        (curve + slope * outside).astype(np.float32)
        for curve, slope in zip(curves, slopes, strict=True)
    )


def _seen(mouth: Mouth) -> float:
    """Return the opening to draw: slits a little wider than they are, or they read as closed."""
    more = 0.02 * (1 - mouth.bite) * float(smoothstep(mouth.aperture / 0.05))
    return mouth.aperture + more


def _raised(mouth: Mouth, rounded: float, smile: float) -> float:
    """Return how far the upper lip goes up; the rest of the opening is the jaw's."""
    # A rounded mouth hides its teeth under the lip; a smile's lip is too high for that already.
    share = 0.26 - rounded * (0.13 - 0.25 * smile)
    wanted = share * mouth.aperture + 0.035 * mouth.bite
    if mouth.spread > 0:
        wanted += 0.02 * mouth.spread * min(mouth.aperture / 0.06, 1.0)
    return min(wanted, 0.085, mouth.aperture)


def _lens(across: Floats, rounded: float) -> Floats:
    """Return the opening's height along the lips, 1 in the middle and 0 from the corners on."""
    base = np.clip(1 - np.abs(across) ** 2.2, 0, None)
    return np.asarray(base ** (0.8 - 0.22 * rounded), np.float32)


def _reach(lips: Lips, apart: Floats, narrow: float) -> Floats:
    """Return how much of the narrowing each place follows: the outline of the face stays."""
    corner = 0.5 * min(narrow, 1.0) * float(np.interp(lips.middle + 0.5, lips.patch.u, lips.apart))
    return 1 - smoothstep((apart - corner) / (1.0 - corner))


def _near(v: Floats) -> Floats:
    """Return how much of the lips' narrowing each row follows (m, 1), 0 on the patch's edges."""
    away = v - np.float32(0.05)
    near = np.exp(-((away / np.where(away < 0, 0.55, 0.42)) ** 2))
    edges = smoothstep((v - v[0, 0]) / 0.3) * smoothstep((v[-1, 0] - v) / 0.3)
    return np.asarray(near * edges, np.float32)
