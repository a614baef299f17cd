"""What a window is conditioned on besides sound and text: sizes, pictures, masks, latents.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.engines import Box
from talkhead.models.vae_sizes import STRIDE

MULTIPLE = 16  # pixels: 8 to a latent, 2 latents to a token
PATCH = 2  # latents to a token, each way
MARGIN = 0.05  # of a half picture, around a speaker of whom no box is known


def speaker_boxes(height: int, width: int) -> tuple[Box, Box]:
    """Return where two speakers are looked for of whom no box is known: left and right."""
    half = width // 2
    top, bottom = int(height * MARGIN), int(height * (1 - MARGIN))
    near, far = half * MARGIN, half * (1 - MARGIN)
    return (
        Box(int(near), top, int(far), bottom),
        Box(int(near + half), top, int(far + half), bottom),
    )


def speaker_masks(
    height: int, width: int, boxes: Sequence[Box], *, boxes_as_rows: bool = False
) -> Tensor:
    """Return f32 (3, height, width): where each of two speakers is, and where neither is.

    `boxes` are pixels, one for each speaker; of one speaker or none all planes are ones. With
    `boxes_as_rows` the first and third of a box's numbers are read as rows. Parts outside the
    picture are cut off; at least one pixel stays.
    """
    if len(boxes) < 2:
        return torch.ones(3, height, width)
    masks = torch.zeros(3, height, width)
    for plane, (x0, y0, x1, y1) in zip(masks, boxes, strict=False):
        across, down = ((y0, y1), (x0, x1)) if boxes_as_rows else ((x0, x1), (y0, y1))
        plane[_span(*down, height), _span(*across, width)] = 1
    masks[2] = 1 - masks[:2].amax(0)
    return masks


def grid_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Return f32 (3, height, width): masks (3, rows, columns) on the grid of latents.

    A speaker too small to be seen by any token, of which the official code makes NaN, gets the one
    at its middle.
    """
    small = functional.interpolate(masks[None], size=(height, width), mode="nearest")[0] > 0
    for plane, given in zip(small[:-1], masks[:-1], strict=True):
        if not plane[::PATCH, ::PATCH].any():
            middle = torch.nonzero(given).float().mean(0).tolist()
            row, column = (
                int(at * cells / side) // PATCH * PATCH
                for at, cells, side in zip(middle, (height, width), given.shape, strict=True)
            )
            plane[row, column] = True
            small[-1, row, column] = False
    return small.float()


def condition(latents: Tensor) -> Tensor:
    """Return (20, t, h, w): 4 channels that mark the first latent frame, then latents (16, ...)."""
    known = latents.new_zeros(STRIDE, *latents.shape[1:])
    known[:, 0] = 1
    return torch.cat([known, latents])


def _span(start: float, stop: float, length: int) -> slice:
    """Return whole pixels within a side, at least one."""
    first = min(max(int(start), 0), length - 1)
    return slice(first, min(max(int(stop), first + 1), length))
