"""Where the lips meet, read from the picture: landmarks alone put the line beside the real one.

Lips are redder than teeth and than the dark line between them, on any skin. Lengths are shares of
the mouth's width.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Picture
from talkhead.engines.draft.geometry import Floats, Patch, colours, transform

TRUSTED = 0.065  # a larger gap between the landmarks is an open mouth, and they tell its edges
SEARCH = 0.075  # rows above and below the landmarks' line that may hold the real one
MARGIN = 0.016  # kept around visible teeth: no light strip must stay between closed lips
PARTED = 0.01  # mean half height of teeth seen between parted lips
FAINT = 12.0  # redness of lips, 0..255, below which brightness has to tell


def read_seam(
    picture: Picture, patch: Patch, curves: tuple[Floats, ...], inside: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the inner edges of the lips (n,), equal where they touch.

    `curves` are the landmarks' upper outer, upper inner, lower inner and lower outer lip; `inside`
    marks the columns between the corners.
    """
    upper_outer, upper, lower, lower_outer = curves
    gap = np.maximum(lower - upper, 0)
    line = 0.5 * (upper + lower)
    half = 0.5 * gap + MARGIN * np.clip(gap / MARGIN, 0, 1)
    if not inside.any() or float(gap[inside].max()) < TRUSTED:
        line, half = _look(picture, patch, curves, inside)
    top = np.maximum(line - half, upper_outer + 3e-3)
    bottom = np.minimum(np.maximum(line + half, top), lower_outer - 3e-3)
    top, bottom = np.where(inside, top, upper), np.where(inside, bottom, lower)
    return top.astype(np.float32), np.maximum(bottom, top).astype(np.float32)


def _look(
    picture: Picture, patch: Patch, curves: tuple[Floats, ...], inside: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the line between nearly closed lips and half the height of the teeth in it (n,)."""
    upper_outer, upper, lower, lower_outer = curves
    line = 0.5 * (upper + lower)
    red, bright = _lip_colours(picture, patch)
    v = patch.v
    lips = ((v > 0.7 * upper_outer + 0.3 * line) & (v < 0.7 * line + 0.3 * upper_outer)) | (
        (v > 0.7 * line + 0.3 * lower_outer) & (v < 0.3 * line + 0.7 * lower_outer)
    )
    lips &= inside
    if not lips.any():
        return line, np.zeros_like(line)
    typical_red, typical_bright = float(np.median(red[lips])), float(np.median(bright[lips]))
    unlike = red / typical_red if typical_red > FAINT else bright / max(typical_bright, 1.0)
    # The line lies where colours are least like those of lips, near the landmarks'.
    away = (v - line) / SEARCH
    cost = np.where(np.abs(away) < 1, unlike + 0.5 * away**2, np.inf)
    row = np.argmin(cost, axis=0)
    found = np.take_along_axis(unlike, row[None], axis=0)[0]
    sure = inside * np.clip((0.85 - found) / 0.3, 0, 1)
    moved = line + _smooth(v[row, 0] - line, sure)
    # Teeth are pale: bright, yet little red for it. The dark line is the other way round.
    pale = red / (bright + 8) < 0.92 * typical_red / (typical_bright + 8)
    tooth = pale & (bright > 0.85 * typical_bright) & (typical_red > FAINT)
    tooth &= np.abs(v - moved) < 0.045
    tooth &= (v > 0.5 * (upper_outer + line)) & (v < 0.5 * (lower_outer + line))
    tall = tooth.sum(axis=0) * float(v[1, 0] - v[0, 0])
    half = 0.5 * _smooth(tall, inside * 1.0)
    columns = np.flatnonzero(inside)
    center = columns[len(columns) // 4 : -(len(columns) // 4)]
    if float(half[center].mean()) < PARTED:  # a shine on the lips, or skin at the corners
        return moved.astype(np.float32), np.zeros_like(line)
    return moved.astype(np.float32), (half + MARGIN * np.clip(half / 0.01 - 0.5, 0, 1)) * inside


def _lip_colours(picture: Picture, patch: Patch) -> tuple[Floats, Floats]:
    """Return redness and brightness at the nodes (m, n)."""
    spots = np.dstack(np.broadcast_arrays(patch.u, patch.v)).astype(np.float32)
    seen = colours(picture, transform(spots, patch.axes.to_pixels)).astype(np.float32)
    seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), 0.8), np.float32)
    return seen[..., 0] - 0.5 * (seen[..., 1] + seen[..., 2]), seen.mean(axis=2)


def _smooth(values: Floats, weight: Floats) -> Floats:
    """Average along the columns, by weight; little weight around means little value."""
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)
    total = np.convolve(values * weight, kernel, "same")
    return np.asarray(total / (np.convolve(weight, kernel, "same") + 0.5), np.float32)
