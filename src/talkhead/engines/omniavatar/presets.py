"""What a request's quality stands for. Steps and strengths that it gives itself come first."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from talkhead.engines import Quality
from talkhead.engines.omniavatar.guidance import weights
from talkhead.engines.omniavatar.published import load_for
from talkhead.engines.omniavatar.sizes import chunk_frames, tokens_for
from talkhead.engines.omniavatar.windows import padded_frames, plan_windows
from talkhead.errors import Code, TalkheadError
from talkhead.models.estimates import Load
from talkhead.models.passes import Guidance
from talkhead.models.vae_sizes import STRIDE
from talkhead.models.windows import Window


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a chunk is sampled."""

    steps: int
    text_guidance: float = 4.5
    audio_guidance: float | None = None  # None is as much as that by text, in two passes
    shift: float = 5.0


# OmniAvatar's README and configs/inference.yaml (commit 1536bf3): 20 to 50 steps, 50 by default,
# guidance 4 to 6. No LoRA for few steps is known that keeps guidance by audio, so that "draft" goes
# below what the authors advise. None has TeaCache: its polynomial for 14B is negative where a step
# changes the modulation by more than 8 percent, as fewer and so longer steps may, and from there on
# nothing is computed before the last step. That is to be seen with the real weights first.
RECIPES: Mapping[Quality, Recipe] = {
    "draft": Recipe(10),
    "fast": Recipe(20),
    "balanced": Recipe(25),
    "best": Recipe(50),
}


def recipe(quality: Quality, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's fields: what the quality stands for, changed by what the request gives.

    Guidance by audio that nobody gives follows that by text, as the official audio_scale does.
    """
    own = asdict(RECIPES[quality]) | {name: given[name] for name in given if name != "seed"}
    if own["audio_guidance"] is None:
        own["audio_guidance"] = own["text_guidance"]
    return own


def settled(
    options: Mapping[str, Any], quality: Quality, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all settings of a job in one table: its options' and its recipe's fields.

    In it `teacache_threshold` is None where it is off, and `timestep_rounding` is no longer "auto":
    the weights were trained and are run by code that tells the network times in its own dtype, so
    that other times are ones it never saw, in the product as in comparisons.
    """
    asked = {**options, **recipe(quality, given)}
    asked["teacache_threshold"] = options["teacache_threshold"] or None
    if options["timestep_rounding"] == "auto":
        asked["timestep_rounding"] = "model_dtype"
    return asked


def windows_of(
    asked: Mapping[str, Any], frames: int, width: int, height: int
) -> tuple[Window, ...]:
    """Return the chunks of a video of so many frames, the first of them the still if officially.

    Raises E_INPUT_VALIDATION where a chunk of this size is no longer than what it continues from.
    """
    overlap, max_tokens = asked["overlap"], asked["max_tokens"]
    size = chunk_frames(height, width, max_tokens)
    if size <= overlap:
        raise TalkheadError(
            Code.INPUT,
            f"options.max_tokens ({max_tokens}) is too little at {width}x{height}: chunks would be "
            f"no longer than options.overlap ({overlap})",
            f"at least {tokens_for(overlap + STRIDE, height, width)} at this size",
            fields=("options.max_tokens", "options.overlap"),
        )
    still = asked["official"]  # one frame of those wanted
    return plan_windows(frames - still, size, overlap, keep_still=still, shrink=asked["short_tail"])


def heard_frames(asked: Mapping[str, Any], frames: int, width: int, height: int) -> int:
    """Return how many frames of speech are encoded: those of whole chunks, whatever is sampled.

    The track is encoded as a whole, so that less silence at its end would change every chunk.
    """
    return padded_frames(windows_of({**asked, "short_tail": False}, frames, width, height))


def load_of(asked: Mapping[str, Any], frames: int, size: tuple[int, int]) -> Load:
    """Return what a job with these settings asks of the network; `size` is width and height."""
    shares = weights(Guidance(asked["text_guidance"], asked["audio_guidance"]))
    load = load_for(windows_of(asked, frames, *size), size, asked["steps"], len(shares))
    return replace(load, cached_steps=asked["teacache_threshold"] is not None)
