"""Which passes of the network a step of guidance by text and by audio needs. Loads no torch.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from dataclasses import dataclass
from enum import StrEnum


class Pass(StrEnum):
    """What one pass of the network is conditioned on."""

    BOTH = "text and audio"
    AUDIO = "negative text and audio"
    TEXT = "text and null audio"
    NEITHER = "negative text and null audio"


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
