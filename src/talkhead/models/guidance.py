"""Classifier-free guidance by text and by audio: which passes a step needs, and their sum.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9); adaptive projected
guidance after Sadat et al., arXiv 2410.02416.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

WHOLE = (-4, -3, -2, -1)  # the dimensions of one video's latents (c, t, h, w)


class Pass(StrEnum):
    """What one pass of the network is conditioned on."""

    BOTH = "text and audio"
    AUDIO = "negative text and audio"
    TEXT = "text and null audio"
    NEITHER = "negative text and null audio"


Outputs = Mapping[Pass, Tensor]  # velocities, each (..., c, t, h, w)


@dataclass(frozen=True, slots=True)
class Guidance:
    """How strongly text and audio are followed; 1 is as the network was trained."""

    text: float
    audio: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Settings of adaptive projected guidance."""

    momentum: float = -0.75
    norm_threshold: float = 55.0


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Running averages of both guidance terms; a window starts with none."""

    text: Tensor | None = None
    audio: Tensor | None = None


def weights(guidance: Guidance) -> dict[Pass, float]:
    """Return the weight of each pass in the guided velocity; passes of no weight are left out.

    With text guidance g and audio guidance a: u + g (c - d) + a (d - u) where g is not 1, and
    t + a (c - t) where it is; c, d, t and u are both, audio, text and neither.
    """
    text, audio = guidance.text, guidance.audio
    if text == 1:
        shares = {Pass.BOTH: audio, Pass.TEXT: 1 - audio}
    else:
        shares = {Pass.BOTH: text, Pass.AUDIO: audio - text, Pass.NEITHER: 1 - audio}
    return {name: share for name, share in shares.items() if share != 0}


def passes_needed(guidance: Guidance, *, projected: bool = False) -> tuple[Pass, ...]:
    """Return the passes that a step must run, one where both guidances are 1."""
    if not projected:
        return tuple(weights(guidance))
    if guidance.text == 1:
        return (Pass.BOTH,) if guidance.audio == 1 else (Pass.BOTH, Pass.TEXT)
    needed = (Pass.BOTH, Pass.AUDIO)
    return needed if guidance.audio == 1 else (*needed, Pass.NEITHER)


def combine(outputs: Outputs, guidance: Guidance) -> Tensor:
    """Return the guided velocity from the passes that `passes_needed` asks for."""
    shares = weights(guidance)
    if shares == {Pass.BOTH: 1}:
        return outputs[Pass.BOTH]
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
