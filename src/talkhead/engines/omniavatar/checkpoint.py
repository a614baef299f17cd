"""Files to models, and speech to what the transformer hears. Encoders are loaded, used and left.

Files are asked for by their ids in weights/manifest.toml, when they are needed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from talkhead.engines import Tick
from talkhead.engines.omniavatar import delta, keys
from talkhead.engines.omniavatar.audio import Features, padded
from talkhead.engines.omniavatar.choice import SPEECH, SPEECH_CONFIG, Choice, transformer
from talkhead.engines.omniavatar.pipeline import Models
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer
from talkhead.models import lora, wav2vec2
from talkhead.models.loading import Source, load, shapes_of, stored
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.quantised import Keep
from talkhead.models.wan_files import VAE, Files
from talkhead.models.wan_keys import Shape
from talkhead.models.wan_vae_files import load_vae
from talkhead.models.wav2vec2 import Samples, normalise

Shapes = Mapping[str, Shape]  # by our names


def sources(files: Files, choice: Choice) -> tuple[Source, ...]:
    """Return the transformer's files: base and OmniAvatar's own, or a merged copy."""
    return delta.sources(transformer(files, choice), keys.KNOWN)


def sizes(files: Files, choice: Choice, found: Shapes) -> dict[str, Any]:
    """Return the transformer's arguments for stored tensors of these shapes."""
    heads = _config((transformer(files, choice).config,))["num_heads"]
    return keys.sizes_of(found, heads)


def keep_of(choice: Choice, device: torch.device) -> Keep:
    """Return which weights are quantised at load, and as what."""
    return Keep(OmniAvatarTransformer.streamed, device, choice.quant)


def changes_of(files: Files, choice: Choice, wanted: Shapes) -> lora.Merge:
    """Return what OmniAvatar's checkpoint changes in tensors of these names and shapes."""
    return delta.changes(transformer(files, choice), keys.KNOWN, wanted)


def load_models(files: Files, choice: Choice, placement: Placement, tick: Tick) -> Models:
    """Return the networks that make chunks. `tick(done, total)` counts tensors."""
    parts = sources(files, choice)
    arguments = sizes(files, choice, stored(parts))

    def build() -> OmniAvatarTransformer:
        net: OmniAvatarTransformer = OmniAvatarTransformer(
            **arguments, attention_backend=placement.attention
        )
        return net

    with torch.device("meta"):
        wanted = shapes_of(build())
    changes = changes_of(files, choice, wanted)
    with lora.merging(changes) as merge:
        mend = merge if changes.changes else None
        target = target_of(OmniAvatarTransformer, placement)
        net = load(build, parts, target, mend, tick, keep_of(choice, placement.device))
    settle(net, placement)
    gpu = placement.device.type == "cuda"
    vae = load_vae(files(*VAE)[0], placement.device, placement.dtype, channels_last=gpu)
    return Models(net, vae)


def encode_speech(
    files: Files, samples: Samples, features: Features, device: torch.device, tick: Tick
) -> None:
    """Fill features f32 (frames, channels) from speech, and silence after it, in float32."""
    model = wav2vec2.build(_config(files(*SPEECH_CONFIG)), load_file(files(*SPEECH)[0]))
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it
    frames = len(features)
    heard = padded(normalise(np.asarray(samples, np.float32)), frames)
    wav2vec2.states(model, heard, frames, features, tick)


def features_shape(files: Files, frames: int) -> tuple[int, int]:
    """Return the shape of speech features: frames, channels."""
    config = _config(files(*SPEECH_CONFIG))
    return frames, (config["num_hidden_layers"] + 2) * config["hidden_size"]


def _config(files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of a config.json."""
    (file,) = files
    found: dict[str, Any] = json.loads(file.read_text())
    return found
