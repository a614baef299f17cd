"""An installation of InfiniteTalk from random weights of full size, in official layout, on disk."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2Model

from support import infinitetalk, wan
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models import embeddings

PART = 5_000_000_000  # bytes, about
RANK = 64
CHANGED = ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "ffn.0", "ffn.2")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Files = dict[str, list[str]]  # by id in weights/manifest.toml


def write(folder: Path, prompt: str) -> Files:
    """Write base in parts, adapter, LoRA, VAE, CLIP and wav2vec2, and an encoded prompt.

    So is a bundle without text encoder.
    """
    folder.mkdir(parents=True)
    with torch.device("meta"):
        net = InfiniteTalkTransformer()
    slots = net.state_dict()
    shapes = {key: slots[ours].shape for ours, key in infinitetalk.official_names(net).items()}
    adapter = {key: shape for key, shape in shapes.items() if infinitetalk.adapter_name(key)}
    base = {key: shape for key, shape in shapes.items() if key not in adapter}
    parts = _in_parts(base)
    heard = Wav2Vec2Config()
    embeddings.keep(folder / "prompts", f"umt5-xxl {torch.bfloat16}", prompt, torch.randn(20, 4096))

    def save(name: str, tensors: Mapping[str, Tensor]) -> list[str]:
        save_file({key: value.to(torch.bfloat16) for key, value in tensors.items()}, folder / name)
        return [str(folder / name)]

    def say(name: str, content: object) -> list[str]:
        (folder / name).write_text(json.dumps(content))
        return [str(folder / name)]

    return {
        "wan-i2v": [
            save(f"base-{index}.safetensors", _random(part))[0] for index, part in enumerate(parts)
        ],
        "wan-i2v-config": say("config.json", {"num_heads": 40}),
        "infinitetalk-single-adapter": save("adapter.safetensors", _random(adapter)),
        "lightx2v-i2v-rank64": save("lora.safetensors", _lora(shapes)),
        "wan-vae-comfy": save("vae.safetensors", wan.official_vae(AutoencoderKLWan())),
        "clip-vision-h": save("clip.safetensors", wan.official_clip(1280, 32, 14, 16)),
        "wav2vec2-zh": save("wav2vec2.safetensors", Wav2Vec2Model(heard).state_dict()),
        "wav2vec2-zh-config": say("wav2vec2.json", heard.to_dict()),
    }


def finder(files: Files, missing: Callable[[str], Exception]) -> Callable[..., tuple[Path, ...]]:
    """Return what an engine is given to find files with."""

    def find(*ids: str) -> tuple[Path, ...]:
        for one in ids:
            if one in files:
                return tuple(map(Path, files[one]))
        raise missing(ids[0])

    return find


def _in_parts(shapes: Mapping[str, torch.Size]) -> list[dict[str, torch.Size]]:
    """Return tensors in files of about PART bytes."""
    parts: list[dict[str, Any]] = [{}]
    for key, shape in shapes.items():
        if sum(2 * one.numel() for one in parts[-1].values()) > PART:
            parts.append({})
        parts[-1][key] = shape
    return parts


def _random(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    made = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, device=DEVICE, dtype=torch.bfloat16) * 0.02
        made[key] = (value + 1 if key.endswith(infinitetalk.NORMS) else value).cpu()
    return made


def _lora(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Return a change of six matrices of every block."""
    sides = {}
    for key, shape in shapes.items():
        layer = key.removesuffix(".weight")
        if key.endswith(".weight") and layer.partition("blocks.")[2].partition(".")[2] in CHANGED:
            sides[f"diffusion_model.{layer}.lora_down.weight"] = torch.Size((RANK, shape[1]))
            sides[f"diffusion_model.{layer}.lora_up.weight"] = torch.Size((shape[0], RANK))
    return _random(sides)
