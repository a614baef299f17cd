"""Files to models, and inputs to what the transformer is told. Encoders are loaded, used and left.

Files are asked for by their ids in weights/manifest.toml, when they are needed.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
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
from talkhead.engines.infinitetalk.published import MATRICES
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models import lora, vision, wav2vec2
from talkhead.models.loading import Source, described
from talkhead.models.placement import Placement
from talkhead.models.quantised import Keep
from talkhead.models.stored import Stored, network
from talkhead.models.wan_files import VAE, Files, config
from talkhead.models.wan_vae import Stills, pixels
from talkhead.models.wan_vae_files import load_vae

Features = NDArray[np.float32]


def stored(files: Files, choice: Choice, device: torch.device) -> Stored[InfiniteTalkTransformer]:
    """Return the transformer as its files have it: base, adapter, and what a LoRA changes."""
    parts = tuple(Source(part, keys.OFFICIAL) for part in transformer(files, choice).parts)
    found = described(parts)
    shapes = {name: entry.shape for name, entry in found.items()}
    heads = config(files(*BASE_CONFIG)[0])["num_heads"]
    layers = config(files(*SPEECH_CONFIG)[0])["num_hidden_layers"]
    quant = None if choice.quant == "gguf" else choice.quant  # its blocks stay where they are found
    return Stored(
        kind=InfiniteTalkTransformer,
        parts=parts,
        found=found,
        sizes=keys.sizes_of(shapes, heads, layers),
        merge=lora.plan(_loras(files, choice), keys.LORA, shapes),
        keep=Keep(InfiniteTalkTransformer.streamed, device, quant),
        matrices=MATRICES,
    )


def load_models(files: Files, choice: Choice, placement: Placement, tick: Tick) -> Models:
    """Return the networks that make windows. `tick(done, total)` counts tensors."""
    net = network(stored(files, choice, placement.device), placement, tick)
    gpu = placement.device.type == "cuda"
    vae = load_vae(files(*VAE)[0], placement.device, placement.dtype, channels_last=gpu)
    return Models(net, vae, Stills(vae))


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
    model = wav2vec2.load(files(*SPEECH_CONFIG)[0], files(*SPEECH)[0], device)
    frames = features.shape[1]
    for index, track in enumerate(tracks):

        def advance(done: int, total: int, index: int = index) -> None:
            tick(index * total + done, len(tracks) * total)

        heard = match_loudness(track, wav2vec2.RATE) if loud else track
        wav2vec2.features(model, wav2vec2.normalise(heard), frames, features[index], advance)


def features_shape(files: Files, speakers: int, frames: int) -> tuple[int, ...]:
    """Return the shape of speech features: speakers, frames, layers, channels."""
    said = config(files(*SPEECH_CONFIG)[0])
    return speakers, frames, said["num_hidden_layers"], said["hidden_size"]


def _loras(files: Files, choice: Choice) -> list[lora.Lora]:
    if choice.lora is None:
        return []
    return [lora.Lora(file, choice.strength, choice.alpha) for file in files(LORAS[choice.lora])]
