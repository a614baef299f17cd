"""Timesteps of flow matching with a shift, and Euler's step, as the Wan 2.1 family samples.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). FlowMatchEulerDiscrete-
Scheduler of diffusers, given the same sigmas, yields the same numbers.
"""

import numpy as np
import torch
from torch import Tensor

TRAINING_STEPS = 1000


def timesteps(steps: int, shift: float) -> Tensor:
    """Return f32 (steps + 1,): the times from 1000 down to 0 at which the network is asked.

    A `shift` above 1 spends more of the steps on noisy latents.
    """
    even = np.linspace(TRAINING_STEPS, 1, steps, dtype=np.float32)
    times = torch.from_numpy(np.append(even, np.float32(0))) / TRAINING_STEPS
    return shift * times / (1 + (shift - 1) * times) * TRAINING_STEPS


def even_timesteps(steps: int, shift: float) -> Tensor:
    """Return f32 (steps + 1,): the times of `timesteps`, but even down to 0 before the shift.

    OmniAvatar's (arXiv 2506.18866; official code commit 1536bf3). Those of InfiniteTalk are even
    down to 1, from where a last, short step leads to 0.
    """
    times = torch.linspace(1, 0, steps + 1)
    return shift * times / (1 + (shift - 1) * times) * TRAINING_STEPS


def keep_prefix(latents: Tensor, prefix: Tensor) -> Tensor:
    """Return latents (..., c, t, h, w) whose first frames are those of `prefix` (..., c, p, h, w).

    They are known and clean: every call of the network sees them so, and so do the results.
    """
    return torch.cat([prefix, latents[..., prefix.shape[-3] :, :, :]], dim=-3)


def step(latents: Tensor, velocity: Tensor, times: Tensor, index: int, prefix: Tensor) -> Tensor:
    """Return the latents at times[index + 1] from those at times[index], prefix kept clean.

    `velocity` is the guided output of the network, noise minus data; all are (..., c, t, h, w).
    """
    past = (times[index] - times[index + 1]) / TRAINING_STEPS
    return keep_prefix(latents - velocity * past.to(latents.device), prefix)
