"""Wan 2.1's encoders and VAE against numbers of the official code; all facts come from the JSON."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor

from parity.goldens import folder, read, under
from talkhead.models import text, vision, wan_vae, wan_vae_files

CPU = torch.device("cpu")
ENCODERS = 1e-5
FRAMES = 1e-4  # of the decoder alone; all of a window is allowed 2e-3
GOLDEN = read("infinitetalk_encoders")
PIPELINE = read("infinitetalk_pipeline")
RECORDED = sorted(name.removesuffix(".decoded") for name in PIPELINE[1] if name.endswith("decoded"))


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def saved(tensors: dict[str, Tensor], there: Path) -> Path:
    file = there / "weights.safetensors"
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


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> AutoencoderKLWan:
    weights = load_file(folder("infinitetalk_pipeline") / "weights.safetensors")
    file = saved(under(weights, "vae."), tmp_path_factory.mktemp("vae"))
    return wan_vae_files.load_vae(file, CPU, torch.float32)


def test_the_vae_has_the_official_sizes(vae: AutoencoderKLWan) -> None:
    config = PIPELINE[0]["vae_config"]
    sizes: Any = vae.config
    assert sizes.base_dim == config["dim"]
    for name in ("z_dim", "dim_mult", "num_res_blocks", "temperal_downsample"):
        assert sizes[name] == config[name]


@pytest.mark.parametrize("name", RECORDED)
def test_windows_are_decoded(vae: AutoencoderKLWan, name: str) -> None:
    kept = under(PIPELINE[1], f"{name}.")
    frames = torch.cat(list(wan_vae.decode(vae, kept["x0"])), dim=1)
    assert apart(frames, kept["decoded"]) <= FRAMES


@pytest.mark.parametrize("name", RECORDED)
def test_seen_frames_are_encoded(vae: AutoencoderKLWan, name: str) -> None:
    kept = under(PIPELINE[1], f"{name}.")
    latents = wan_vae.encode(vae, kept["motion_pixels"])
    assert apart(latents, kept["motion_latents"]) <= ENCODERS


@pytest.mark.parametrize("name", RECORDED)
def test_a_still_is_encoded_with_grey_after_it(vae: AutoencoderKLWan, name: str) -> None:
    case = name.partition(".")[0]
    still = PIPELINE[1][f"{case}.color_reference"]
    kept = under(PIPELINE[1], f"{name}.")
    frames = kept["decoded"].shape[1]
    latents = wan_vae.Stills(vae).encode(still, frames)
    assert apart(latents, kept["y"][-latents.shape[0] :]) <= ENCODERS
