import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

from talkhead.errors import Code, TalkheadError
from talkhead.models import wav2vec2

CONFIG: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture(scope="module")
def reference() -> Wav2Vec2Model:
    torch.manual_seed(0)
    return Wav2Vec2Model(Wav2Vec2Config(**CONFIG)).eval()


@pytest.fixture
def tensors(reference: Wav2Vec2Model) -> dict[str, torch.Tensor]:
    """Return a checkpoint as chinese-wav2vec2-base is published: pre-training, older names."""
    state = {f"wav2vec2.{name}": value.half() for name, value in reference.state_dict().items()}
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in state.items()
    }
    extra = ("quantizer.codevectors", "project_q.weight", "project_hid.bias")
    return {**state, **{name: torch.zeros(3) for name in extra}}


def speech(seconds: float) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(int(seconds * 16_000))
    return samples.astype(np.float32)


def test_speech_is_normalised() -> None:
    samples = np.random.default_rng(0).normal(0.1, 0.02, 5000).astype(np.float32)
    made = wav2vec2.normalise(samples)
    assert made.dtype == np.float32
    assert abs(made.mean()) < 1e-4
    assert abs(made.std() - 1) < 1e-3
    assert not wav2vec2.normalise(np.zeros(100, np.float32)).any()


def test_features_are_every_layers_output(
    reference: Wav2Vec2Model, tensors: dict[str, torch.Tensor]
) -> None:
    samples, frames = speech(1.3), 32
    model = wav2vec2.build(CONFIG, tensors)
    made = wav2vec2.features(model, samples, frames)
    assert made.shape == (frames, 3, 24)
    with torch.no_grad():
        reference = reference.half().float()
        heard = reference.feature_extractor(torch.from_numpy(samples)[None])
        heard = functional.interpolate(heard, size=frames, mode="linear", align_corners=True)
        hidden, _ = reference.feature_projection(heard.transpose(1, 2))
        hidden = reference.encoder.layer_norm(hidden + reference.encoder.pos_conv_embed(hidden))
        for index, layer in enumerate(reference.encoder.layers):
            out = layer(hidden)
            hidden = out[0] if isinstance(out, tuple) else out
            np.testing.assert_allclose(made[:, index], hidden[0].numpy(), atol=1e-5)


def test_states_are_the_last_output_and_then_all(tensors: dict[str, torch.Tensor]) -> None:
    samples, frames = speech(1.3), 32
    model = wav2vec2.build(CONFIG, tensors)
    made = wav2vec2.states(model, samples, frames).reshape(frames, 5, 24)
    layers = wav2vec2.features(model, samples, frames)
    assert np.array_equal(made[:, 0], layers[:, -1])
    assert np.array_equal(made[:, 2:], layers)
    with torch.no_grad():
        heard = wav2vec2.convolved(model, samples).T[None]
        heard = functional.interpolate(heard, size=frames, mode="linear", align_corners=True)
        hidden, _ = model.feature_projection(heard.transpose(1, 2))
        first = model.encoder.layer_norm(hidden + model.encoder.pos_conv_embed(hidden))
    np.testing.assert_allclose(made[:, 1], first[0].numpy(), atol=1e-6)


def test_pieces_of_sound_change_nothing(
    tensors: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = wav2vec2.build(CONFIG, tensors), speech(1.01)
    with torch.no_grad():
        plain = model.feature_extractor(torch.from_numpy(samples)[None])[0].T
        for piece in (1, 1000, 3500, 80_000):
            monkeypatch.setattr(wav2vec2, "PIECE", piece)
            torch.testing.assert_close(
                wav2vec2.convolved(model, samples), plain, atol=1e-6, rtol=1e-5
            )


def test_features_go_to_a_memory_map(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    model, samples = wav2vec2.build(CONFIG, tensors), speech(0.3)
    out = np.lib.format.open_memmap(tmp_path / "f.npy", "w+", np.float32, (7, 3, 24))
    ticks: list[tuple[int, int]] = []
    made = wav2vec2.features(model, samples, 7, out, lambda *tick: ticks.append(tick))
    assert made is out
    assert np.array_equal(np.load(tmp_path / "f.npy"), wav2vec2.features(model, samples, 7))
    assert ticks == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert not any(module._forward_hooks for module in model.modules())


def test_states_go_to_a_memory_map(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    model, samples = wav2vec2.build(CONFIG, tensors), speech(0.3)
    out = np.lib.format.open_memmap(tmp_path / "s.npy", "w+", np.float32, (7, 120))
    ticks: list[tuple[int, int]] = []
    made = wav2vec2.states(model, samples, 7, out, lambda *tick: ticks.append(tick))
    assert made is out
    assert np.array_equal(np.load(tmp_path / "s.npy"), wav2vec2.states(model, samples, 7))
    assert ticks == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_cancelling_leaves_no_hooks(tensors: dict[str, torch.Tensor]) -> None:
    model = wav2vec2.build(CONFIG, tensors)

    def tick(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wav2vec2.features(model, speech(0.3), 7, tick=tick)
    assert not any(module._forward_hooks for module in model.modules())


def test_too_little_sound_is_refused(tensors: dict[str, torch.Tensor]) -> None:
    model = wav2vec2.build(CONFIG, tensors)
    assert wav2vec2.features(model, speech(0.025), 1).shape == (1, 3, 24)
    with pytest.raises(TalkheadError) as caught:
        wav2vec2.features(model, speech(0.024), 1)
    assert caught.value.code is Code.AUDIO


def test_files_are_loaded(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    config, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    config.write_text(json.dumps(CONFIG))
    save_file({name: value.contiguous() for name, value in tensors.items()}, weights)
    model = wav2vec2.load(config, weights, torch.device("cpu"))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert wav2vec2.features(model, speech(0.3), 7).shape == (7, 3, 24)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("wav2vec2.encoder.layer_norm.weight", None, "encoder.layer_norm.weight is missing"),
        ("wav2vec2.encoder.adapter.weight", torch.zeros(2), "encoder.adapter.weight is unknown"),
        ("wav2vec2.encoder.layer_norm.bias", torch.zeros(2), "bias is (2,), not (24,)"),
    ],
)
def test_other_checkpoints_are_refused(
    tensors: dict[str, torch.Tensor], name: str, value: torch.Tensor | None, told: str
) -> None:
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    with pytest.raises(TalkheadError, match="not a wav2vec2 encoder") as caught:
        wav2vec2.build(CONFIG, tensors)
    assert caught.value.code is Code.WEIGHTS
    assert told in caught.value.message


def test_other_layouts_are_refused() -> None:
    for other in ({"feat_extract_norm": "layer"}, {"do_stable_layer_norm": True}):
        with pytest.raises(TalkheadError, match="base layout"):
            wav2vec2.build({**CONFIG, **other}, {})
