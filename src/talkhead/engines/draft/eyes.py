"""Blinks: the upper lid comes down over the eye, lashes and all. Lengths are eye widths."""

from dataclasses import dataclass

import numpy as np

from talkhead.engines import Face
from talkhead.engines.draft.geometry import (
    Axes,
    Floats,
    Fold,
    Patch,
    follow,
    monotone,
    smoothstep,
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
SHUT, OPEN = 0.12, 0.20  # openings of a closed and of an open eye


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """An eye in the still picture; curves have one value for each column of the patch."""

    patch: Patch
    upper: Floats  # (n,), the upper lid's edge
    lower: Floats
    height: Floats  # of the opening; 0 beside the eye, and everywhere in a closed one


def find_eyes(face: Face) -> tuple[Eye, ...]:
    """Measure a face's eyes; those that are closed already are left out."""
    eyes = (
        _find(face, upper, lower, brow)
        for upper, lower, brow in zip(UPPER, LOWER, BROW, strict=True)
    )
    return tuple(eye for eye in eyes if eye.height.max() > 0)


def fold_eye(eye: Eye, blink: float) -> Fold:
    """Return where the picture around an eye takes its colours from, blink 0 open to 1 closed."""
    v = eye.patch.v
    edge = eye.upper + np.float32(0.86 * blink) * eye.height
    crease = eye.upper - np.float32(CREASE) + np.float32(0.25 * blink) * eye.height
    still = np.full_like(eye.upper, v[0, 0] + 0.01)
    above = follow(
        v,
        (still, crease, edge - LASHES, edge),
        (still, eye.upper - CREASE, eye.upper - LASHES, eye.upper),
    )
    bag = np.full_like(eye.upper, BAG)
    lower = eye.lower - np.float32(0.10 * blink) * eye.height
    middle = np.float32(0.5) * (eye.upper + eye.lower - np.float32(0.10 * blink) * eye.height)
    below = follow(v, (middle, lower, bag), (middle, eye.lower, bag))
    still_u = np.zeros_like(above)
    return Fold(
        eye.patch.pixels(np.dstack([still_u, above])),
        eye.patch.pixels(np.dstack([still_u, below])),
        (v - edge) * np.float32(eye.patch.axes.unit),
    )


def _find(face: Face, upper: tuple[int, ...], lower: tuple[int, ...], brow: tuple[int, ...]) -> Eye:
    points = face.landmarks[:, :2].astype(np.float64)
    start, end = points[upper[0]], points[upper[-1]]
    width = float(np.linalg.norm(end - start))
    along = (end - start) / width
    axes = Axes((start + end) / 2, along, np.array([-along[1], along[0]]), width)
    lid, rim, arch = (axes.local(points[list(part)]) for part in (upper, lower, brow))
    top = 0.55 * float(arch[:, 1].mean()) + 0.45 * float(lid[:, 1].min())
    patch = Patch.over(
        axes, (-0.75, min(top, float(lid[:, 1].min()) - 0.24)), (0.75, BAG + 0.02), NODES
    )
    edge = monotone(lid[:, 0], lid[:, 1], patch.u)
    floor = np.maximum(monotone(rim[:, 0], rim[:, 1], patch.u), edge)
    gap = floor - edge
    opened = smoothstep((float(gap.max()) - SHUT) / (OPEN - SHUT))
    height = gap * opened * smoothstep((0.56 - np.abs(patch.u)) / 0.08)
    return Eye(patch, edge - np.float32(0.012), floor, height.astype(np.float32))
