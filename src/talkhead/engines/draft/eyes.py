"""Blinks: the upper lid comes down over the eye, lashes and all. Lengths are eye widths."""

from dataclasses import dataclass

import cv2
import numpy as np

from talkhead.engines import Face, Picture
from talkhead.engines.draft.geometry import (
    Axes,
    Floats,
    Fold,
    Patch,
    colours,
    follow,
    monotone,
    sample,
    smoothstep,
    transform,
)

NODES = 48  # per eye width

# Landmarks from one corner to the other, left to right in the picture.
UPPER = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133),
    (362, 398, 384, 385, 386, 387, 388, 466, 263),
)
LOWER = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133),
    (362, 382, 381, 380, 374, 373, 390, 249, 263),
)
BROW = ((70, 63, 105, 66, 107), (336, 296, 334, 293, 300))

LASHES = 0.095  # a strip above the lid's edge that moves as one: stretched, lashes smear
CREASE = 0.17  # the fold of the lid above its edge
BAG = 0.40  # where the cheek below stays still
WING = 0.14  # how far the lid's motion is drawn out past the corners
DROP, RISE = 0.89, 0.10  # shares of the opening that the upper and the lower lid close
SHUT, OPEN = 0.12, 0.20  # openings of a closed and of an open eye


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """An eye in the still picture; curves have one value for each column of the patch."""

    patch: Patch
    upper: Floats  # (n,), the upper lid's edge
    lower: Floats
    height: Floats  # of the opening; 0 beside the eye, and everywhere in a closed one
    skin: Floats  # (n, 3), colour of the lid when it is drawn out


@dataclass(frozen=True, slots=True, eq=False)
class Lid:
    """An upper lid in one frame."""

    edge: Floats  # (n,)
    crease: Floats
    drawn: Floats  # 0 as in the picture to 1 drawn out over a wide eye


def find_eyes(picture: Picture, face: Face) -> tuple[Eye, ...]:
    """Measure a face's eyes; those that are closed already are left out."""
    eyes = (
        _find(picture, face.landmarks[:, :2].astype(np.float64), upper, lower, brow)
        for upper, lower, brow in zip(UPPER, LOWER, BROW, strict=True)
    )
    return tuple(eye for eye in eyes if eye.height.max() > 0)


def close_lid(eye: Eye, blink: float) -> Lid:
    """Bring the lid down, blink 0 as in the picture to 1 closed."""
    return Lid(
        eye.upper + np.float32(DROP * blink) * eye.height,
        eye.upper - np.float32(CREASE) + np.float32(0.16 * blink) * eye.height,
        np.clip(np.float32(blink / 0.30) * eye.height, 0, 1),
    )


def fold_eye(eye: Eye, lid: Lid, blink: float) -> Fold:
    """Return where the picture around an eye takes its colours from."""
    v = eye.patch.v
    still = np.full_like(eye.upper, v[0, 0] + 0.01)
    lashes = np.float32(LASHES)
    above = follow(
        v,
        (still, lid.crease, lid.edge - lashes, lid.edge),
        (still, eye.upper - np.float32(CREASE), eye.upper - lashes, eye.upper),
    )
    bag = np.full_like(eye.upper, BAG)
    raised = np.float32(RISE * blink) * eye.height
    middle = np.float32(0.5) * (eye.upper + eye.lower - raised)
    below = follow(v, (middle, eye.lower - raised, bag), (middle, eye.lower, bag))
    aside = np.zeros_like(above)
    return Fold(
        eye.patch.pixels(np.dstack([aside, above])),
        eye.patch.pixels(np.dstack([aside, below])),
        (v - lid.edge) * np.float32(eye.patch.axes.unit),
    )


def paint_lid(eye: Eye, lid: Lid, at: Floats) -> tuple[Floats, Floats]:
    """Return colour (h, w, 3) and cover (h, w, 1) of the drawn-out skin at pixels `at` (h, w, 2).

    Stretched from the narrow strip that an open eye shows, it would be streaks.
    """
    spots = transform(at, eye.patch.axes.to_local)
    column = np.clip((spots[..., 0] - eye.patch.u[0]) * eye.patch.density, 0, eye.patch.u.size - 1)
    nodes = np.dstack([column, np.zeros_like(column)])
    curves = sample(np.dstack([lid.edge, lid.crease, lid.drawn]).astype(np.float32), nodes)
    low, high = curves[..., 0] - np.float32(LASHES), curves[..., 1]
    share = (spots[..., 1] - high) / np.maximum(low - high, 1e-3)  # 0 at the crease, 1 at lashes
    skin = sample(eye.skin[None], nodes)
    # The lid bulges over the eyeball: lightest in the middle, shaded under the brow and at the rim.
    skin *= (0.90 + 0.12 * smoothstep(share / 0.5) - 0.10 * smoothstep(share * 2 - 1))[..., None]
    cover = smoothstep(share / 0.45) * smoothstep((1.02 - share) / 0.25) * curves[..., 2]
    return skin, (np.float32(0.75) * cover)[..., None]


def _find(
    picture: Picture,
    points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    brow: tuple[int, ...],
) -> Eye:
    start, end = points[upper[0]], points[upper[-1]]
    width = float(np.linalg.norm(end - start))
    along = (end - start) / width
    axes = Axes((start + end) / 2, along, np.array([-along[1], along[0]]), width)
    lid, rim, arch = (axes.local(points[list(part)]) for part in (upper, lower, brow))
    high = float(lid[:, 1].min())
    top = min(0.55 * float(arch[:, 1].mean()) + 0.45 * high, high - 0.24)
    patch = Patch.over(axes, (-0.75, top), (0.75, BAG + 0.02), NODES)
    edge = monotone(lid[:, 0], lid[:, 1], patch.u)
    floor = np.maximum(monotone(rim[:, 0], rim[:, 1], patch.u), edge)
    gap = floor - edge
    opened = smoothstep((float(gap.max()) - SHUT) / (OPEN - SHUT))
    height = opened * _softened(gap, patch.u)
    edge = edge - np.float32(0.012)
    skin = _skin(picture, patch, edge, floor)
    return Eye(patch, edge, floor, height.astype(np.float32), skin)


def _softened(gap: Floats, u: Floats) -> Floats:
    """Return the opening with its ends drawn out past the corners, (n,).

    Lashes reach further than the eye. If those beyond a corner stayed while their neighbours came
    down, the row would tear there.
    """
    inside = gap * smoothstep((0.56 - np.abs(u)) / 0.08)
    spread = cv2.GaussianBlur(inside[None].astype(np.float32), (0, 0), WING * NODES)[0]
    out: Floats = np.maximum(inside, spread * smoothstep((0.74 - np.abs(u)) / 0.14))
    return out


def _skin(picture: Picture, patch: Patch, upper: Floats, lower: Floats) -> Floats:
    """Return the colour of the skin around the eye along it (n, 3): above the lashes and below."""
    rows = [upper - 0.20, upper - 0.14, lower + 0.14, lower + 0.20]
    spots = np.stack([np.stack([patch.u, row], axis=-1) for row in rows]).astype(np.float32)
    seen = colours(picture, transform(spots, patch.axes.to_pixels)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(np.median(seen, axis=0)[None], (0, 0), 5)[0], np.float32)
