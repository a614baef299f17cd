"""What a window is conditioned on besides sound and text: sizes, pictures, masks, latents.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional

from talkhead.engines import Box, Picture
from talkhead.engines.infinitetalk.resize import resize
from talkhead.engines.infinitetalk.windows import FPS, FRAMES_PER_LATENT
from talkhead.errors import Code, TalkheadError

MULTIPLE = 16  # pixels: 8 to a latent, 2 latents to a token
PATCH = 2  # latents to a token, each way
MARGIN = 0.05  # of a half picture, around a speaker of whom no box is known


def check_size(height: int, width: int) -> None:
    """Raise E_INPUT_VALIDATION unless both sides are positive multiples of 16."""
    if min(height, width) < MULTIPLE or height % MULTIPLE or width % MULTIPLE:
        near = [max(MULTIPLE, round(side / MULTIPLE) * MULTIPLE) for side in (width, height)]
        raise TalkheadError(
            Code.INPUT,
            f"infinitetalk cannot make {width}x{height}: sides must be multiples of {MULTIPLE}",
            f"ask for {near[0]}x{near[1]}",
            fields=["size"],
        )


def fit_picture(picture: Picture, height: int, width: int) -> Picture:
    """Return a picture scaled to fill a size, the rest cut off evenly; as PIL's bilinear does."""
    rows, columns = _covering(picture.shape[0], picture.shape[1], height, width)
    top, left = _middle(rows, height), _middle(columns, width)
    return resize(picture, rows, columns)[top : top + height, left : left + width]


def fit_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Return masks (n, rows, columns) that follow their picture to its new size."""
    rows, columns = _covering(masks.shape[1], masks.shape[2], height, width)
    top, left = _middle(rows, height), _middle(columns, width)
    scaled = functional.interpolate(masks[None], size=(rows, columns), mode="nearest")[0]
    return scaled[:, top : top + height, left : left + width]


def pixels(picture: Picture) -> Tensor:
    """Return f32 (3, height, width) in -1..1 of a picture."""
    return torch.tensor(picture).permute(2, 0, 1).float() / 127.5 - 1


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


def source_frame(
    frame: int, source_fps: Fraction, source_frames: int, *, by_index: bool = False
) -> int:
    """Return which frame of a source video is shown at a frame of ours, the last one past its end.

    By its time; with `by_index` by its number, as if both had the same rate.
    """
    place = frame if by_index else round(frame * source_fps / FPS)
    return min(place, source_frames - 1)


def condition_clip(picture: Tensor, frames: int) -> Tensor:
    """Return f32 (3, frames, h, w): a picture (3, h, w), then grey; what the VAE is shown."""
    clip = picture.new_zeros(3, frames, *picture.shape[1:])
    clip[:, 0] = picture
    return clip


def condition(latents: Tensor) -> Tensor:
    """Return (20, t, h, w): 4 channels that mark the first latent frame, then latents (16, ...)."""
    known = latents.new_zeros(FRAMES_PER_LATENT, *latents.shape[1:])
    known[:, 0] = 1
    return torch.cat([known, latents])


def _covering(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Return the least size of the same aspect that covers another."""
    scale = max(height / rows, width / columns)
    return ceil(scale * rows), ceil(scale * columns)


def _middle(length: int, wanted: int) -> int:
    return round((length - wanted) / 2)  # halves to even, as torchvision crops


def _span(start: float, stop: float, length: int) -> slice:
    """Return whole pixels within a side, at least one."""
    first = min(max(int(start), 0), length - 1)
    return slice(first, min(max(int(stop), first + 1), length))
