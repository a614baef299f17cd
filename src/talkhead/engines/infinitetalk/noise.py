"""The noise that each window starts from: always drawn on the CPU, so that it is the same anywhere.

Ours is a function of seed and window alone, so that a job can go on at any window. The official
code (InfiniteTalk, commit 0107cd9) draws that of all windows from one generator, and in between
noise of the known latents that it then writes over.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from talkhead.models.windows import Window, latent_frames

Shape = tuple[int, int, int]  # channels, rows and columns of latents


def window_noise(seed: int, index: int, window: Window, shape: Shape) -> Tensor:
    """Return f32 (c, t, h, w), a function of seed and the window's index."""
    own = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return _drawn(torch.Generator().manual_seed(int(own[0])), window.size, shape)


def official_noise(
    seed: int, index: int, windows: Sequence[Window], shape: Shape, steps: int
) -> Tensor:
    """Return f32 (c, t, h, w) as the official code draws it on the CPU for a window of a job."""
    generator = torch.Generator().manual_seed(seed)
    for window in windows[:index]:
        _drawn(generator, window.size, shape)
        for _ in range((steps + 1) if window.seen else 0):
            _drawn(generator, window.seen, shape)
    return _drawn(generator, windows[index].size, shape)


def _drawn(generator: torch.Generator, frames: int, shape: Shape) -> Tensor:
    channels, rows, columns = shape
    return torch.randn(channels, latent_frames(frames), rows, columns, generator=generator)
