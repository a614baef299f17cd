"""The base models of Wan 2.1 and OmniAvatar's files are known under other names, and told apart."""

import json
import math
import struct
from pathlib import Path

import pytest

from talkhead import weights
from talkhead.weights import locate
from talkhead.weights.locate import Places

KNOWN = weights.manifest()
IDS = (
    "wan-t2v", "wan-t2v-small", "wan-i2v", "wan-i2v-q8", "omniavatar-14b-delta",
    "omniavatar-14b-merged", "omniavatar-1-3b-delta", "omniavatar-1-3b-merged",
)  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


def hollow(path: Path, tensors: Shapes, prefix: str = "") -> Path:
    """Write a safetensors file of true sizes that takes no disk."""
    header, at = {}, 0
    for name, shape in tensors.items():
        end = at + 2 * math.prod(shape)
        header[prefix + name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return path


def base(dim: int, inner: int, layers: int, channels: int = 16) -> Shapes:
    last = layers - 1
    return {
        "patch_embedding.weight": (dim, channels, 1, 2, 2),
        "head.head.weight": (64, dim),
        **{f"blocks.{i}.ffn.0.weight": (inner, dim) for i in (0, last)},
        **{f"blocks.{i}.self_attn.q.weight": (dim, dim) for i in (0, last)},
    }


def own(dim: int, layers: int) -> Shapes:
    return {
        "patch_embedding.weight": (dim, 33, 1, 2, 2),
        "audio_proj.proj.weight": (32, 43008),
        f"audio_cond_projs.{layers // 2 - 2}.weight": (dim, 32),
    }


def changes(dim: int, inner: int) -> Shapes:
    """Return pairs of some layers: the whole checkpoint has 355 MB."""
    pairs: Shapes = {}
    for layer in range(20):
        pairs[f"blocks.{layer}.ffn.0.lora_A.default.weight"] = (128, dim)
        pairs[f"blocks.{layer}.ffn.0.lora_B.default.weight"] = (inner, 128)
    return pairs


LARGE, SMALL = (5120, 13824, 40), (1536, 8960, 30)
IMAGE = {"img_emb.proj.0.weight": (1280,), "blocks.0.cross_attn.k_img.weight": (5120, 5120)}
FILES: dict[str, tuple[str, Shapes]] = {
    "wan-t2v": ("wan2.1_t2v_14B_bf16.safetensors", base(*LARGE)),
    "wan-t2v-small": ("Wan2_1-T2V-1_3B_bf16.safetensors", base(*SMALL)),
    "omniavatar-14b-delta": ("a.safetensors", {**own(5120, 40), **changes(5120, 13824)}),
    "omniavatar-1-3b-delta": ("a.safetensors", {**own(1536, 30), **changes(1536, 8960)}),
    "omniavatar-14b-merged": ("a.safetensors", {**base(*LARGE), **own(5120, 40)}),
    "omniavatar-1-3b-merged": ("a.safetensors", {**base(*SMALL), **own(1536, 30)}),
}


def taken(root: Path) -> list[str]:
    return [name for name in IDS if locate.find(KNOWN.files[name], Places(root)).paths]


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("name", FILES)
def test_each_is_known_as_itself_alone(tmp_path: Path, name: str, prefix: str) -> None:
    called, tensors = FILES[name]
    path = hollow(tmp_path / "models/diffusion_models" / called, tensors, prefix)
    assert taken(tmp_path) == [name]
    found = locate.find(KNOWN.files[name], Places(tmp_path))
    assert (found.paths, found.pickle) == ((path,), False)
    stem = {"delta": "pytorch_model", "merged": name.removesuffix("-merged")}
    wanted = stem.get(name.rpartition("-")[2], "diffusion_pytorch_model")
    assert [place.name for place in found.names] == [f"{wanted}.safetensors"]


@pytest.mark.parametrize(
    ("called", "tensors"),
    [
        ("wan2.1_t2v_14B_bf16.safetensors", {**base(*LARGE, 36), **IMAGE}),
        ("wan2.1_t2v_14B_bf16.safetensors", {**base(*LARGE), **IMAGE}),
        ("wan2.1_i2v_480p_14B_bf16.safetensors", {**base(*LARGE, 36), **IMAGE}),
        ("wan2.1_t2v_14B_bf16.safetensors", {**base(*LARGE), "vace_blocks.0.x": (9,)}),
        ("wan2.1_t2v_1.3B_bf16.safetensors", base(*LARGE)),
        ("wan2.1_t2v_14B_bf16.safetensors", base(*SMALL)),
        ("wan2.2_t2v_low_noise_14B_fp16.safetensors", base(*LARGE)),
        ("Wan2.1_T2V_14B_FusionX.safetensors", base(*LARGE)),
    ],
)
def test_others_are_not(tmp_path: Path, called: str, tensors: Shapes) -> None:
    path = hollow(tmp_path / "models/diffusion_models" / called, tensors)
    assert taken(tmp_path) == []
    if "2.2" in called:
        (hint,) = locate.find(KNOWN.files["wan-t2v"], Places(tmp_path)).hints
        assert hint.path == path
        assert "its name does not say" in hint.why


def test_other_names_that_repacks_have(tmp_path: Path) -> None:
    for number, called in enumerate(
        ("Wan2_1-T2V-14B_fp16", "wan2.1-t2v-14b", "Wan2.1_T2V_14B_fp32")
    ):
        root = tmp_path / str(number)
        hollow(root / "diffusion_models" / f"{called}.safetensors", base(*LARGE))
        assert taken(root) == ["wan-t2v"], called
    hollow(tmp_path / "x/diffusion_models/Wan2_1-T2V-14B_fp8_e4m3fn.safetensors", base(*LARGE))
    assert taken(tmp_path / "x") == []


def test_shared_files_are_found_where_the_official_code_keeps_them(tmp_path: Path) -> None:
    for name, path in (
        ("wan-vae", "Wan2.1_VAE.pth"),
        ("wan-t5", "models_t5_umt5-xxl-enc-bf16.pth"),
    ):
        held = tmp_path / name / "models/Wan2.1-T2V-1.3B" / path
        held.parent.mkdir(parents=True)
        held.write_bytes(b"\x80\x02" + bytes(60))
        assert locate.find(KNOWN.files[name], Places(tmp_path / name)).paths == (held,)
