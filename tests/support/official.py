"""How the official code fits pictures and counts frames, which the product does its own way.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from talkhead.engines import Picture
from talkhead.engines.infinitetalk.windows import FPS
from talkhead.models.wav2vec2 import RATE

BITS = 22  # of a weight's fraction


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Return a picture at another size, as PIL.Image.resize with BILINEAR makes it."""
    return _scaled(_scaled(picture, width, axis=1), height, axis=0)


def _scaled(picture: Picture, size: int, axis: int) -> Picture:
    if picture.shape[axis] == size:
        return picture
    places, weights = _taps(picture.shape[axis], size)
    shape = (-1, 1) if axis == 1 else (-1, 1, 1)
    total = np.int32(1 << (BITS - 1))  # half a level, so that cutting rounds
    for place, weight in zip(places.T, weights.T, strict=True):  # one tap of every output
        total = total + np.take(picture, place, axis) * weight.reshape(shape)
    levels: Picture = np.clip(np.asarray(total) >> BITS, 0, 255).astype(np.uint8)
    return levels


def _taps(given: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return (wanted, taps): which pixels each output is made of, and their weights."""
    scale = given / wanted
    reach = max(scale, 1.0)
    centers = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centers - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + reach + 0.5).astype(np.int64), given)
    places = first[:, None] + np.arange(ceil(reach) * 2 + 1)
    weights = np.maximum(1 - np.abs((places - centers[:, None] + 0.5) * (1 / reach)), 0)
    weights[places >= last[:, None]] = 0
    weights /= weights.sum(1, keepdims=True)
    fixed = (weights * (1 << BITS) + 0.5).astype(np.int32)
    return np.minimum(places, given - 1), fixed


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


def source_frame(frame: int, frames: int) -> int:
    """Return which frame of a source is shown at one of ours: by number, the last past its end."""
    return min(frame, frames - 1)


def video_frames(samples: int, *, by_float: bool = False) -> int:
    """Return how many frames of 25 fps speech of that many samples fills; never less than 1."""
    whole = int(samples / RATE * FPS) if by_float else samples * FPS // RATE
    return max(1, whole)


def _covering(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Return the least size of the same aspect that covers another."""
    scale = max(height / rows, width / columns)
    return ceil(scale * rows), ceil(scale * columns)


def _middle(length: int, wanted: int) -> int:
    return round((length - wanted) / 2)  # halves to even, as torchvision crops


def fit_still(picture: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """Return f32 (3, height, width) in -1..1, as OmniAvatar fits a picture (h, w, 3).

    Resized to cover, its sides rounded down, then the middle; a line that lacks is black.
    """
    given = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    rows, columns = picture.shape[:2]
    ratio = max(height / rows, width / columns)
    size = int(rows * ratio), int(columns * ratio)
    made = functional.interpolate(given, size, mode="bilinear", antialias=True)[0]
    down, across = height - size[0], width - size[1]  # below 0 where lines are cut off
    made = functional.pad(made, (across // 2, across - across // 2, down // 2, down - down // 2))
    return made * 2 - 1
