"""The noise of all windows from one generator, as the official code draws it.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9): in between it draws noise
of the known latents that it then writes over.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from talkhead.models.noise import Shape, drawn
from talkhead.models.windows import Window


def official_noise(
    seed: int, index: int, windows: Sequence[Window], shape: Shape, steps: int
) -> Tensor:
    """Return f32 (c, t, h, w) as the official code draws it on the CPU for a window of a job."""
    generator = torch.Generator().manual_seed(seed)
    for window in windows[:index]:
        drawn(generator, window.size, shape)
        for _ in range((steps + 1) if window.seen else 0):
            drawn(generator, window.seen, shape)
    return drawn(generator, windows[index].size, shape)
