import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel

from support import wan
from talkhead.errors import Code, TalkheadError
from talkhead.models import vision

CPU = torch.device("cpu")
HEADS, DIM, LAYERS = 2, 16, 3


def tower(file: Path, dtype: torch.dtype = torch.float32) -> CLIPVisionModel:
    return vision.load_tower(file, CPU, dtype, heads=HEADS)


def official(tmp_path: Path) -> Path:
    return wan.saved(wan.official_clip(DIM, LAYERS), tmp_path / "official.safetensors")


def pictures(*size: int) -> Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(2)) * 2 - 1


def by_hand(weights: wan.Tensors, given: Tensor) -> Tensor:
    """Return all blocks but the last, written out."""

    def of(name: str) -> Tensor:
        return weights[f"visual.{name}"]

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (DIM,), of(f"{name}.weight"), of(f"{name}.bias"), 1e-5)

    def linear(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, of(f"{name}.weight"), of(f"{name}.bias"))

    patch = of("patch_embedding.weight")
    x = functional.conv2d(given, patch, stride=patch.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([of("cls_embedding").expand(len(x), 1, DIM), x], dim=1) + of("pos_embedding")
    x = norm(x, "pre_norm")
    for layer in range(LAYERS - 1):
        block = f"transformer.{layer}"
        heads = linear(norm(x, f"{block}.norm1"), f"{block}.attn.to_qkv")
        q, k, v = heads.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(DIM // HEADS)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(mixed, f"{block}.attn.proj")
        hidden = linear(norm(x, f"{block}.norm2"), f"{block}.mlp.0")
        x = x + linear(functional.gelu(hidden), f"{block}.mlp.2")
    return x


def test_next_to_last_layer(tmp_path: Path) -> None:
    model = tower(official(tmp_path))
    given = pictures(31, 50)
    found = vision.encode(model, given)
    wanted = by_hand(wan.official_clip(DIM, LAYERS), vision.pixel_values(given, 12))
    assert found.shape == (2, 10, DIM)
    assert (found - wanted).abs().max() <= 1e-5
    assert len(model.encoder.layers) == LAYERS - 1


def test_half_precision_gives_float32(tmp_path: Path) -> None:
    file, given = official(tmp_path), pictures(20, 20)
    wanted = vision.encode(tower(file), given)
    found = vision.encode(tower(file, torch.bfloat16), given)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() <= 2e-2 * wanted.norm()


@pytest.mark.parametrize("prefix", ["vision_model.", ""])
def test_names_of_transformers(tmp_path: Path, prefix: str) -> None:
    config = CLIPVisionConfig(
        hidden_size=DIM,
        intermediate_size=20,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=12,
        patch_size=4,
        hidden_act="gelu",
    )
    torch.manual_seed(0)
    model = CLIPVisionModel(config).eval()
    file = {f"{prefix}{name}": value for name, value in model.state_dict().items()}
    file["visual_projection.weight"] = torch.zeros(8, DIM)  # as ComfyUI's clip_vision_h has it
    given, states = pictures(12, 12), []
    hook = (
        getattr(model, "vision_model", model)
        .encoder.layers[-2]
        .register_forward_hook(
            lambda _layer, _given, made: states.append(made[0] if isinstance(made, tuple) else made)
        )
    )
    with torch.no_grad():
        model(pixel_values=vision.pixel_values(given, 12))
    hook.remove()
    found = vision.encode(tower(wan.saved(file, tmp_path / "theirs.safetensors")), given)
    assert (found - states[0]).abs().max() <= 1e-5


def test_pictures_are_squashed_whole() -> None:
    wide = torch.full((1, 3, 10, 40), -1.0)
    wide[..., :4] = 1.0  # a tenth of the width, which a crop to the middle would lose
    square = vision.pixel_values(wide, 20)
    white = (1 - torch.tensor(vision.MEAN)) / torch.tensor(vision.STD)
    assert square.shape == (1, 3, 20, 20)
    assert torch.allclose(square[0, :, 10, 0], white, atol=1e-5)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    whole = wan.official_clip(DIM, LAYERS)
    less = {name: value for name, value in whole.items() if "0.mlp.2.bias" not in name}
    bare = {name: value for name, value in whole.items() if "patch_embedding" not in name}
    odd = whole | {"visual.transformer.0.attn.extra": torch.zeros(1)}
    bad = whole | {"visual.pre_norm.weight": torch.zeros(DIM + 1)}
    for tensors, words in (
        (less, "mlp.fc2.bias is missing"),
        (bare, "patch_embedding.weight is missing"),
        (odd, "visual.transformer.0.attn.extra is unknown"),
        (bad, "pre_layrnorm.weight is"),
        ({"blocks.0.weight": torch.zeros(1)}, "is unknown"),
        ({"log_scale": torch.zeros(1)}, "is missing"),
    ):
        file = wan.saved(tensors, tmp_path / "bad.safetensors")
        with pytest.raises(TalkheadError) as caught:
            tower(file)
        assert caught.value.code == Code.WEIGHTS
        assert words in caught.value.message
