"""What the engine prepares, as arrays that are kept with the job, and what windows take of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from talkhead.engines import Arrays, Box, Plan, Speaker
from talkhead.engines.infinitetalk.conditioning import grid_masks, speaker_boxes, speaker_masks
from talkhead.engines.infinitetalk.pipeline import Inputs, Settings
from talkhead.engines.infinitetalk.presets import windows_of
from talkhead.engines.infinitetalk.upstream import OFFICIAL, Upstream
from talkhead.models.passes import Guidance, Projection
from talkhead.models.vae_sizes import Tiles

Asked = Mapping[str, Any]  # a job's settings: presets.settled, and its seed

PIXELS_PER_LATENT = 8


def boxes_of(speakers: Sequence[Speaker], plan: Plan) -> NDArray[np.float32]:
    """Return f32 (speakers, 4) of two speakers: where they are, or left and right; else none.

    Pixels of the plan's picture: x0, y0, x1, y1.
    """
    if len(speakers) < 2:
        return np.zeros((0, 4), np.float32)
    halves = speaker_boxes(plan.height, plan.width)
    known = [speaker.box or (speaker.face and speaker.face.box) for speaker in speakers]
    boxes = [box or half for box, half in zip(known, halves, strict=True)]
    return np.asarray(boxes, np.float32)


def settings_of(asked: Asked) -> Settings:
    """Return how the frames are made."""
    projection = Projection(asked["apg_momentum"], asked["apg_norm_threshold"])
    return Settings(
        steps=asked["steps"],
        shift=asked["shift"],
        guidance=Guidance(asked["text_guidance"], asked["audio_guidance"]),
        seed=asked["seed"],
        projection=projection if asked["apg"] else None,
        teacache_threshold=asked["teacache_threshold"],
        color_strength=asked["color_strength"],
        audio_scale=asked["audio_scale"],
        tiles=Tiles() if asked["vae_tiling"] else None,
        upstream=OFFICIAL if asked["official"] else Upstream(),
    )


def inputs_of(prepared: Arrays, asked: Asked, plan: Plan) -> Inputs:
    """Return what the frames are made of."""
    boxes = [Box(*sides) for sides in prepared["boxes"].tolist()]
    masks = speaker_masks(plan.height, plan.width, boxes, boxes_as_rows=asked["official"])
    rows, columns = plan.height // PIXELS_PER_LATENT, plan.width // PIXELS_PER_LATENT
    return Inputs(
        windows=windows_of(asked, plan.frames),
        pictures=list(prepared["pictures"]),
        looks=torch.tensor(prepared["looks"]),
        text=torch.tensor(prepared["text"]),
        negative=torch.tensor(prepared["negative"]),
        speech=list(prepared["speech"]),
        masks=grid_masks(masks, rows, columns) if boxes else None,
    )
