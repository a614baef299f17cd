"""What a request's quality stands for. Steps and strengths that it gives itself come first."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from talkhead.engines import Quality
from talkhead.engines.infinitetalk.published import load_for
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models.estimates import Load
from talkhead.models.passes import Guidance, passes_needed
from talkhead.models.windows import Window

LARGE = 640 * 960  # pixels, from which on the network's larger training size is meant
SHIFT, LARGE_SHIFT = 7.0, 11.0
MANY_STEPS = 20  # older payloads know no quality, and ask for 40

# By the names that requests use; ids in weights/manifest.toml.
LORAS = {
    "rank64": "lightx2v-i2v-rank64",
    "rank256": "lightx2v-i2v-rank256",
    "t2v-rank32": "lightx2v-t2v-rank32",
    "fusionx": "fusionx-i2v",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a window is sampled, and which LoRA makes so few steps enough."""

    steps: int
    text_guidance: float
    audio_guidance: float
    lora: str | None = "rank64"  # a key of LORAS; None is the network as it was trained
    shift: float = SHIFT


# InfiniteTalk's README and demo (commit 0107cd9): 40 steps at 5 and 4 without a LoRA, 8 steps at
# 1 and 2 with one; LightX2V: 4 steps in one pass.
RECIPES: Mapping[Quality, Recipe] = {
    "draft": Recipe(2, 1.0, 1.0),
    "fast": Recipe(4, 1.0, 1.0),
    "balanced": Recipe(8, 1.0, 2.0),
    "best": Recipe(40, 5.0, 4.0, lora=None),
}


def recipe(
    quality: Quality, given: Mapping[str, Any], lora: str, width: int, height: int
) -> Recipe:
    """Return how to sample: what the quality stands for, changed by what the request gives.

    `lora` is a key of LORAS, "none", or "auto" for the quality's own; many steps mean "best", since
    no distilled network needs them.
    """
    many = lora == "auto" and given.get("steps", 0) >= MANY_STEPS
    own = RECIPES["best" if many else quality]
    if lora != "auto":
        own = replace(own, lora=None if lora == "none" else lora)
    if own.lora is None and width * height >= LARGE:
        own = replace(own, shift=LARGE_SHIFT)
    return replace(own, **{name: value for name, value in given.items() if name != "seed"})


def settled(
    options: Mapping[str, Any],
    quality: Quality,
    given: Mapping[str, Any],
    width: int,
    height: int,
) -> dict[str, Any]:
    """Return all settings of a job in one table: its options' and its recipe's fields."""
    chosen = recipe(quality, given, options["lora"], width, height)
    return {**options, **asdict(chosen)}


def load_of(asked: Mapping[str, Any], frames: int, size: tuple[int, int], speakers: int) -> Load:
    """Return what a job with these settings asks of the network; `size` is width and height."""
    guidance = Guidance(asked["text_guidance"], asked["audio_guidance"])
    passes = len(passes_needed(guidance, projected=asked["apg"]))
    load = load_for(windows_of(asked, frames), size, asked["steps"], passes, speakers)
    return replace(load, cached_steps=asked["teacache_threshold"] is not None)


def windows_of(asked: Mapping[str, Any], frames: int) -> tuple[Window, ...]:
    """Return the windows of a video of so many frames."""
    return plan_windows(frames, asked["window"], asked["motion_frames"], shrink=asked["short_tail"])
