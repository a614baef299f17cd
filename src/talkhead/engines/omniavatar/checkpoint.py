"""Files to models, and speech to what the transformer hears. Encoders are loaded, used and left.

Files are asked for by their ids in weights/manifest.toml, when they are needed.
"""

import numpy as np
import torch

from talkhead.engines import Tick
from talkhead.engines.omniavatar import delta, keys
from talkhead.engines.omniavatar.audio import Features, padded
from talkhead.engines.omniavatar.choice import SPEECH, SPEECH_CONFIG, Choice, transformer
from talkhead.engines.omniavatar.pipeline import Models
from talkhead.engines.omniavatar.published import MATRICES
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer
from talkhead.models import wav2vec2
from talkhead.models.loading import described
from talkhead.models.placement import Placement
from talkhead.models.quantised import Keep
from talkhead.models.stored import Stored, network
from talkhead.models.wan_files import VAE, Files, config
from talkhead.models.wan_vae_files import load_vae
from talkhead.models.wav2vec2 import Samples, normalise


def stored(files: Files, choice: Choice, device: torch.device) -> Stored[OmniAvatarTransformer]:
    """Return the transformer as its files have it: base and OmniAvatar's own, or a merged copy."""
    here = transformer(files, choice)
    parts = delta.sources(here, keys.KNOWN)
    found = described(parts)
    shapes = {name: entry.shape for name, entry in found.items()}
    return Stored(
        kind=OmniAvatarTransformer,
        parts=parts,
        found=found,
        sizes=keys.sizes_of(shapes, config(here.config)["num_heads"]),
        merge=delta.changes(here, keys.KNOWN, shapes),
        keep=Keep(OmniAvatarTransformer.streamed, device, choice.quant),
        matrices=MATRICES,
    )


def load_models(files: Files, choice: Choice, placement: Placement, tick: Tick) -> Models:
    """Return the networks that make chunks. `tick(done, total)` counts tensors."""
    net = network(stored(files, choice, placement.device), placement, tick)
    gpu = placement.device.type == "cuda"
    vae = load_vae(files(*VAE)[0], placement.device, placement.dtype, channels_last=gpu)
    return Models(net, vae)


def encode_speech(
    files: Files, samples: Samples, features: Features, device: torch.device, tick: Tick
) -> None:
    """Fill features f32 (frames, channels) from speech, and silence after it, in float32."""
    model = wav2vec2.load(files(*SPEECH_CONFIG)[0], files(*SPEECH)[0], device)
    frames = len(features)
    heard = padded(normalise(np.asarray(samples, np.float32)), frames)
    wav2vec2.states(model, heard, frames, features, tick)


def features_shape(files: Files, frames: int) -> tuple[int, int]:
    """Return the shape of speech features: frames, channels."""
    said = config(files(*SPEECH_CONFIG)[0])
    return frames, (said["num_hidden_layers"] + 2) * said["hidden_size"]
