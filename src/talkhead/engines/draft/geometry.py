"""Curves, and the patches of a picture in which a mouth or an eye moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from talkhead.engines import Picture

Floats = NDArray[np.float32]


class Span(NamedTuple):
    """A rectangle of whole pixels; x1 and y1 lie just outside."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def empty(self) -> bool:
        """Return whether no pixel lies inside."""
        return self.x1 <= self.x0 or self.y1 <= self.y0

    def clip(self, other: "Span") -> "Span":
        """Return what both rectangles share."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Span(x0, y0, min(self.x1, other.x1), min(self.y1, other.y1))

    def grown(self, more: int) -> "Span":
        """Return the rectangle with more pixels on every side."""
        return Span(self.x0 - more, self.y0 - more, self.x1 + more, self.y1 + more)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return (rows, columns) of this rectangle in the picture."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def within(self, outer: "Span") -> tuple[slice, slice]:
        """Return (rows, columns) of this rectangle in an array that covers the outer one."""
        return (
            slice(self.y0 - outer.y0, self.y1 - outer.y0),
            slice(self.x0 - outer.x0, self.x1 - outer.x0),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """A turned frame of reference; one unit is `unit` pixels."""

    origin: NDArray[np.float64]  # (2,), pixels
    along: NDArray[np.float64]  # (2,), the unit vector of u
    down: NDArray[np.float64]  # (2,), the unit vector of v
    unit: float

    def local(self, points: ArrayLike) -> NDArray[np.float64]:
        """Turn pixels (n, 2) into units (n, 2)."""
        away = (np.asarray(points, np.float64) - self.origin) / self.unit
        return np.stack([away @ self.along, away @ self.down], axis=-1)

    @property
    def to_local(self) -> NDArray[np.float64]:
        """Return the affine (2, 3) from pixels to units."""
        turn = np.stack([self.along, self.down]) / self.unit
        return np.concatenate([turn, -(turn @ self.origin)[:, None]], axis=1)

    @property
    def to_pixels(self) -> NDArray[np.float64]:
        """Return the affine (2, 3) from units to pixels."""
        turn = np.stack([self.along, self.down], axis=1) * self.unit
        return np.concatenate([turn, self.origin[:, None]], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A grid of nodes over a part of the picture, along the axes of a mouth or an eye."""

    axes: Axes
    density: float  # nodes per unit
    u: Floats  # (n,), units
    v: Floats  # (m, 1), units

    @classmethod
    def over(
        cls, axes: Axes, low: tuple[float, float], high: tuple[float, float], n: int
    ) -> "Patch":
        """Lay nodes from low to high (u, v), n of them per unit."""
        u = np.arange(low[0], high[0], 1 / n, dtype=np.float32)
        v = np.arange(low[1], high[1], 1 / n, dtype=np.float32)
        return cls(axes, float(n), u, v[:, None])

    @property
    def to_nodes(self) -> NDArray[np.float64]:
        """Return the affine (2, 3) from pixels to columns and rows of nodes."""
        affine = self.axes.to_local.copy()
        affine[:, 2] -= [self.u[0], self.v[0, 0]]
        return affine * self.density

    def pixels(self, shift: Floats) -> Floats:
        """Turn shifts in units (m, n, 2) into shifts in pixels."""
        return transform(shift, self.axes.to_pixels[:, :2])

    def span(self, rows: slice = slice(None), columns: slice = slice(None)) -> Span:
        """Return the pixels that a part of the nodes lies over."""
        u, v = self.u[columns], self.v[rows, 0]
        corners = np.array([[x, y] for x in (u[0], u[-1]) for y in (v[0], v[-1])])
        affine = self.axes.to_pixels
        spots = corners @ affine[:, :2].T + affine[:, 2]
        low, high = np.floor(spots.min(axis=0)), np.ceil(spots.max(axis=0)) + 1
        return Span(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Where each node takes its colour from, with a cut along which that may jump.

    Each side is smooth across the cut, so both can be sampled between nodes.
    """

    above: Floats  # (m, n, 2), pixels from a node to its source, for what lies above the cut
    below: Floats  # (m, n, 2)
    depth: Floats  # (m, n), pixels below the cut

    def joined(self) -> Floats:
        """Return the shift of each node by the side on which it lies (m, n, 2)."""
        return np.where(self.depth[..., None] < 0, self.above, self.below)

    def torn(self, near: float) -> tuple[slice, slice] | None:
        """Return the (rows, columns) in which the sides disagree near the cut, None for none.

        Near is in pixels: two nodes and a pixel is as far as the cut blurs.
        """
        apart = np.abs(self.above - self.below) > 0.03  # pixels: too little to see
        apart = (apart[..., 0] | apart[..., 1]) & (np.abs(self.depth) < near)
        rows, columns = np.flatnonzero(apart.any(axis=1)), np.flatnonzero(apart.any(axis=0))
        if not len(rows):
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def smoothstep(x: ArrayLike) -> Floats:
    """Return 0 below 0, 1 above 1, and the smooth cubic between."""
    t = np.clip(np.asarray(x, np.float32), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def transform(points: Floats, affine: NDArray[np.float64]) -> Floats:
    """Apply an affine (2, 3) or a turn (2, 2) to points (m, n, 2)."""
    return np.asarray(cv2.transform(points, affine), np.float32)


def sample(values: Floats, at: Floats) -> Floats:
    """Look values (m, n, c <= 4) up at columns and rows (h, w, 2); zero outside."""
    return np.asarray(_remap(values, at, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT), np.float32)


def colours(picture: Picture, at: Floats, out: Picture | None = None) -> Picture:
    """Look pixels up in a picture at columns and rows (h, w, 2); whole ones come back the same."""
    found = _remap(picture, at, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE, out)
    return np.asarray(found, np.uint8)


def _remap(
    values: NDArray[Any], at: Floats, kind: int, border: int, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    # The stubs ask for a second map, but OpenCV 5.0 returns garbage for an empty one.
    found = cv2.remap(values, at, None, kind, out, borderMode=border)  # type: ignore[call-overload]
    return np.asarray(found)


def monotone(xs: ArrayLike, ys: ArrayLike, at: ArrayLike) -> Floats:
    """Return the curve through points, without overshoot between them and level beyond the ends.

    Cubic Hermite with the slopes of Fritsch and Butland (1984).
    """
    x, y = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    order = np.argsort(x, kind="stable")
    x, y = x[order] + 1e-6 * np.arange(len(x)), y[order]
    step = np.diff(x)
    rise = np.diff(y) / step
    slope = np.zeros(len(x))
    slope[[0, -1]] = rise[[0, -1]]
    same = rise[:-1] * rise[1:] > 0
    w1, w2 = 2 * step[1:] + step[:-1], step[1:] + 2 * step[:-1]
    before, after = np.where(same, rise[:-1], 1), np.where(same, rise[1:], 1)
    slope[1:-1] = np.where(same, (w1 + w2) * before * after / (w1 * after + w2 * before), 0)
    spots = np.clip(np.asarray(at, np.float64), x[0], x[-1])
    k = np.clip(np.searchsorted(x, spots, side="right") - 1, 0, len(x) - 2)
    t = (spots - x[k]) / step[k]
    near = (1 + 2 * t) * (1 - t) ** 2 * y[k] + t * (1 - t) ** 2 * step[k] * slope[k]
    far = t * t * (3 - 2 * t) * y[k + 1] - t * t * (1 - t) * step[k] * slope[k + 1]
    return (near + far).astype(np.float32)


def follow(v: Floats, knots: Sequence[Floats], sources: Sequence[Floats]) -> Floats:
    """Return how far above or below each row (m, 1) its source lies (m, n).

    The knots (n,), from top to bottom, take theirs from `sources` (n,); between two knots the shift
    changes evenly, beyond the ends it stays.
    """
    shift = np.broadcast_to(sources[0] - knots[0], (len(v), knots[0].size)).astype(np.float32)
    last = len(knots) - 2
    for i in range(len(knots) - 1):
        start, end = knots[i], knots[i + 1]
        part = np.clip((v - start) * (1 / np.maximum(end - start, 1e-4)), 0, 1)
        change = (sources[i + 1] - end) - (sources[i] - start)
        # The longest stretch is the last one: without a kink where it ends, nothing shows.
        shift += change * (smoothstep(part) if i == last else part)
    return shift
