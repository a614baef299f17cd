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

from talkhead.engines import Picture, Supplies, Tick
from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.choice import (
    BASE_CONFIG,
    ENCODER,
    SMALL_ENCODER,
    SMALL_TEXT,
    SPEECH,
    SPEECH_CONFIG,
    TEXT,
    TOKENIZER,
    VAE,
    VISION,
    Choice,
    Files,
    transformer,
)
from talkhead.engines.infinitetalk.loudness import match_loudness
from talkhead.engines.infinitetalk.pipeline import Models
from talkhead.engines.infinitetalk.presets import LORAS
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import TalkheadError
from talkhead.models import embeddings, lora, text, vision, wav2vec2
from talkhead.models.attention import choose_backend
from talkhead.models.loading import Source, load, shapes_of, stored
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.quantised import Keep
from talkhead.models.wan_vae import Stills, pixels
from talkhead.models.wan_vae_files import load_vae

Features = NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]  # by our names


def placed(supplies: Supplies, *, offload: bool = False) -> Placement:
    """Return where and as what models compute; "auto" is a GPU where there is one."""
    name = supplies.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    return Placement(
        device,
        torch.float32 if device.type == "cpu" else torch.bfloat16,
        offload=offload,
        compiled=supplies.compiled,
        attention=choose_backend(supplies.attention, device),
    )


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


def encode_texts(
    files: Files, folders: Sequence[Path], texts: Sequence[str], placement: Placement
) -> list[Tensor]:
    """Return f32 (tokens, dim) of each text; those in one of the folders need no encoder.

    Those that a quantised encoder makes are kept under another name, and used only in its place.
    """
    ids, identity = TEXT, f"{ENCODER} {placement.dtype}"
    if not here(files, TEXT) and here(files, SMALL_TEXT):
        known = all(embeddings.known(folders, identity, one) for one in texts)
        ids = SMALL_TEXT
        identity = identity if known else f"{SMALL_ENCODER} {placement.dtype}"

    def encoder(lacking: Sequence[str]) -> list[Tensor]:
        try:
            found = files(*ids)
        except TalkheadError as error:
            raise TalkheadError(
                error.code,
                f"{len(lacking)} of the prompts were never encoded, and the text encoder is not "
                f"here: {error.message}",
                f"{error.hint}; or encode them where it is: `talkhead weights prompts`",
            ) from error
        model = text.load_encoder(found, placement.device, placement.dtype)
        (folder,) = {file.parent for file in files(*TOKENIZER) if file.name == "tokenizer.json"}
        return text.encode(model, text.load_tokenizer(folder), lacking)

    return [rows.float() for rows in embeddings.prompts(folders, identity, texts, encoder)]


def here(files: Files, ids: Sequence[str]) -> tuple[Path, ...]:
    """Return the files of the first of these ids that is on this machine, none where none is."""
    try:
        return files(*ids)
    except TalkheadError:
        return ()


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
