"""The noise that each window starts from: always drawn on the CPU, so that it is the same anywhere.

It is a function of seed and window alone, so that a job can go on at any window.
"""

import numpy as np
import torch
from torch import Tensor

from talkhead.models.windows import latent_frames

Shape = tuple[int, int, int]  # channels, rows and columns of latents


def window_noise(seed: int, index: int, frames: int, shape: Shape) -> Tensor:
    """Return f32 (c, t, h, w) for a window of so many frames, a function of seed and its index."""
    own = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return drawn(torch.Generator().manual_seed(int(own[0])), frames, shape)


def drawn(generator: torch.Generator, frames: int, shape: Shape) -> Tensor:
    """Return f32 (c, t, h, w), the generator's next numbers."""
    channels, rows, columns = shape
    return torch.randn(channels, latent_frames(frames), rows, columns, generator=generator)
