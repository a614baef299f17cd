"""Wan 2.1's encoders and VAE against numbers of the official code; all facts come from the JSON."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from parity.goldens import read, under
from talkhead.models import text, vision

CPU = torch.device("cpu")
ENCODERS = 1e-5
GOLDEN = read("infinitetalk_encoders")


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def saved(tensors: dict[str, Tensor], folder: Path) -> Path:
    file = folder / "weights.safetensors"
    save_file(tensors, file)
    return file


def test_pictures_are_encoded(tmp_path: Path) -> None:
    facts, tensors = GOLDEN
    config = facts["clip_config"]
    file = saved(under(tensors, "clip_weights."), tmp_path)
    tower = vision.load_tower(file, CPU, torch.float32, heads=config["heads"])
    sizes = tower.config
    assert sizes.image_size == config["image_size"]
    assert sizes.patch_size == config["patch_size"]
    assert sizes.hidden_size == config["dim"]
    assert sizes.intermediate_size == config["dim"] * config["mlp_ratio"]
    assert sizes.num_hidden_layers == config["layers"] - 1  # the last is never run
    pictures = tensors["clip.frame"].transpose(0, 1)
    pixels = vision.pixel_values(pictures, sizes.image_size)
    assert apart(pixels, tensors["clip.pixel_values"]) <= ENCODERS
    assert apart(vision.encode(tower, pictures), tensors["clip.out"]) <= ENCODERS


def test_texts_are_encoded(tmp_path: Path) -> None:
    facts, tensors = GOLDEN
    config = facts["t5_config"]
    file = saved(under(tensors, "t5_weights."), tmp_path)
    encoder = text.load_encoder([file], CPU, torch.float32, distance=config["max_distance"])
    wanted: dict[str, Any] = {
        "vocab_size": config["vocab"],
        "d_model": config["dim"],
        "d_kv": config["dim_attn"] // config["heads"],
        "d_ff": config["dim_ffn"],
        "num_heads": config["heads"],
        "num_layers": config["layers"],
        "relative_attention_num_buckets": config["num_buckets"],
        "relative_attention_max_distance": config["max_distance"],
        "layer_norm_epsilon": config["eps"],
    }
    assert {name: getattr(encoder.config, name) for name in wanted} == wanted
    ids = tensors["t5.ids"][tensors["t5.mask"].bool()]
    assert apart(text.rows(encoder, ids.tolist()), tensors["t5.out"]) <= ENCODERS
