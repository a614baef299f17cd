"""Weights that come and go block by block: the same numbers, and two blocks there at most."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from support import infinitetalk
from support.infinitetalk import TINY
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models.loading import load
from talkhead.models.placement import (
    Placement,
    available,
    compile_blocks,
    settle,
    stream_in,
    target_of,
)

CPU = torch.device("cpu")
META = torch.device("meta")
TIME = torch.tensor([500.0])


class Chain(nn.Module):
    """Layers run in order."""

    streamed = ("layers",)
    _keep_in_fp32_modules = ("norm",)
    _repeated_blocks = ("Linear",)

    def __init__(self, count: int = 5) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(count))
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.norm(x)


@pytest.fixture
def chain() -> Chain:
    torch.manual_seed(0)
    return Chain().requires_grad_(False)


def away(layers: nn.ModuleList, homes: list[int]) -> list[int]:
    """Return which layers' weights are elsewhere than where they live."""
    now = [layer.weight.data_ptr() for layer in layers]
    return [index for index, (a, b) in enumerate(zip(now, homes, strict=True)) if a != b]


def test_two_blocks_are_resident_at_most(chain: Chain) -> None:
    x = torch.randn(3, 8)
    wanted = chain(x)
    stream_in(chain.layers, CPU)
    homes = [layer.weight.data_ptr() for layer in chain.layers]
    seen: list[list[int]] = []
    for layer in chain.layers:
        layer.register_forward_pre_hook(lambda *_: seen.append(away(chain.layers, homes)))
        layer.register_forward_hook(lambda *_: seen.append(away(chain.layers, homes)))
    assert torch.equal(chain(x), wanted)
    # Before a layer and after it, when the next one's are on their way already.
    assert seen == [[0], [1], [1], [2], [2], [3], [3], [4], [4], []]
    assert away(chain.layers, homes) == []
    assert torch.equal(chain(x), wanted)


def test_a_run_that_broke_off_leaves_nothing_behind(chain: Chain) -> None:
    x = torch.randn(3, 8)
    wanted = chain(x)
    stream_in(chain.layers, CPU)
    homes = [layer.weight.data_ptr() for layer in chain.layers]

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    hook = chain.layers[2].register_forward_pre_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        chain(x)
    hook.remove()
    assert len(away(chain.layers, homes)) <= 2
    assert torch.equal(chain(x), wanted)
    assert away(chain.layers, homes) == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_streaming_works_where_gradients_are_off(chain: Chain, mode: Any) -> None:
    x = torch.randn(3, 8)
    wanted = chain(x)
    stream_in(chain.layers, CPU)
    with mode():
        assert torch.equal(chain(x), wanted)
    assert torch.equal(chain(x), wanted)


def test_where_tensors_go() -> None:
    here = target_of(Chain, Placement(META, torch.bfloat16))
    assert here("layers.0.weight") == (META, torch.bfloat16)
    assert here("norm.weight") == (META, torch.float32)
    streamed = target_of(Chain, Placement(META, torch.bfloat16, offload=True))
    assert streamed("layers.0.weight") == (CPU, torch.bfloat16)
    assert streamed("norm.weight") == (META, torch.float32)


@pytest.fixture
def compiled() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("compiled")
def test_blocks_are_compiled_and_streamed(chain: Chain) -> None:
    x = torch.randn(3, 8)
    wanted = chain(x)
    compile_blocks(chain, backend="eager")
    stream_in(chain.layers, CPU)
    torch.testing.assert_close(chain(x), wanted)


def test_the_switch_compiles(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def compiling(forward: Any, **_options: Any) -> Any:
        asked.append(forward)
        return forward

    monkeypatch.setattr(torch, "compile", compiling)
    settle(chain, Placement(CPU, torch.float32))
    assert asked == []
    settle(chain, Placement(CPU, torch.float32, compiled=True))
    assert len(asked) == 5


def answer(model: InfiniteTalkTransformer, speakers: int) -> Tensor:
    given = infinitetalk.inputs(TINY, speakers)
    with torch.inference_mode():
        condition = model.condition(
            given["y"],
            model.text_keys(given["text"]),
            model.image_keys(given["clip"]),
            model.audio_keys(given["audio"]),
            given["masks"] if speakers > 1 else None,
        )
        return model(given["latents"], TIME, condition)


def placed(folder: Path, placement: Placement) -> InfiniteTalkTransformer:
    sources = infinitetalk.write(folder, infinitetalk.weights(TINY))
    target = target_of(InfiniteTalkTransformer, placement)
    model = load(infinitetalk.builder(TINY), sources, target)
    settle(model, placement)
    return model


@pytest.mark.parametrize("speakers", [1, 2])
def test_the_transformer_streams(tmp_path: Path, speakers: int) -> None:
    whole = placed(tmp_path, Placement(CPU, torch.float32))
    streamed = placed(tmp_path, Placement(CPU, torch.float32, offload=True))
    assert torch.equal(answer(streamed, speakers), answer(whole, speakers))


@pytest.mark.usefixtures("compiled")
def test_the_transformers_blocks_compile(tmp_path: Path) -> None:
    model = placed(tmp_path, Placement(CPU, torch.float32, offload=True))
    wanted = answer(model, 2)
    compile_blocks(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(answer(model, 2), wanted)


def test_every_streamed_list_is_one() -> None:
    with torch.device("meta"):
        model = infinitetalk.builder(TINY)()
    for name in model.streamed:
        assert len(getattr(model, name)) == TINY["num_layers"]
    rest = [n for n, _ in model.named_parameters() if n.partition(".")[0] not in model.streamed]
    assert not [name for name in rest if name.startswith("block")]


def test_who_only_plans_counts_all_of_a_gpu_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that renders holds most of it, and lets it go for the job that is planned."""
    gpu = torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (5, 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2)
    whole = SimpleNamespace(total_memory=80)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: whole)
    assert available(gpu) == 7
    assert available(gpu, whole=True) == 80
