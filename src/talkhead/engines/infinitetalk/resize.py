"""Bilinear scaling of pictures to the bit as Pillow does it, with numpy alone.

Pillow (libImaging/Resample.c): a triangle of two pixels of the coarser side, weights rounded to 22
bits, first across and then down, rounded to 8 bits after each. Pillow 13 goes down first where that
saves work; with the aspect kept these are pictures more than twice as high as wide, and the
difference is one level of 255.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import Picture

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
