"""What the transformer computes once, what it leaves out, and what runs as one batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from support import infinitetalk
from support.infinitetalk import TINY
from talkhead.engines.infinitetalk import blocks, keys, routing
from talkhead.engines.infinitetalk.transformer import (
    Condition,
    InfiniteTalkTransformer,
    joined,
)
from talkhead.errors import Code, TalkheadError
from talkhead.models.loading import Source, load, targets
from talkhead.models.quantised import QuantLinear, quantise
from talkhead.models.wan_blocks import KeyValue

TIME = torch.tensor([537.25])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InfiniteTalkTransformer:
    return infinitetalk.loaded(tmp_path_factory.mktemp("m"), TINY, infinitetalk.weights(TINY))


def told(model: InfiniteTalkTransformer, speakers: int = 1, seed: int = 1) -> Condition:
    given = infinitetalk.inputs(TINY, speakers, seed)
    return model.condition(
        given["y"],
        model.text_keys(given["text"]),
        model.image_keys(given["clip"]),
        model.audio_keys(given["audio"]),
        given["masks"] if speakers > 1 else None,
    )


def latents(seed: int = 1) -> Tensor:
    return infinitetalk.inputs(TINY, 1, seed)["latents"]


def refuse(*_given: Any, **_named: Any) -> Any:
    raise AssertionError("not needed")


@pytest.mark.parametrize("packed", [False, True])
def test_one_speakers_sound_is_attended_to_as_ever(*, packed: bool) -> None:
    """The order of products is another; turned by nothing, queries give the same the usual way."""
    layer = blocks.AudioAttention(24, 3, "sdpa").requires_grad_(False)
    if packed:
        layer.to_q = QuantLinear(quantise(layer.to_q.weight, "int8"), layer.to_q.bias)
        layer.to_out = QuantLinear(quantise(layer.to_out.weight, "int8"), layer.to_out.bias)
    made = torch.Generator().manual_seed(4)
    x = torch.randn(2, 5 * 6, 24, generator=made)  # 5 latent frames of 6 tokens
    key, value = torch.randn(2, 2, 5, 4, 3, 8, generator=made)
    sound = KeyValue(key, value)
    usual = layer(x, sound, torch.zeros(2, 5 * 6))
    torch.testing.assert_close(layer(x, sound, None), usual, rtol=1e-5, atol=1e-6)


def test_one_speaker_needs_no_map(
    model: InfiniteTalkTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, two = told(model), told(model, speakers=2)
    monkeypatch.setattr(routing, "reference_map", refuse)
    model(latents(), TIME, alone)
    with pytest.raises(AssertionError, match="not needed"):
        model(latents(), TIME, two)


def test_masks_are_for_two_speakers(
    model: InfiniteTalkTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, two = told(model), told(model, speakers=2)
    masks = torch.ones(3, 8, 12)  # what the official code has for one speaker
    again = model.condition(alone.y, alone.text, alone.image, alone.audio, masks)
    silent = model.condition(two.y, two.text, two.image, model.silent_keys(), masks)
    monkeypatch.setattr(routing, "reference_map", refuse)
    assert torch.equal(model(latents(), TIME, again), model(latents(), TIME, alone))
    model(latents(), TIME, silent)
    with pytest.raises(ValueError, match="no masks"):
        model.condition(two.y, two.text, two.image, two.audio)


def test_a_step_makes_no_tokens_and_no_keys_of_them(model: InfiniteTalkTransformer) -> None:
    condition = told(model)
    once: list[nn.Module] = [
        model.condition_embedder, model.audio_proj,
        *model.text_memory, *model.image_memory, *model.audio_memory,
    ]  # fmt: skip
    inner = [part for module in once for part in module.modules()]
    spared = [
        part for part in inner if part not in set(model.condition_embedder.time_embedder.modules())
    ]
    hooks = [part.register_forward_pre_hook(refuse) for part in spared]
    try:
        model(latents(), TIME, condition)
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("frames", [1, 5, 9, 21])
def test_silence_is_a_constant(model: InfiniteTalkTransformer, frames: int) -> None:
    features = (TINY["audio_blocks"], TINY["audio_channels"])
    long = model.audio_keys(torch.zeros(1, frames, 5, *features))
    short = model.silent_keys()
    for one, other in zip(long, short, strict=True):
        wide = blocks.spread(other, one.key.shape[1])
        torch.testing.assert_close(wide.key, one.key, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(wide.value, one.value, atol=1e-6, rtol=1e-6)


def test_silence_of_a_pass_is_heard_by_all_frames(model: InfiniteTalkTransformer) -> None:
    given = infinitetalk.inputs(TINY)
    condition = told(model)
    silent = replace(condition, audio=model.silent_keys())
    zeros = replace(condition, audio=model.audio_keys(torch.zeros_like(given["audio"])))
    torch.testing.assert_close(
        model(latents(), TIME, silent), model(latents(), TIME, zeros), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("speakers", [1, 2])
def test_passes_run_as_one_batch(model: InfiniteTalkTransformer, speakers: int) -> None:
    one, other = told(model, speakers), told(model, speakers, seed=5)
    times = torch.tensor([900.0, 20.5])
    x = torch.cat([latents(1), latents(2)])
    together = model(x, times, joined([one, other]))
    for index, condition in enumerate((one, other)):
        alone = model(x[index : index + 1], times[index : index + 1], condition)
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-5)


def test_silence_joins_a_batch(model: InfiniteTalkTransformer) -> None:
    condition = told(model)
    silent = replace(condition, audio=model.silent_keys())
    x = latents()
    together = model(x.expand(2, -1, -1, -1, -1), TIME.expand(2), joined([condition, silent]))
    torch.testing.assert_close(together[1:], model(x, TIME, silent), atol=1e-5, rtol=1e-5)


def test_passes_of_other_forms_do_not_join(model: InfiniteTalkTransformer) -> None:
    with pytest.raises(ValueError, match="do not fit into one batch"):
        joined([told(model), told(model, speakers=2)])


def test_a_change_used_again_leaves_the_blocks_out(model: InfiniteTalkTransformer) -> None:
    condition = told(model)
    velocity, change = model.sample(latents(), TIME, condition)
    assert torch.equal(velocity, model(latents(), TIME, condition))
    hooks = [block.register_forward_pre_hook(refuse) for block in model.blocks]
    try:
        again, kept = model.sample(latents(), TIME, condition, change)
    finally:
        for hook in hooks:
            hook.remove()
    assert kept is change
    torch.testing.assert_close(again, velocity, atol=1e-5, rtol=1e-5)


def test_a_third_speaker_is_refused(model: InfiniteTalkTransformer) -> None:
    with pytest.raises(ValueError, match="3 speakers"):
        model.audio_keys(infinitetalk.inputs(TINY, speakers=3)["audio"])


def test_two_silent_speakers_differ_by_place_alone(model: InfiniteTalkTransformer) -> None:
    zeros = torch.zeros_like(infinitetalk.inputs(TINY, speakers=2)["audio"])
    pair, alone = model.audio_keys(zeros)[0], model.audio_keys(zeros[:1])[0]
    tokens = TINY["context_tokens"]
    torch.testing.assert_close(pair.value[:, :, :tokens], alone.value)
    torch.testing.assert_close(pair.value[:, :, tokens:], alone.value)
    assert not torch.allclose(pair.key[:, :, :tokens], pair.key[:, :, tokens:])


def test_attention_that_is_not_there_is_refused(tmp_path: Path) -> None:
    sizes = infinitetalk.config(TINY)
    model = InfiniteTalkTransformer(**sizes, attention_backend="telepathy").requires_grad_(False)
    with pytest.raises(TalkheadError, match="telepathy") as caught:
        model(latents(), TIME, told(model))
    assert caught.value.code is Code.UNSUPPORTED


def test_what_stays_in_float32(tmp_path: Path) -> None:
    tensors = infinitetalk.weights(TINY)
    narrow = infinitetalk.loaded(tmp_path, TINY, tensors, torch.bfloat16)
    wide = {name for name, p in narrow.named_parameters() if p.dtype == torch.float32}
    for part in ("time_embedder.linear_1", "time_proj", "blocks.2.norm_x", "audio_proj.norm"):
        assert any(f"{part}.weight" in name for name in wide), part
    assert {"scale_shift_table", "blocks.0.scale_shift_table", "proj_out.weight"} <= wide
    assert not {name for name in wide if ".to_" in name or "ffn" in name or "proj1" in name}
    assert narrow(latents(), TIME, told(narrow)).dtype == torch.float32


def test_saved_by_diffusers_and_read_again(model: InfiniteTalkTransformer, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = InfiniteTalkTransformer.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert again.config.audio_channels == TINY["audio_channels"]
    wide = {name for name, p in again.named_parameters() if p.dtype == torch.float32}
    assert "proj_out.weight" in wide
    assert "patch_embedding.weight" not in wide


def test_deaf_it_is_diffusers_wan(tmp_path: Path) -> None:
    """The base in diffusers' layout, and an adapter that adds nothing, against diffusers' model."""
    torch.manual_seed(0)
    sizes = infinitetalk.config(TINY)
    shared = ("num_layers", "num_attention_heads", "attention_head_dim", "ffn_dim", "text_dim")
    theirs = WanTransformer3DModel(
        **{name: sizes[name] for name in (*shared, "freq_dim", "image_dim")},
        in_channels=36,
        added_kv_proj_dim=TINY["dim"],
    ).requires_grad_(False)
    base = {name: t for name, t in theirs.state_dict().items() if "norm_added_q" not in name}
    save_file(base, tmp_path / "base.safetensors")
    adapter = {
        name: torch.zeros_like(tensor) if ".audio_cross_attn.proj." in name else tensor
        for name, tensor in infinitetalk.weights(TINY).items()
        if infinitetalk.adapter_name(name)
    }
    save_file(adapter, tmp_path / "adapter.safetensors")
    sources = [
        Source((tmp_path / "base.safetensors",), keys.DIFFUSERS),
        Source((tmp_path / "adapter.safetensors",), keys.ADAPTER),
    ]
    wide = targets(torch.device("cpu"), torch.float32, ())
    model = load(infinitetalk.builder(TINY), sources, wide)
    given = infinitetalk.inputs(TINY)
    text = torch.nn.functional.pad(given["text"], (0, 0, 0, 512 - given["text"].shape[1]))
    whole = torch.cat([given["latents"], given["y"]], dim=1)
    wanted = theirs(whole, torch.tensor([500]), text, given["clip"], return_dict=False)[0]
    found = model(given["latents"], torch.tensor([500.0]), told(model))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
