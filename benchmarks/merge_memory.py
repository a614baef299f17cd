"""Memory of merging OmniAvatar's checkpoint into a base on disk, without mapped files.

Claim: at most eight times the largest tensor in float32 more than before, however many there are.
"""

import json
import sys
import tempfile
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import save_file

from _machine import heading
from convert_memory import peak_of
from talkhead import weights

DIM, FFN, RANK, HIDDEN = 2048, 6144, 128, 32
TIMES = 8
IDS = weights.manifest().files
NAME = "omniavatar-14b-merged"
PROJ = ("proj.bias", "norm_out.weight", "norm_out.bias")


def write(root: Path, layers: int) -> None:
    """Write a base in bf16 and a checkpoint of that many blocks, of official names."""
    base = {
        "patch_embedding.weight": torch.zeros(DIM, 16, 1, 2, 2),
        "patch_embedding.bias": torch.zeros(DIM),
    }
    own = {
        "patch_embedding.weight": torch.zeros(DIM, 33, 1, 2, 2),
        "patch_embedding.bias": torch.zeros(DIM),
        "audio_proj.proj.weight": torch.zeros(HIDDEN, 64),
        **{f"audio_proj.{name}": torch.zeros(HIDDEN) for name in PROJ},
    }
    for layer in range(layers // 2 - 1):
        own[f"audio_cond_projs.{layer}.weight"] = torch.zeros(DIM, HIDDEN)
        own[f"audio_cond_projs.{layer}.bias"] = torch.zeros(DIM)
    square = [f"{kind}_attn.{part}" for kind in ("self", "cross") for part in "qkvo"]
    sides = {"ffn.0": (FFN, DIM), "ffn.2": (DIM, FFN), **dict.fromkeys(square, (DIM, DIM))}
    for layer in range(layers):
        for name, (out, into) in sides.items():
            full = f"blocks.{layer}.{name}"
            base[f"{full}.weight"] = torch.zeros(out, into)
            own[f"{full}.lora_A.default.weight"] = torch.zeros(RANK, into)
            own[f"{full}.lora_B.default.weight"] = torch.zeros(out, RANK)
    places = [root / IDS[name].place for name in IDS[NAME].merges]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    narrow = {name: tensor.bfloat16() for name, tensor in base.items()}
    save_file(narrow, places[0].with_name("diffusion_pytorch_model.safetensors"))
    torch.save({name: tensor.bfloat16() for name, tensor in own.items()}, places[1])
    places[2].write_text(json.dumps({"lora_alpha": 64, "lora_rank": RANK}))


def merged(root: Path, dtype: str) -> tuple[float, float]:
    """Merge; return MB more than before at the peak, and seconds."""
    import_module("talkhead.weights.merge")  # code is no tensor
    return peak_of(root, dtype, NAME, weights.manifest())


def main() -> None:
    largest = DIM * FFN * 4 / 1e6
    heading(
        "talkhead weights convert omniavatar-14b-merged: MB more than before at the peak, by the "
        f"size of the base; its largest tensor has {largest:.0f} MB in float32"
    )
    worst = 0.0
    for layers in (2, 6, 16):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), layers)
            told = []
            for dtype in ("", "bf16"):
                with get_context("spawn").Pool(1) as fresh:  # of nothing that was held before
                    more, seconds = fresh.apply(merged, (Path(folder), dtype))
                worst = max(worst, more)
                told.append(f"{dtype or 'as it is'}: {more:.0f} MB, {seconds:.1f} s")
            size = layers * (8 * DIM * DIM + 2 * DIM * FFN) * 2 / 1e9
            print(f"{size:.1f} GB of bf16   {'   '.join(told)}")
    if worst > TIMES * largest:
        sys.exit(f"over {TIMES} times the largest tensor")


if __name__ == "__main__":
    main()
