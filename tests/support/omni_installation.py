"""All files of a tiny OmniAvatar, random, as they are published, by their ids in the manifest."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from support import installation, omni_files, wan
from support.installation import Files, said
from talkhead.engines.omniavatar.choice import MODELS

WORDS = "a person is talking and smiling"
HEADS = 1
SOUND = {
    "feat_extract_norm": "group",
    "conv_dim": [8] * 7,
    "hidden_size": omni_files.SOUND,
    "num_hidden_layers": omni_files.SOUND_LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "num_conv_pos_embedding_groups": 2,
    "num_conv_pos_embeddings": 8,
}
NORMS = (".norm_q.weight", ".norm_k.weight", ".norm3.weight", ".norm_out.weight")


def write(folder: Path, *names: str) -> Files:
    """Write an installation of models (keys of MODELS), the largest by default; return its files.

    All of it is safe to load, as it is once pickles are converted.
    """
    files = _shared(folder)
    for seed, name in enumerate(names or ("14B",)):
        model, own = MODELS[name], folder / name
        parts = 1 if name == "1.3B" else omni_files.PARTS
        base = omni_files.write_base(own, tamed(omni_files.base(10 + seed)), parts)
        index = base[0].with_name("diffusion_pytorch_model.safetensors.index.json")
        if parts == 1:  # as the smaller one is published
            index.unlink()
            base = (base[0].rename(own / "diffusion_pytorch_model.safetensors"),)
        delta = tamed(omni_files.delta(20 + seed))
        scale = {"lora_alpha": omni_files.ALPHA, "lora_rank": omni_files.RANK}
        files |= {
            model.base: (index, *base) if parts > 1 else base,
            model.base_config: (said({"num_heads": HEADS}, own / "config.json"),),
            model.delta: (wan.saved(delta, own / "delta.safetensors"),),
            model.delta_config: (said(scale, own / "delta.json"),),
        }
    return files


def install(root: Path, *names: str) -> dict[str, str]:
    """Write the same as their repositories have it, below a weights folder; return settings.

    OmniAvatar's checkpoint, the VAE and the encoder of text are official pickles, which have to be
    converted.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = write(folder, *names)
        for pickle, ours in pickles(*names).items():
            torch.save(load_file(files.pop(ours)[0]), folder / pickle)
            files[pickle] = (folder / pickle,)
        installation.place(files, root)
    return {"TALKHEAD_WEIGHTS": str(root)}


def pickles(*names: str) -> dict[str, str]:
    """Return the ids of an installation's pickles, and of what serves in their place."""
    deltas = [MODELS[name].delta for name in names or ("14B",)]
    return {"wan-vae": "wan-vae-comfy", "wan-t5": "umt5-bf16", **{own: own for own in deltas}}


def tamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a size that keeps activations near 1."""
    return {
        key: tensor / (tensor[0].numel() if tensor.ndim > 1 else 25) ** 0.5 + key.endswith(NORMS)
        for key, tensor in tensors.items()
    }


def _shared(folder: Path) -> Files:
    """Return what both sizes share."""
    torch.manual_seed(6)
    sound = Wav2Vec2Model(Wav2Vec2Config(**SOUND)).state_dict()
    vae = wan.official_vae(wan.vae(blocks=1, stages=(1, 1, 1, 1)))  # the least that is one
    tokenizer = wan.write_tokenizer(folder / "umt5-xxl", WORDS) / "tokenizer.json"
    text = wan.official_text(dim=omni_files.TEXT)
    return {
        "wan-vae-comfy": (wan.saved(vae, folder / "vae.safetensors"),),
        "umt5-bf16": (wan.saved(text, folder / "umt5.safetensors"),),
        "wan-tokenizer": (said({}, tokenizer.with_name("special_tokens_map.json")), tokenizer),
        "wav2vec2-en": (wan.saved(sound, folder / "wav2vec2.safetensors"),),
        "wav2vec2-en-config": (said(SOUND, folder / "wav2vec2.json"),),
    }
