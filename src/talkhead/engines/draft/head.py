"""Small motion of the whole head, fading into a picture that stands still."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Face, Picture
from talkhead.engines.draft.geometry import Floats, Span, smoothstep
from talkhead.engines.draft.pose import Head

Reals = NDArray[np.floating]

CELL = 8  # pixels between nodes
PLAIN = 3  # levels that a plain bar varies by
TOP, CHIN, RIGHT, LEFT = 10, 152, 234, 454  # landmarks on the face's outline


@dataclass(frozen=True, slots=True, eq=False)
class HeadField:
    """How far each pixel around a head moves for one unit of each number of `Head`."""

    span: Span  # the pixels that can move
    base: Floats  # (h, w, 2), each pixel's own place
    moves: Floats  # (6, gh, gw, 2), pixels per unit of roll, x, y, scale, yaw, pitch

    def sources(self, head: Head) -> tuple[Floats, float]:
        """Return where each pixel of the span comes from (h, w, 2), and the longest way."""
        if not any(head):
            return self.base.copy(), 0.0
        coarse = np.tensordot(np.asarray(head, np.float32), self.moves, axes=1)
        rows, columns = coarse.shape[:2]
        # Nodes sit in the middle of cells, as resize wants it; the span begins half a cell later.
        full = cv2.resize(coarse, (columns * CELL, rows * CELL), interpolation=cv2.INTER_LINEAR)
        height, width = self.base.shape[:2]
        places = np.asarray(full[:height, :width], np.float32)
        places += self.base
        return places, float(np.abs(coarse).max())


def find_content(picture: Picture) -> Span:
    """Return the picture without plain bars around it: their edges must stay straight."""
    height, width = picture.shape[:2]
    left, right = _bar(picture.swapaxes(0, 1)), _bar(picture.swapaxes(0, 1)[::-1])
    return Span(left, _bar(picture), width - right, height - _bar(picture[::-1]))


def head_field(face: Face, others: Sequence[Face], content: Span) -> HeadField:
    """Prepare the motion of a face's head in a picture with other faces in it."""
    points = face.landmarks[:, :2].astype(np.float64)
    broad = float(np.linalg.norm(points[LEFT] - points[RIGHT]))
    # The face's outline narrows in a three-quarter view; the head does not.
    broad = max(broad, 0.72 * _tall(points))
    span = _span(points, broad).clip(content)
    columns, rows = -(-(span.x1 - span.x0) // CELL), -(-(span.y1 - span.y0) // CELL)
    x = (span.x0 + (np.arange(columns) + 0.5) * CELL - 0.5)[None, :]
    y = (span.y0 + (np.arange(rows) + 0.5) * CELL - 0.5)[:, None]
    radius = _radius(points, broad, x, y)
    weight = smoothstep(1 - (radius - 1.0) / 0.95).astype(np.float64)
    weight *= _still_border(points, broad, content, x, y)
    for other in others:
        neighbour = other.landmarks[:, :2].astype(np.float64)
        theirs = _radius(neighbour, max(_wide(neighbour), 0.72 * _tall(neighbour)), x, y)
        weight *= smoothstep((theirs - radius) / 0.5)  # zero from half way on, on both sides
    bulge = np.sqrt(np.clip(1 - radius**2, 0, 1)) * weight - 0.35 * weight
    middle = points[[TOP, CHIN, RIGHT, LEFT]].mean(axis=0)
    neck = middle + np.array([0, 0.75 * _tall(points)])
    dx, dy = x - neck[0] + 0 * y, y - neck[1] + 0 * x
    none = np.zeros_like(weight)
    moves = [  # a pixel's source lies against the motion
        (dy * weight, -dx * weight),
        (-broad * weight, none),
        (none, -broad * weight),
        (-dx * weight, -dy * weight),
        (-broad * bulge, none),
        (none, -broad * bulge),
    ]
    grid = np.stack([np.stack(move, axis=-1) for move in moves]).astype(np.float32)
    return HeadField(span, _places(span), grid)


def _places(span: Span) -> Floats:
    base = np.empty((span.y1 - span.y0, span.x1 - span.x0, 2), np.float32)
    base[..., 0] = np.arange(span.x0, span.x1)
    base[..., 1] = np.arange(span.y0, span.y1)[:, None]
    return base


def _tall(points: Reals) -> float:
    return float(np.linalg.norm(points[CHIN] - points[TOP]))


def _wide(points: Reals) -> float:
    return float(np.linalg.norm(points[LEFT] - points[RIGHT]))


def _middle(points: Reals) -> Reals:
    """Return the middle of the head, hair included: above that of the face."""
    outline = points[[TOP, CHIN, RIGHT, LEFT]].mean(axis=0)
    return np.asarray(outline - np.array([0, 0.12 * _tall(points)]), np.float64)


def _radius(points: Reals, broad: float, x: Reals, y: Reals) -> Reals:
    """Return the distance from the middle of a head, 1 at its outline."""
    middle = _middle(points)
    across, down = (x - middle[0]) / (0.62 * broad), (y - middle[1]) / (0.78 * _tall(points))
    return np.asarray(np.hypot(across, down), np.float64)


def _span(points: Reals, broad: float) -> Span:
    middle = _middle(points)
    reach = np.array([0.62 * broad, 0.78 * _tall(points)]) * 1.95
    low, high = np.floor(middle - reach), np.ceil(middle + reach) + 1
    return Span(int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def _still_border(points: Reals, broad: float, content: Span, x: Reals, y: Reals) -> Reals:
    """Return a weight that is 0 on the picture's border: hair that touches it must not tear off.

    A face close to the border moves less, because its motion has little room to fade.
    """
    x0, y0, x1, y1 = content
    away = np.minimum(np.minimum(x - x0, x1 - 1 - x), np.minimum(y - y0, y1 - 1 - y))
    fade = smoothstep((away - CELL) / (0.3 * broad)).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    room = min(low[0] - x0, low[1] - y0, x1 - 1 - high[0], y1 - 1 - high[1])
    return np.asarray(fade * (0.5 + 0.5 * float(smoothstep(room / (0.3 * broad)))), np.float64)


def _bar(rows: Picture) -> int:
    """Return how many of the first rows are a plain bar, 0 where they are plain background.

    Behind the edge of a bar most of the row is something else; behind a background, a little hair.
    """
    span = rows.max(axis=1).astype(np.int16) - rows.min(axis=1)
    filled = np.flatnonzero(span.max(axis=1) > PLAIN)
    if not len(filled) or filled[0] in (0, len(rows) - 1):
        return 0
    start = int(filled[0])
    other = np.abs(rows[start + 1].astype(np.int16) - rows[0, 0]).max(axis=1) > 4 * PLAIN
    return start if other.mean() > 0.5 else 0
