import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan

from support import wan
from talkhead.errors import Code, TalkheadError
from talkhead.models import wan_vae_files

CPU = torch.device("cpu")


def loaded(file: Path, **options: Any) -> AutoencoderKLWan:
    return wan_vae_files.load_vae(file, CPU, torch.float32, **options)


def refusal(file: Path) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        loaded(file)
    assert caught.value.code == Code.WEIGHTS
    assert str(file) in caught.value.message
    return caught.value


def same(one: AutoencoderKLWan, other: AutoencoderKLWan) -> bool:
    weights, others = one.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(
        torch.equal(weight, others[name]) for name, weight in weights.items()
    )


@pytest.mark.parametrize(
    ("blocks", "stages"),
    [(2, (1, 2, 4, 4)), (1, (1, 2, 2, 2)), (3, (1, 2, 2, 2)), (2, (1, 2, 2)), (2, (2, 4, 4, 8))],
)
def test_official_names_of_any_layout(tmp_path: Path, blocks: int, stages: tuple[int, ...]) -> None:
    model: Any = wan.vae(blocks, stages)
    found: Any = loaded(wan.saved(wan.official_vae(model), tmp_path / "vae.safetensors"))
    for name in ("base_dim", "z_dim", "num_res_blocks", "temperal_downsample", "latents_std"):
        assert found.config[name] == model.config[name], name
    assert found.config.dim_mult == list(stages)
    assert same(model, found)
    assert not any(weight.requires_grad for weight in found.parameters())


def test_diffusers_folder(tmp_path: Path) -> None:
    model: Any = wan.vae(1)
    model.register_to_config(latents_mean=[0.5] * 16)
    model.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    found: Any = loaded(file, channels_last=True)
    assert same(model, found)
    assert found.config.latents_mean == [0.5] * 16
    weight = found.encoder.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_newer_vae_is_refused(tmp_path: Path) -> None:
    model: Any = wan.vae(1)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"z_dim": 48, "patch_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    assert "Wan 2.2" in refusal(file).message
    (tmp_path / "config.json").unlink()
    assert "config.json" in refusal(file).message


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    whole = wan.official_vae(wan.vae(2))
    missing = "decoder.upsamples.9.residual.6.weight"
    few = {name: value for name, value in whole.items() if name != missing}
    odd = whole | {"decoder.upsamples.15.residual.0.gamma": torch.zeros(4, 1, 1, 1)}
    bad = whole | {"decoder.head.2.bias": torch.zeros(4)}
    wide = whole | {"conv2.weight": torch.zeros(48, 48, 1, 1, 1)}
    lame = {name: value for name, value in whole.items() if "downsamples.1." not in name}
    for tensors, words in (
        (few, "up_blocks.2.resnets.1.conv2.weight"),
        (odd, "decoder.upsamples.15"),
        (bad, "decoder.head.2.bias is [4], not [3]"),
        (wide, "48 channels, not 16"),
        (lame, "residual blocks"),
        ({"some.weight": torch.zeros(1)}, "0 channels"),
    ):
        file = wan.saved(tensors, tmp_path / "bad.safetensors")
        assert words in refusal(file).message
