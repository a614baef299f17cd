"""Classifier-free guidance by text and by audio: the sum of the passes that a step needs.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9); adaptive projected
guidance after Sadat et al., arXiv 2410.02416.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talkhead.models.passes import Guidance, Pass, Projection, weights

WHOLE = (-4, -3, -2, -1)  # the dimensions of one video's latents (c, t, h, w)


Outputs = Mapping[Pass, Tensor]  # velocities, each (..., c, t, h, w)


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Running averages of both guidance terms; a window starts with none."""

    text: Tensor | None = None
    audio: Tensor | None = None


def combine(outputs: Outputs, guidance: Guidance) -> Tensor:
    """Return the guided velocity from the passes that `passes_needed` asks for."""
    return blend(outputs, weights(guidance))


def blend(outputs: Outputs, shares: Mapping[Pass, float]) -> Tensor:
    """Return the sum of the passes' velocities, each by its share; one that is all, as it is."""
    if list(shares.values()) == [1]:
        return outputs[next(iter(shares))]
    return torch.stack([outputs[name] * share for name, share in shares.items()]).sum(0)


def combine_projected(
    outputs: Outputs, guidance: Guidance, settings: Projection, averages: Averages
) -> tuple[Tensor, Averages]:
    """Return the velocity guided by adaptive projection, and the running averages after it.

    Needs the passes of `passes_needed(guidance, projected=True)`.
    """
    both = outputs[Pass.BOTH]
    velocity, text, audio = both, averages.text, averages.audio
    if guidance.text != 1:
        text = average(both - outputs[Pass.AUDIO], text, settings.momentum)
        velocity = velocity + (guidance.text - 1) * project(text, both, settings.norm_threshold)
    if guidance.audio != 1:
        voiced, mute = (Pass.BOTH, Pass.TEXT) if guidance.text == 1 else (Pass.AUDIO, Pass.NEITHER)
        audio = average(outputs[voiced] - outputs[mute], audio, settings.momentum)
        velocity = velocity + (guidance.audio - 1) * project(audio, both, settings.norm_threshold)
    return velocity, Averages(text, audio)


def average(difference: Tensor, before: Tensor | None, momentum: float) -> Tensor:
    """Return a running average after one more difference."""
    return difference if before is None else difference + momentum * before


def project(term: Tensor, along: Tensor, norm_threshold: float) -> Tensor:
    """Return a guidance term, its norm limited, without what is parallel to `along`.

    Both are (..., c, t, h, w); norms and angles are those of a whole video.
    """
    norm = torch.linalg.vector_norm(term, dim=WHOLE, keepdim=True)
    limited = (term * (norm_threshold / norm).clamp(max=1)).double()
    wide = along.double()  # angles between long vectors cost digits
    length = torch.linalg.vector_norm(wide, dim=WHOLE, keepdim=True)
    direction = wide / length.clamp_min(1e-12)
    across: Tensor = limited - (limited * direction).sum(dim=WHOLE, keepdim=True) * direction
    return across.to(term.dtype)
