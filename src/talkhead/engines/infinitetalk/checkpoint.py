"""Files to models, and inputs to what the transformer is told. Encoders are loaded, used and left.

Files are asked for by their ids in weights/manifest.toml, when they are needed.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from talkhead.engines import Picture, Tick
from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.audio import RATE, Samples, normalise
from talkhead.engines.infinitetalk.conditioning import pixels
from talkhead.engines.infinitetalk.loudness import match_loudness
from talkhead.engines.infinitetalk.pipeline import Models
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models import embeddings, lora, text, vision, wav2vec2
from talkhead.models.loading import Source, load, shapes_of, stored
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.wan_vae import Stills
from talkhead.models.wan_vae_files import load_vae

Files = Callable[[str], tuple[Path, ...]]  # of an id; raises E_PIPELINE_LOAD where they are not

ADAPTERS = {1: "infinitetalk-single-adapter", 2: "infinitetalk-multi-adapter"}  # by speakers
BASE, BASE_CONFIG = "wan-i2v", "wan-i2v-config"
VAE, VISION = "wan-vae-comfy", "clip-vision-h"
TEXT, TOKENIZER = "umt5-bf16", "wan-tokenizer"
SPEECH, SPEECH_CONFIG = "wav2vec2-zh", "wav2vec2-zh-config"


def placed(device: str, *, offload: bool) -> Placement:
    """Return where and as what the transformer computes; "auto" is a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    return Placement(torch.device(device), dtype, offload=offload)


def load_models(
    files: Files, speakers: int, placement: Placement, distilled: str | None, tick: Tick
) -> Models:
    """Return the networks that make windows, for one or two speakers.

    `distilled` is the id of a LoRA. `tick(done, total)` counts the transformer's tensors.
    """
    base = tuple(file for file in files(BASE) if file.suffix == ".safetensors")
    sources = (Source(base, keys.OFFICIAL), Source(files(ADAPTERS[speakers]), keys.OFFICIAL))
    layers = _config(files(SPEECH_CONFIG))["num_hidden_layers"]
    sizes = keys.sizes_of(stored(sources), _config(files(BASE_CONFIG))["num_heads"], layers)

    def build() -> InfiniteTalkTransformer:
        net: InfiniteTalkTransformer = InfiniteTalkTransformer(**sizes)
        return net

    with torch.device("meta"):
        wanted = shapes_of(build())
    loras = [lora.Lora(file) for file in (files(distilled) if distilled else ())]
    with lora.merging(lora.plan(loras, keys.LORA, wanted)) as mend:
        target = target_of(InfiniteTalkTransformer, placement)
        net = load(build, sources, target, mend, tick)
    settle(net, placement)
    vae = load_vae(files(VAE)[0], placement.device, placement.dtype)
    return Models(net, vae, Stills(vae))


def encode_texts(
    files: Files, cache: Path, texts: Sequence[str], placement: Placement
) -> list[Tensor]:
    """Return f32 (tokens, dim) of each text; those of the cache need no encoder."""

    def encoder(lacking: Sequence[str]) -> list[Tensor]:
        model = text.load_encoder(files(TEXT), placement.device, placement.dtype)
        (folder,) = {file.parent for file in files(TOKENIZER) if file.name == "tokenizer.json"}
        return text.encode(model, text.load_tokenizer(folder), lacking)

    identity = f"{TEXT} {placement.dtype}"
    return [rows.float() for rows in embeddings.prompts(cache, identity, texts, encoder)]


def encode_picture(files: Files, picture: Picture, placement: Placement) -> Tensor:
    """Return f32 (1, tokens, dim): what CLIP sees in a picture."""
    tower = vision.load_tower(files(VISION)[0], placement.device, placement.dtype)
    return vision.encode(tower, pixels(picture)[None]).cpu()


def encode_speech(
    files: Files, tracks: Sequence[Samples], frames: int, *, loud: bool, tick: Tick
) -> NDArray[np.float32]:
    """Return f32 (speakers, frames, layers, channels) of tracks as long as the video; on the CPU.

    With `loud`, the speech is brought to a common loudness first.
    """
    config = _config(files(SPEECH_CONFIG))
    model = wav2vec2.build(config, load_file(files(SPEECH)[0]))
    shape = len(tracks), frames, config["num_hidden_layers"], config["hidden_size"]
    features = np.empty(shape, np.float32)
    for index, track in enumerate(tracks):

        def advance(done: int, total: int, index: int = index) -> None:
            tick(index * total + done, len(tracks) * total)

        heard = match_loudness(track, RATE) if loud else track
        wav2vec2.features(model, normalise(heard), frames, features[index], advance)
    return features


def _config(files: Sequence[Path]) -> dict[str, Any]:
    """Return the content of a config.json."""
    (file,) = files
    found: dict[str, Any] = json.loads(file.read_text())
    return found
