"""What chunks take of the arrays that the engine prepared."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from talkhead.engines import Arrays
from talkhead.engines.omniavatar.pipeline import Inputs, Settings
from talkhead.models.passes import Guidance
from talkhead.models.vae_sizes import Tiles
from talkhead.models.windows import Window


def settings_of(asked: Mapping[str, Any]) -> Settings:
    """Return how the frames are made, from presets.settled and what `prepare` adds."""
    return Settings(
        steps=asked["steps"],
        shift=asked["shift"],
        guidance=Guidance(asked["text_guidance"], asked["audio_guidance"]),
        seed=asked["seed"],
        teacache_threshold=asked["teacache_threshold"],
        tiles=Tiles() if asked["vae_tiling"] else None,
        rounded_times=asked["timestep_rounding"] == "model_dtype",
    )


def inputs_of(prepared: Arrays, windows: tuple[Window, ...]) -> Inputs:
    """Return what the frames are made of."""
    return Inputs(
        windows=windows,
        picture=np.asarray(prepared["picture"]),
        text=torch.tensor(prepared["text"]),
        negative=torch.tensor(prepared["negative"]),
        speech=prepared["speech"],
    )
