"""What the engine prepares, as arrays that are kept with the job, and what windows take of them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from talkhead.engines import Arrays, Box, Plan, Speaker
from talkhead.engines.infinitetalk.conditioning import grid_masks, speaker_boxes, speaker_masks
from talkhead.engines.infinitetalk.pipeline import Inputs, Settings
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models.passes import Guidance, Projection
from talkhead.models.vae_sizes import Tiles

PIXELS_PER_LATENT = 8
LARGE = 640 * 960  # pixels, from which on the network's larger training size is meant
SHIFT, LARGE_SHIFT = 7.0, 11.0
FULL = {"steps": 40, "text_guidance": 5.0, "audio_guidance": 4.0}
DISTILLED = {"steps": 4, "text_guidance": 1.0, "audio_guidance": 1.0}  # one pass a step


def sampling_of(given: Mapping[str, Any], plan: Plan, *, distilled: bool) -> dict[str, Any]:
    """Return a request's sampling, with our own numbers where it says nothing."""
    large = plan.width * plan.height >= LARGE
    own = DISTILLED if distilled else FULL
    shift = LARGE_SHIFT if large and not distilled else SHIFT
    return {**own, "shift": shift, **given}


def boxes_of(speakers: Sequence[Speaker], plan: Plan) -> NDArray[np.float32]:
    """Return f32 (speakers, 4) of two speakers: their faces' boxes, or left and right; else none.

    Pixels of the plan's picture: x0, y0, x1, y1.
    """
    if len(speakers) < 2:
        return np.zeros((0, 4), np.float32)
    faces = [speaker.face for speaker in speakers]
    halves = speaker_boxes(plan.height, plan.width)
    boxes = [face.box if face else half for face, half in zip(faces, halves, strict=True)]
    return np.asarray(boxes, np.float32)


def settings_of(prepared: Arrays) -> Settings:
    """Return how the frames are made."""
    asked = _asked(prepared)
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
    )


def inputs_of(prepared: Arrays, plan: Plan) -> Inputs:
    """Return what the frames are made of."""
    asked = _asked(prepared)
    boxes = [Box(*sides) for sides in prepared["boxes"].tolist()]
    masks = speaker_masks(plan.height, plan.width, boxes)
    rows, columns = plan.height // PIXELS_PER_LATENT, plan.width // PIXELS_PER_LATENT
    return Inputs(
        windows=plan_windows(plan.frames, asked["window"], asked["motion_frames"]),
        pictures=[prepared["picture"]],
        looks=torch.from_numpy(prepared["looks"]),
        text=torch.from_numpy(prepared["text"]),
        negative=torch.from_numpy(prepared["negative"]),
        speech=list(prepared["speech"]),
        masks=grid_masks(masks, rows, columns) if boxes else None,
    )


def asked_for(sampling: Mapping[str, Any], options: Mapping[str, Any], seed: int) -> np.ndarray:
    """Return all settings of a job as one array of text."""
    return np.asarray(json.dumps({**options, **sampling, "seed": seed}), np.str_)


def _asked(prepared: Arrays) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(str(prepared["asked"]))
    return asked
