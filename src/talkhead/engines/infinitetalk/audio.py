"""What the network hears: the speech features of each frame and of what surrounds it.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = NDArray[np.float32]  # (frames, layers, channels); may be a memory map

REACH = 2  # frames heard before and after each frame


def audio_windows(speakers: Sequence[Features], start: int, count: int) -> Tensor:
    """Return f32 (speakers, count, 5, layers, channels): every frame with two on either side.

    `start` is the window's first frame, `count` its length. Before the beginning the first frame
    is heard, past the end the speech runs backwards: the mirrored tail of the official code, and
    its clamped indices, in one.
    """
    around = np.arange(-REACH, REACH + 1)
    wanted = start + np.arange(count)[:, None] + around  # (count, 5)
    return torch.stack([_picked(features, wanted) for features in speakers])


def mirrored(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return indices within 0..length - 1: 0 for those below, back and forth for those past it."""
    folded = np.maximum(index, 0) % (2 * length)
    inside: NDArray[np.int64] = np.minimum(folded, 2 * length - 1 - folded)
    return inside


def _picked(features: Features, wanted: NDArray[np.int64]) -> Tensor:
    """Return f32 (count, 5, layers, channels), reading only what is near from a memory map."""
    index = mirrored(wanted, len(features))
    first, last = int(index.min()), int(index.max())
    near = np.array(features[first : last + 1], np.float32)
    return torch.from_numpy(near[index - first])
