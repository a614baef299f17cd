"""OmniAvatar's transformer against the official code's; facts from meta.json."""

from typing import Any

import pytest
import torch
from torch import Tensor

from parity.goldens import meta, part
from support import omniavatar
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer, add_by_frame

DIT = 2e-4
SET = "omniavatar_dit"


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return meta(SET)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return part(SET)


def loaded(
    facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, scale: float = 1
) -> OmniAvatarTransformer:
    folder = tmp_path_factory.mktemp("omniavatar")
    heads, (alpha, rank) = omniavatar.config(facts["config"])
    base, own = part(SET, "base_wan"), part(SET, "omniavatar_ckpt")
    if not scale:
        own = {key: value * (".lora_B." not in key) for key, value in own.items()}
    net = omniavatar.network(folder, base, own, heads, (alpha, rank))
    net.text_length = part(SET)["context"].shape[1]
    return net


@pytest.fixture(scope="module")
def model(facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> OmniAvatarTransformer:
    return loaded(facts, tmp_path_factory)


def told(model: OmniAvatarTransformer, tensors: dict[str, Tensor], *, mute: bool = False) -> Any:
    frames = tensors["y"].shape[2]
    heard = model.silent_tokens(frames) if mute else model.audio_tokens(tensors["audio_emb"])
    return model.condition(tensors["y"], model.text_keys(tensors["context"]), heard)


@torch.inference_mode()
def test_velocities(model: OmniAvatarTransformer, tensors: dict[str, Tensor]) -> None:
    condition = told(model, tensors)
    times = sorted(name for name in tensors if name.startswith("timestep_"))
    assert times
    for name in times:
        made = model(tensors["latents"], tensors[name], condition)
        assert apart(made, tensors[name.replace("timestep_", "out_")]) <= DIT


@torch.inference_mode()
def test_silence_is_not_nothing(model: OmniAvatarTransformer, tensors: dict[str, Tensor]) -> None:
    made = model(tensors["latents"], tensors["timestep_0"], told(model, tensors, mute=True))
    assert apart(made, tensors["out_zero_audio"]) <= DIT


@torch.inference_mode()
def test_what_the_pairs_change(
    facts: dict[str, Any],
    tensors: dict[str, Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plain = loaded(facts, tmp_path_factory, scale=0)
    made = plain(tensors["latents"], tensors["timestep_0"], told(plain, tensors))
    assert apart(made, tensors["out_no_lora"]) <= DIT


@torch.inference_mode()
def test_every_block(model: OmniAvatarTransformer, tensors: dict[str, Tensor]) -> None:
    condition = told(model, tensors)
    x = model.tokens(tensors["latents"], condition)
    embedded = tensors["mid.patch_embed_out"].flatten(2).transpose(1, 2)
    assert apart(x, embedded) <= DIT
    sound = model.audio_proj(tensors["audio_emb"])
    assert apart(sound, tensors["mid.audio_proj_out"].flatten(2)) <= DIT
    _, modulation = model.time(tensors["timestep_0"])
    for index, block in enumerate(model.blocks):
        if 0 <= index - 2 < len(condition.heard):
            x = add_by_frame(x, condition.heard[index - 2])
        assert apart(x, tensors[f"mid.block{index}_in"]) <= DIT
        x = block(x, modulation, condition.text[index], condition.rope)
        assert apart(x, tensors[f"mid.block{index}_out"]) <= DIT
