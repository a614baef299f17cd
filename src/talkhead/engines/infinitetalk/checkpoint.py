"""Files to models, and inputs to what the transformer is told. Encoders are loaded, used and left.

Files are asked for by their ids in weights/manifest.toml, when they are needed.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from talkhead.engines import Picture, Tick
from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.choice import (
    BASE_CONFIG,
    SPEECH,
    SPEECH_CONFIG,
    VISION,
    Choice,
    transformer,
)
from talkhead.engines.infinitetalk.loudness import match_loudness
from talkhead.engines.infinitetalk.pipeline import Models
from talkhead.engines.infinitetalk.presets import LORAS
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models import lora, vision, wav2vec2
from talkhead.models.loading import Source, load, shapes_of, stored
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.quantised import Keep
from talkhead.models.wan_files import VAE, Files
from talkhead.models.wan_vae import Stills, pixels
from talkhead.models.wan_vae_files import load_vae

Features = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]  # by our names


def sources(files: Files, choice: Choice) -> tuple[Source, ...]:
    """Return the transformer's files, the adapter's last."""
    return tuple(Source(part, keys.OFFICIAL) for part in transformer(files, choice).parts)


def keep_of(choice: Choice, device: torch.device) -> Keep:
    """Return which weights stay quantised, and as what; GGUF's blocks stay where they are found."""
    kind = None if choice.quant == "gguf" else choice.quant
    return Keep(InfiniteTalkTransformer.streamed, device, kind)


def sizes(files: Files, found: Shapes) -> dict[str, Any]:
    """Return the transformer's arguments for stored tensors of these shapes."""
    layers = _config(files(*SPEECH_CONFIG))["num_hidden_layers"]
    return keys.sizes_of(found, _config(files(*BASE_CONFIG))["num_heads"], layers)


def load_models(files: Files, choice: Choice, placement: Placement, tick: Tick) -> Models:
    """Return the networks that make windows. `tick(done, total)` counts tensors."""
    parts = sources(files, choice)
    arguments = {**sizes(files, stored(parts)), "attention_backend": placement.attention}

    def build() -> InfiniteTalkTransformer:
        net: InfiniteTalkTransformer = InfiniteTalkTransformer(**arguments)
        return net

    with torch.device("meta"):
        wanted = shapes_of(build())
    changes = changes_of(files, choice, wanted)
    with lora.merging(changes) as merge:
        target = target_of(InfiniteTalkTransformer, placement)
        mend = merge if changes.changes else None
        net = load(build, parts, target, mend, tick, keep_of(choice, placement.device))
    settle(net, placement)
    gpu = placement.device.type == "cuda"
    vae = load_vae(files(*VAE)[0], placement.device, placement.dtype, channels_last=gpu)
    return Models(net, vae, Stills(vae))


def lora_warnings(files: Files, choice: Choice) -> tuple[str, ...]:
    """Return what the caller should know of a choice's LoRA, from its header."""
    return changes_of(files, choice, stored(sources(files, choice))).warnings


def changes_of(files: Files, choice: Choice, wanted: Shapes) -> lora.Merge:
    """Return what a choice's LoRA changes in tensors of these names and shapes."""
    return lora.plan(_loras(files, choice), keys.LORA, wanted)


def encode_pictures(
    files: Files, pictures: Iterable[Picture], placement: Placement, pulse: Callable[[], None]
) -> Tensor:
    """Return f32 (pictures, tokens, dim): what CLIP sees in each. `pulse` is called before each."""
    tower = vision.load_tower(files(*VISION)[0], placement.device, placement.dtype)
    looks = []
    for picture in pictures:
        pulse()
        looks.append(vision.encode(tower, pixels(picture)[None]).cpu())
    return torch.cat(looks)


def encode_speech(
    files: Files,
    tracks: Sequence[wav2vec2.Samples],
    features: Features,
    device: torch.device,
    *,
    loud: bool,
    tick: Tick,
) -> None:
    """Fill features f32 (speakers, frames, layers, channels) from tracks as long as the video.

    In float32 on any device. With `loud`, the speech is brought to a common loudness first.
    """
    model = wav2vec2.build(_config(files(*SPEECH_CONFIG)), load_file(files(*SPEECH)[0]))
    model.to(device)  # type: ignore[arg-type]  # transformers wraps it
    frames = features.shape[1]
    for index, track in enumerate(tracks):

        def advance(done: int, total: int, index: int = index) -> None:
            tick(index * total + done, len(tracks) * total)

        heard = match_loudness(track, wav2vec2.RATE) if loud else track
        wav2vec2.features(model, wav2vec2.normalise(heard), frames, features[index], advance)


def features_shape(files: Files, speakers: int, frames: int) -> tuple[int, ...]:
    """Return the shape of speech features: speakers, frames, layers, channels."""
    config = _config(files(*SPEECH_CONFIG))
    return speakers, frames, config["num_hidden_layers"], config["hidden_size"]


def _loras(files: Files, choice: Choice) -> list[lora.Lora]:
    if choice.lora is None:
        return []
    return [lora.Lora(file, choice.strength, choice.alpha) for file in files(LORAS[choice.lora])]


def _config(files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of a config.json."""
    (file,) = files
    found: dict[str, Any] = json.loads(file.read_text())
    return found
