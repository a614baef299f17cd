"""TeaCache: steps whose blocks change so little that the last change is used again.

TeaCache (Liu et al., arXiv 2411.19108) as the official code of InfiniteTalk (commit 0107cd9) and of
OmniAvatar (commit 1536bf3) applies it. The decision follows from the timesteps alone, so that it is
made for all steps, and for all passes of a step, before sampling begins.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

# From the change of the modulation to the change of the output, highest power first.
COEFFICIENTS = {
    480: (2.57151496e5, -3.54229917e4, 1.40286849e3, -1.35890334e1, 1.32517977e-1),
    720: (8.10705460e3, 2.13393892e3, -3.72934672e2, 1.66203073e1, -4.17769401e-2),
}
# The same of Wan 2.1 text-to-video, by the network's size, as OmniAvatar's official code (commit
# 1536bf3) has them. That uses those of 14B for both sizes, which is a mistake: each has its own.
TEXT_TO_VIDEO = {
    "14B": (-303318.725, 49053.7029, -2655.30556, 58.7365115, -0.315583525),
    "1.3B": (-52186.2437, 9230.41404, -528.275948, 13.6987616, -0.0499875664),
}
WARM_UP = 5  # steps that are always computed: what they decide, the rest refines
BOUNDARY = 640 * 960  # pixels, between the largest of one training size and the other's smallest


def coefficients_for(height: int, width: int) -> tuple[float, ...]:
    """Return the coefficients of the training size that a picture is nearer to."""
    return COEFFICIENTS[480 if height * width < BOUNDARY else 720]


def decide(
    modulations: Tensor,
    coefficients: Sequence[float],
    threshold: float,
    warm_up: int = WARM_UP,
    tail: int = 0,
) -> tuple[bool, ...]:
    """Return for every step whether its blocks are computed; else the last residual is used again.

    `modulations` is f32 (steps, ...), the projected time embedding of each step. A step is left out
    while the estimated changes since the last computed one sum to less than `threshold`. The first
    `warm_up` and the last `tail` steps are always computed.
    """
    steps = len(modulations)
    changes = np.polyval(coefficients, relative_changes(modulations))
    computed: list[bool] = []
    changed = 0.0
    for index in range(steps):
        forced = index < max(warm_up, 1) or index >= steps - tail
        if not forced:
            changed += float(changes[index - 1])
        computed.append(forced or changed >= threshold)
        if computed[-1]:
            changed = 0.0
    return tuple(computed)


def relative_changes(modulations: Tensor) -> np.ndarray:
    """Return f64 (steps - 1,): how far each step's modulation is from the one before it."""
    flat = modulations.float().flatten(1)
    moved = (flat[1:] - flat[:-1]).abs().mean(1)
    change: np.ndarray = (moved / flat[:-1].abs().mean(1)).double().cpu().numpy()
    return change
