"""Frames from a still picture: heads move, lips open, lids close.

Where each pixel takes its colour from is composed first (head, then mouth and eyes), and the
picture is sampled once: sharper than moving pixels twice. Only the boxes of heads are touched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from talkhead.engines import Face, Picture
from talkhead.engines.draft.eyes import Eye, close_lid, find_eyes, fold_eye, paint_lid
from talkhead.engines.draft.geometry import Floats, Fold, Patch, Span, colours, sample, transform
from talkhead.engines.draft.head import HeadField, find_content, head_field
from talkhead.engines.draft.mouth import Lips, find_lips, fold_lips, open_lips, parted
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

    def __init__(
        self, picture: Picture, faces: Sequence[Face], seed: int, bystanders: Sequence[Face] = ()
    ) -> None:
        self._picture = np.ascontiguousarray(picture).copy()
        content = find_content(self._picture)
        present = [*faces, *bystanders]  # nobody's head moves the face of another
        self._actors = tuple(
            _Actor(
                head_field(face, [other for other in present if other is not face], content),
                lips := find_lips(self._picture, face, content),
                make_inside(self._picture, face, lips, seed + number),
                find_eyes(self._picture, face),
            )
            for number, face in enumerate(faces)
        )

    def frame(self, poses: Sequence[Pose]) -> Picture:
        """Return a new frame, (height, width, 3), with one pose for each face."""
        out = self._picture.copy()
        for number, (actor, pose) in enumerate(zip(self._actors, poses, strict=True)):
            # The boxes of heads may overlap: what the last one changed is the next one's source.
            _draw(out, out.copy() if number else self._picture, actor, pose)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A mouth or an eye in one frame: how its patch shifts, and what is painted over it."""

    patch: Patch
    fold: Fold
    paint: Callable[[Floats], tuple[Floats, Floats]]  # places (h, w, 2) to colour and cover
    painted: tuple[slice, slice] | None  # rows and columns of nodes, None for nothing


@dataclass(frozen=True, slots=True, eq=False)
class _Region:
    """Some pixels of one frame, and where they come from by the motion of the head alone."""

    span: Span
    at: Floats  # (h, w, 2)

    def part(self, span: Span) -> "_Region | None":
        """Return what lies in another rectangle, None for nothing."""
        shared = span.clip(self.span)
        return None if shared.empty else _Region(shared, self.at[shared.within(self.span)])


def _draw(out: Picture, source: Picture, actor: _Actor, pose: Pose) -> None:
    """Move one face. Where nothing moves, sampling returns the very same pixel."""
    at, far = actor.head.sources(pose.head)
    head = _Region(actor.head.span, at)
    room = int(far) + 2  # a node may show that far from its place in the picture
    moved = [
        (part, _Region(region.span, region.at.copy()))
        for part in _parts(actor, pose)
        if (region := head.part(part.patch.span().grown(room))) is not None
    ]
    for part, region in moved:
        nodes = transform(region.at, part.patch.to_nodes)
        at[region.span.within(head.span)] += sample(part.fold.joined(), nodes)
    colours(source, at, out[head.span.slices])
    for part, region in moved:
        _mend(out, source, part, region, room)
        _paint(out, part, region, room)


def _parts(actor: _Actor, pose: Pose) -> list[_Part]:
    """Return what moves in a face beside the head itself."""
    lips = actor.lips
    opening = open_lips(lips, pose.mouth)
    inside = partial(fill, actor.inside, lips, opening, pose.mouth)
    parts = [_Part(lips.patch, fold_lips(lips, opening), inside, parted(lips, opening))]
    if pose.blink > BLINKING:
        for eye in actor.eyes:
            lid = close_lid(eye, pose.blink)
            fold, skin = fold_eye(eye, lid, pose.blink), partial(paint_lid, eye, lid)
            parts.append(_Part(eye.patch, fold, skin, (slice(None), slice(None))))
    return parts


def _mend(out: Picture, source: Picture, part: _Part, whole: _Region, room: int) -> None:
    """Draw the two sides of a cut apart and join them along it: between nodes, both would blur."""
    patch, fold = part.patch, part.fold
    torn = fold.torn(2 * patch.axes.unit / patch.density + 1)
    region = whole.part(patch.span(*torn).grown(room)) if torn else None
    if region is None:
        return
    nodes = transform(region.at, patch.to_nodes)
    shifts = sample(np.dstack([fold.above, fold.below]), nodes)
    share = np.clip(sample(fold.depth, nodes) + 0.5, 0, 1)[..., None]
    above = colours(source, region.at + shifts[..., :2])
    below = colours(source, region.at + shifts[..., 2:])
    out[region.span.slices] = (above * (1 - share) + below * share + 0.5).astype(np.uint8)


def _paint(out: Picture, part: _Part, whole: _Region, room: int) -> None:
    """Paint over a part: the inside of the mouth, the skin of a lid."""
    painted = part.painted
    region = whole.part(part.patch.span(*painted).grown(room)) if painted else None
    if region is None:
        return
    colour, cover = part.paint(region.at)
    under = out[region.span.slices]
    mixed = np.clip(under + (colour - under) * cover + 0.5, 0, 255)
    out[region.span.slices] = mixed.astype(np.uint8)
