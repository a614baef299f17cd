"""Wan 2.1's smaller parts at any size, random, under their official names, which are written out
here once more so that our name tables are held against them.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor

Tensors = dict[str, Tensor]

RESIDUAL = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3"}
RESIDUAL |= {"conv2": "residual.6", "conv_shortcut": "shortcut"}
MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
PLAIN = {"quant_conv": "conv1", "post_quant_conv": "conv2", "conv_in": "conv1"}
PLAIN |= {"norm_out": "head.0", "conv_out": "head.2"}


def saved(tensors: Tensors, file: Path) -> Path:
    """Write a safetensors file; return it."""
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)
    return file


def vae(blocks: int = 2, stages: tuple[int, ...] = (1, 2, 2, 2)) -> AutoencoderKLWan:
    """Return a VAE of diffusers, with so many residual blocks in each stage."""
    torch.manual_seed(3)
    halved = [False, True, True][: len(stages) - 1]
    model = AutoencoderKLWan(
        base_dim=4, dim_mult=list(stages), num_res_blocks=blocks, temperal_downsample=halved
    )
    return model.eval().requires_grad_(False)


def official_vae(model: AutoencoderKLWan) -> Tensors:
    """Return a VAE's weights under official names."""
    blocks = model.config.num_res_blocks
    return {_vae_name(name, blocks): value for name, value in model.state_dict().items()}


def _vae_name(name: str, blocks: int) -> str:
    side, *path, leaf = name.split(".")
    if side not in ("encoder", "decoder"):
        return f"{PLAIN[side]}.{leaf}"
    if path[0] in PLAIN:
        return f"{side}.{PLAIN[path[0]]}.{leaf}"
    if path[0] == "mid_block":
        where, rest = f"middle.{MIDDLE['.'.join(path[1:3])]}", path[3:]
    elif side == "encoder":
        where, rest = f"downsamples.{path[1]}", path[2:]
    else:  # the upsampler comes after blocks + 1 residual blocks
        within = int(path[3]) if path[2] == "resnets" else blocks + 1
        where, rest = f"upsamples.{int(path[1]) * (blocks + 2) + within}", path[4:]
    return ".".join([side, where, *(RESIDUAL.get(part, part) for part in rest), leaf])


def official_text(
    vocabulary: int = 40, dim: int = 16, hidden: int = 24, heads: int = 2, layers: int = 2
) -> Tensors:
    """Return a UMT5 encoder's weights under official names."""
    made = torch.Generator().manual_seed(4)
    tensors = {"token_embedding.weight": torch.randn(vocabulary, dim, generator=made)}
    for layer in range(layers):
        block = f"blocks.{layer}"
        tensors[f"{block}.norm1.weight"] = 1 + torch.rand(dim, generator=made)
        tensors[f"{block}.norm2.weight"] = 1 + torch.rand(dim, generator=made)
        for name in "qkvo":  # scores are not scaled down: q is, as T5 is initialised
            size = (dim * dim // heads if name == "q" else dim) ** -0.5
            tensors[f"{block}.attn.{name}.weight"] = size * torch.randn(dim, dim, generator=made)
        positions = torch.randn(32, heads, generator=made)
        tensors[f"{block}.pos_embedding.embedding.weight"] = positions
        for name in ("gate.0", "fc1"):
            tensors[f"{block}.ffn.{name}.weight"] = torch.randn(hidden, dim, generator=made) / 4
        tensors[f"{block}.ffn.fc2.weight"] = torch.randn(dim, hidden, generator=made) / 4
    return tensors | {"norm.weight": 1 + torch.rand(dim, generator=made)}


def official_clip(
    dim: int = 16, layers: int = 3, patch: int = 4, grid: int = 3, text: bool = True
) -> Tensors:
    """Return a CLIP checkpoint under official names: its image tower, and a bit of the other."""
    made = torch.Generator().manual_seed(5)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=made) / 4

    def norm(name: str) -> Tensors:
        return {f"{name}.weight": 1 + random(dim), f"{name}.bias": random(dim)}

    def linear(name: str, out: int, given: int) -> Tensors:
        return {f"{name}.weight": random(out, given), f"{name}.bias": random(out)}

    tensors = {
        "visual.cls_embedding": random(1, 1, dim),
        "visual.pos_embedding": random(1, 1 + grid * grid, dim),
        "visual.patch_embedding.weight": random(dim, 3, patch, patch),
        "visual.head": random(dim, 8),
        **norm("visual.pre_norm"),
        **norm("visual.post_norm"),
    }
    for layer in range(layers):
        block = f"visual.transformer.{layer}"
        tensors |= norm(f"{block}.norm1") | norm(f"{block}.norm2")
        tensors |= linear(f"{block}.attn.to_qkv", 3 * dim, dim)
        tensors |= linear(f"{block}.attn.proj", dim, dim)
        tensors |= linear(f"{block}.mlp.0", 4 * dim, dim) | linear(f"{block}.mlp.2", dim, 4 * dim)
    if text:
        tensors |= {"textual.token_embedding.weight": random(9, dim), "log_scale": random()}
    return tensors


def write_tokenizer(folder: Path, words: str) -> Path:
    """Write a tokenizer.json that knows these words and ends each text with </s>."""
    known = {"<pad>": 0, "</s>": 1, "<unk>": 2}
    known |= {word: index for index, word in enumerate(words.split(), start=3)}
    tokenizer = Tokenizer(WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding(length=600)  # as saved by someone: not to be followed
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
