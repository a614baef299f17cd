"""InfiniteTalk's transformer at any size: its config, official-layout files, random weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models.loading import Source, load, renamed, targets

TINY = {
    "dim": 48, "ffn_dim": 64, "freq_dim": 16, "text_dim": 20, "num_heads": 2, "num_layers": 3,
    "intermediate_dim": 10, "output_dim": 12, "context_tokens": 4, "audio_blocks": 2,
    "audio_channels": 6, "clip_dim": 16,
}  # fmt: skip

OURS = {  # names of sizes in the goldens' JSON, and ours
    "ffn_dim": "ffn_dim", "freq_dim": "freq_dim", "text_dim": "text_dim",
    "num_layers": "num_layers",
    "num_heads": "num_attention_heads", "intermediate_dim": "audio_intermediate",
    "output_dim": "audio_dim", "context_tokens": "audio_tokens", "audio_blocks": "audio_blocks",
    "audio_channels": "audio_channels", "clip_dim": "image_dim", "patch_size": "patch_size",
    "in_dim": "in_channels", "out_dim": "out_channels", "audio_window": "audio_window",
    "vae_scale": "vae_scale", "eps": "eps", "class_range": "class_range",
    "class_interval": "class_interval",
}  # fmt: skip


def config(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the transformer's arguments for the sizes that a golden's JSON gives."""
    ours = {OURS[name]: value for name, value in sizes.items() if name in OURS}
    return {**ours, "attention_head_dim": sizes["dim"] // sizes["num_heads"]}


def adapter_name(key: str) -> bool:
    """Return whether the adapter's file holds a tensor of this official name."""
    return renamed(key, keys.ADAPTER) is not None


def write(folder: Path, tensors: Mapping[str, Tensor], parts: int = 3) -> tuple[Source, Source]:
    """Write tensors of official names as their repositories do: a base in parts, an adapter."""
    base = {key: tensor for key, tensor in tensors.items() if not adapter_name(key)}
    files = []
    for part in range(parts):
        name = f"diffusion_pytorch_model-{part + 1:05d}-of-{parts:05d}.safetensors"
        save_file(dict(list(base.items())[part::parts]), folder / name)
        files.append(folder / name)
    adapter = folder / "infinitetalk.safetensors"
    save_file({key: tensor for key, tensor in tensors.items() if key not in base}, adapter)
    return Source(tuple(files), keys.OFFICIAL), Source((adapter,), keys.OFFICIAL)


def builder(sizes: Mapping[str, Any]) -> Callable[[], InfiniteTalkTransformer]:
    """Return what builds the transformer, for loading.load."""
    return lambda: InfiniteTalkTransformer(**config(sizes))


def loaded(
    folder: Path,
    sizes: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> InfiniteTalkTransformer:
    """Return the transformer, its weights written to official-layout files and read again."""
    wide = InfiniteTalkTransformer._keep_in_fp32_modules
    target = targets(torch.device("cpu"), dtype, wide)
    return load(builder(sizes), write(folder, tensors), target)


def official_names(model: InfiniteTalkTransformer) -> dict[str, str]:
    """Return the official name of every tensor of a model, by ours."""
    names = {}
    for layer in range(len(model.blocks)):
        for name in OFFICIAL_BLOCK:
            key = f"blocks.{layer}.{name}"
            names[renamed(key, keys.OFFICIAL)] = key
    for key in OFFICIAL_REST:
        names[renamed(key, keys.OFFICIAL)] = key
    return names


def weights(sizes: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Return random weights of official names, of a size that keeps activations near 1."""
    with torch.device("meta"):
        model = builder(sizes)()
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    slots = model.state_dict()
    for ours, key in official_names(model).items():
        shape = slots[ours].shape
        noise = torch.randn(shape, generator=generator)
        fan = shape[1:].numel() if len(shape) > 1 else 25
        tensors[key] = noise / fan**0.5 + (1.0 if key.endswith(NORMS) else 0.0)
    return tensors


def inputs(sizes: Mapping[str, Any], speakers: int = 1, seed: int = 1) -> dict[str, Tensor]:
    """Return random inputs of one window: 3 latent frames of 4 x 6 tokens."""
    made = torch.Generator().manual_seed(seed)
    audio = (speakers, 9, 5, sizes["audio_blocks"], sizes["audio_channels"])
    masks = torch.zeros(3, 8, 12)
    masks[0, :, :4], masks[1, :, 8:], masks[2, :, 4:8] = 1, 1, 1
    return {
        "latents": torch.randn(1, 16, 3, 8, 12, generator=made),
        "y": torch.randn(1, 20, 3, 8, 12, generator=made),
        "text": torch.randn(1, 7, sizes["text_dim"], generator=made),
        "clip": torch.randn(1, 257, sizes["clip_dim"], generator=made),
        "audio": torch.randn(audio, generator=made),
        "masks": masks,
    }


NORMS = (
    "norm_q.weight", "norm_k.weight", "norm_k_img.weight", "norm3.weight", "norm_x.weight",
    "audio_proj.norm.weight", "img_emb.proj.0.weight", "img_emb.proj.4.weight",
)  # fmt: skip


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}.{part}" for name in names for part in ("weight", "bias"))


# Spec of the checkpoints, section 1.1: written out, so that the rules are held against it.
OFFICIAL_BLOCK = (
    "modulation",
    *_both(*(f"self_attn.{name}" for name in "qkvo")),
    "self_attn.norm_q.weight",
    "self_attn.norm_k.weight",
    *_both("norm3"),
    *_both(*(f"cross_attn.{name}" for name in ("q", "k", "v", "o", "k_img", "v_img"))),
    "cross_attn.norm_q.weight",
    "cross_attn.norm_k.weight",
    "cross_attn.norm_k_img.weight",
    *_both("ffn.0", "ffn.2", "norm_x"),
    *_both(*(f"audio_cross_attn.{name}" for name in ("q_linear", "kv_linear", "proj"))),
)
OFFICIAL_REST = (
    *_both("patch_embedding", "text_embedding.0", "text_embedding.2"),
    *_both("time_embedding.0", "time_embedding.2", "time_projection.1"),
    *_both(*(f"img_emb.proj.{index}" for index in (0, 1, 3, 4))),
    "head.modulation",
    *_both("head.head"),
    *_both(*(f"audio_proj.{name}" for name in ("proj1", "proj1_vf", "proj2", "proj3", "norm"))),
)
