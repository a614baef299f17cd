"""OmniAvatar's base and its own checkpoint at tiny size, random, under their official names."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from talkhead.weights import File, manifest

DIM, FFN, TEXT, HIDDEN, RANK, ALPHA = 8, 12, 6, 4, 2, 1.0
SOUND, SOUND_LAYERS = 4, 1  # of the encoder of speech: channels, blocks
FEATURES = 4 * (SOUND_LAYERS + 2) * SOUND  # of 4 frames of video
FACTOR = ALPHA / RANK
LAYERS = 6  # audio is added before blocks 2 and 3
PARTS = 3  # of the base's files


def random(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def base(seed: int = 1, channels: int = 16) -> dict[str, Tensor]:
    """Return what Wan 2.1 text-to-video has."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (DIM, channels, 1, 2, 2),
        "patch_embedding.bias": (DIM,),
        "head.modulation": (1, 2, DIM),
        **linear("head.head", 64, DIM),
        **linear("text_embedding.0", DIM, TEXT),
        **linear("text_embedding.2", DIM, DIM),
        **linear("time_embedding.0", DIM, 4),
        **linear("time_embedding.2", DIM, DIM),
        **linear("time_projection.1", 6 * DIM, DIM),
    }
    for layer in range(LAYERS):
        block = f"blocks.{layer}"
        shapes |= {f"{block}.modulation": (1, 6, DIM), f"{block}.norm3.weight": (DIM,)}
        shapes |= {f"{block}.norm3.bias": (DIM,), **linear(f"{block}.ffn.0", FFN, DIM)}
        shapes |= linear(f"{block}.ffn.2", DIM, FFN)
        for kind in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes |= linear(f"{block}.{kind}.{part}", DIM, DIM)
            for part in "qk":
                shapes[f"{block}.{kind}.norm_{part}.weight"] = (DIM,)
    return random(shapes, seed)


def pairs(given: Mapping[str, Tensor]) -> Iterable[str]:
    """Return the layers of a base that the checkpoint changes."""
    ends = (".q.weight", ".k.weight", ".v.weight", ".o.weight", ".ffn.0.weight", ".ffn.2.weight")
    return [name.removesuffix(".weight") for name in given if name.endswith(ends)]


def delta(
    seed: int = 2, before: str = "", named: str = ".default", channels: int = 33
) -> dict[str, Tensor]:
    """Return what the checkpoint has: whole tensors, and pairs."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (DIM, channels, 1, 2, 2),
        "patch_embedding.bias": (DIM,),
        **linear("audio_proj.proj", HIDDEN, FEATURES),
        "audio_proj.norm_out.weight": (HIDDEN,),
        "audio_proj.norm_out.bias": (HIDDEN,),
    }
    for layer in range(LAYERS // 2 - 1):
        shapes |= linear(f"audio_cond_projs.{layer}", DIM, HIDDEN)
    held = base()
    for layer_name in pairs(held):
        out, into = held[f"{layer_name}.weight"].shape
        shapes[f"{layer_name}.lora_A{named}.weight"] = (RANK, into)
        shapes[f"{layer_name}.lora_B{named}.weight"] = (out, RANK)
    return {before + name: tensor for name, tensor in random(shapes, seed).items()}


def applied(held: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole model: the base with what the checkpoint (no prefixes) makes of it."""
    made = {name: tensor for name, tensor in held.items() if not name.startswith("patch_")}
    made |= {name: tensor for name, tensor in own.items() if ".lora_" not in name}
    for name in pairs(held):
        up, down = own[f"{name}.lora_B.default.weight"], own[f"{name}.lora_A.default.weight"]
        made[f"{name}.weight"] = held[f"{name}.weight"].float() + FACTOR * (up @ down)
    return made


def write_base(folder: Path, given: Mapping[str, Tensor], parts: int = PARTS) -> tuple[Path, ...]:
    """Write a base in parts, as it is published, and its index."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for part in range(parts):
        name = f"diffusion_pytorch_model-{part + 1:05d}-of-{parts:05d}.safetensors"
        save_file(dict(list(given.items())[part::parts]), folder / name)
        files.append(folder / name)
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    return tuple(files)


def install(root: Path) -> dict[str, Path]:
    """Write base, checkpoint (a pickle) and its config where a pull puts those of 14B."""
    known = manifest().files
    write_base((root / known["wan-t2v"].place).parent, base())
    own, config = (placed(root, known[f"omniavatar-14b-{name}"]) for name in ("delta", "config"))
    torch.save(delta(), own)
    config.write_text(json.dumps({"lora_alpha": ALPHA, "lora_rank": RANK}))
    return {"delta": own, "config": config, "base": (root / known["wan-t2v"].place).parent}


def placed(root: Path, file: File) -> Path:
    place = root / file.place
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


class Tree(nn.Module):
    """A module of these parameters and no forward, for what is loaded by name."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            *path, leaf = name.split(".")
            here: nn.Module = self
            for part in path:
                if part not in here._modules:
                    here.add_module(part, nn.Module())
                here = here._modules[part]  # type: ignore[assignment]
            here.register_parameter(leaf, nn.Parameter(torch.empty(shape)))
