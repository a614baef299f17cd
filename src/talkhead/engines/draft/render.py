"""Frames from a still picture: heads move, lips open, lids close.

Where each pixel takes its colour from is composed first (head, then mouth and eyes), and the
picture is sampled once: sharper than moving pixels twice. Only the boxes of heads are touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from talkhead.engines import Face, Picture
from talkhead.engines.draft.eyes import Eye, Lid, close_lid, find_eyes, fold_eye, paint_lid
from talkhead.engines.draft.geometry import Floats, Fold, Patch, Span, colours, sample, transform
from talkhead.engines.draft.head import HeadField, head_field
from talkhead.engines.draft.mouth import Lips, Opening, find_lips, fold_lips, open_lips
from talkhead.engines.draft.pose import Pose
from talkhead.engines.draft.teeth import Inside, fill, make_inside

BLINKING = 0.02  # lids that close by less stay where they are


@dataclass(frozen=True, slots=True, eq=False)
class _Actor:
    """A face that can move."""

    head: HeadField
    lips: Lips
    inside: Inside
    eyes: tuple[Eye, ...]


class Renderer:
    """Draws frames of one picture. Holds what is the same in all; a frame depends on poses only."""

    def __init__(self, picture: Picture, faces: Sequence[Face], seed: int) -> None:
        self._picture = np.ascontiguousarray(picture).copy()
        self._actors = tuple(
            _cast(
                self._picture, face, [other for other in faces if other is not face], seed + number
            )
            for number, face in enumerate(faces)
        )

    def frame(self, poses: Sequence[Pose]) -> Picture:
        """Return a new frame, (height, width, 3), with one pose for each face."""
        out = self._picture.copy()
        for actor, pose in zip(self._actors, poses, strict=True):
            _draw(out, actor, pose)
        return out


def _cast(picture: Picture, face: Face, others: Sequence[Face], seed: int) -> _Actor:
    height, width = picture.shape[:2]
    lips = find_lips(picture, face)
    return _Actor(
        head_field(face, others, width, height),
        lips,
        make_inside(picture, face, lips, seed),
        find_eyes(picture, face),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """The pixels around one head in one frame."""

    span: Span
    at: Floats  # (h, w, 2), where each comes from by the motion of the head alone
    far: float  # the longest of these ways, pixels

    def near(
        self, patch: Patch, part: tuple[slice, slice] = (slice(None), slice(None))
    ) -> tuple[slice, slice] | None:
        """Return the (rows, columns) that may show a part of a patch, wherever the head moved."""
        box, more = patch.span(*part), int(self.far) + 2
        grown = Span(box.x0 - more, box.y0 - more, box.x1 + more, box.y1 + more)
        seen = grown.clip(self.span)
        return None if seen.empty else seen.within(self.span)


def _draw(out: Picture, actor: _Actor, pose: Pose) -> None:
    """Move one face in place. Where nothing moves, cubic sampling returns the very same pixel."""
    span = actor.head.span
    stage = _Stage(span, *actor.head.sources(pose.head))
    opening = open_lips(actor.lips, pose.mouth)
    folds = [(actor.lips.patch, fold_lips(actor.lips, opening))]
    lids = [(eye, close_lid(eye, pose.blink)) for eye in actor.eyes if pose.blink > BLINKING]
    folds += [(eye.patch, fold_eye(eye, lid, pose.blink)) for eye, lid in lids]
    sources = stage.at.copy()
    for patch, fold in folds:
        _shift(sources, stage, patch, fold)
    face = colours(out, sources)
    for patch, fold in folds:
        _mend(face, out, stage, patch, fold)
    _fill_mouth(face, stage, actor, opening, pose)
    for eye, lid in lids:
        _draw_out(face, stage, eye, lid)
    out[span.within(Span(0, 0, out.shape[1], out.shape[0]))] = face


def _shift(sources: Floats, stage: _Stage, patch: Patch, fold: Fold) -> None:
    """Add the shifts of a patch to the sources (h, w, 2)."""
    where = stage.near(patch)
    if where is not None:
        sources[where] += sample(fold.joined(), transform(stage.at[where], patch.to_nodes))


def _mend(face: Picture, picture: Picture, stage: _Stage, patch: Patch, fold: Fold) -> None:
    """Draw the two sides of a cut apart and join them along it: between nodes, both would blur."""
    torn = fold.torn()
    where = torn and stage.near(patch, torn)
    if where is None:
        return
    at = stage.at[where]
    nodes = transform(at, patch.to_nodes)
    shifts = sample(np.dstack([fold.above, fold.below]), nodes)
    share = np.clip(sample(fold.depth, nodes) + 0.5, 0, 1)[..., None]
    above = colours(picture, at + shifts[..., :2])
    below = colours(picture, at + shifts[..., 2:])
    face[where] = (above * (1 - share) + below * share + 0.5).astype(np.uint8)


def _fill_mouth(face: Picture, stage: _Stage, actor: _Actor, opening: Opening, pose: Pose) -> None:
    """Paint the inside of the mouth between open lips."""
    lips = actor.lips
    columns = np.flatnonzero(opening.open)
    if not len(columns):
        return
    high, low = opening.top[columns].min(), opening.bottom[columns].max()
    rows = np.flatnonzero((lips.patch.v[:, 0] > high - 0.05) & (lips.patch.v[:, 0] < low + 0.05))
    part = slice(rows[0], rows[-1] + 1), slice(max(columns[0] - 1, 0), columns[-1] + 2)
    where = stage.near(lips.patch, part)
    if where is not None:
        _blend(face, where, *fill(actor.inside, lips, opening, pose.mouth, stage.at[where]))


def _draw_out(face: Picture, stage: _Stage, eye: Eye, lid: Lid) -> None:
    """Paint the skin of a lid that comes down."""
    where = stage.near(eye.patch)
    if where is not None:
        _blend(face, where, *paint_lid(eye, lid, stage.at[where]))


def _blend(face: Picture, where: tuple[slice, slice], colour: Floats, cover: Floats) -> None:
    """Lay a colour (h, w, 3) over a part of the face as far as it covers (h, w, 1)."""
    under = face[where]
    face[where] = np.clip(under + (colour - under) * cover + 0.5, 0, 255).astype(np.uint8)
