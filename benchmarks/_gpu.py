"""What benchmarks of full-size networks on one GPU share: random weights, clocks, a log."""

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import nn

from _machine import facts
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.quantised import Keep, QuantLinear, quantise
from talkhead.models.wan_transformer import WanTransformer
from talkhead.models.wan_vae import channels_last

CUDA, BF16 = torch.device("cuda"), torch.bfloat16
REPEATS = 3
PATHS = {  # by name: attention, compiled, fp8 linear layers, blocks in main memory
    "plain": ("sdpa", False, False, False),
    "fast": ("fa3", True, False, False),
    "fp8": ("fa3", True, True, False),
    "offload": ("fa3", True, False, True),
    "offload-fp8": ("fa3", True, True, True),
}
Say = Callable[..., None]


def network(path: str, build: Callable[[str], WanTransformer]) -> Any:
    """Return a network of random weights as one of PATHS has it; they are the same on all.

    `build` makes it for an attention backend, without weights.
    """
    attention, compiled, fp8, offload = PATHS[path]
    gc.collect()
    torch.cuda.empty_cache()
    placement = Placement(CUDA, BF16, offload, compiled, attention)
    with torch.device("meta"):
        model = build(attention)
    random_weights(model, target_of(type(model), placement))
    if fp8:
        in_fp8(model)
    settle(model, placement)
    return model


def random_weights(model: nn.Module, target: Callable[[str], Any]) -> nn.Module:
    """Return a model of meta tensors with small random weights where each belongs."""
    generator = torch.Generator(CUDA).manual_seed(1)
    for name, parameter in list(model.named_parameters()):
        place = target(name)
        value = torch.empty(parameter.shape, dtype=place.dtype, device=CUDA)
        value.normal_(0, 0.02, generator=generator)
        if "norm" in name and name.endswith("weight"):
            value += 1  # as a norm begins; else errors would grow as in no trained network
        value = value.to(place.device)
        path, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(path), leaf, nn.Parameter(value, requires_grad=False))
    return model.eval()


def in_fp8(model: WanTransformer) -> None:
    """Quantise the linear layers that loading would, on the GPU, wherever they wait."""
    keep = Keep(type(model).streamed, CUDA, "fp8")
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Linear) and keep.takes(f"{name}.weight", tuple(layer.weight.shape)):
            packed = quantise(layer.weight.to(CUDA), "fp8").to(layer.weight.device)
            model.set_submodule(name, QuantLinear(packed, layer.bias, fast=True))


def vae() -> AutoencoderKLWan:
    """Return the published VAE, random."""
    torch.manual_seed(2)
    with CUDA:
        model = AutoencoderKLWan().to(BF16).eval().requires_grad_(False)
    channels_last(model)
    return model


@contextmanager
def peak() -> Iterator[list[float]]:
    """Yield a list that gets the peak of memory in 10^9 bytes."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found: list[float] = []
    yield found
    torch.cuda.synchronize()
    found.append(torch.cuda.max_memory_allocated() / 1e9)


def timed(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median of seconds, after one run that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def ceilings(say: Say) -> float:
    """Measure a large product and a copy; return the former in FLOP/s."""
    a, b = (torch.randn(8192, 8192, device=CUDA, dtype=BF16) for _ in range(2))
    flops = 2 * 8192**3 / timed(lambda: a @ b, 20)
    source = torch.empty(2**32, dtype=torch.uint8, device=CUDA)
    rate = 2 * 2**32 / timed(source.clone, 5)
    say("ceilings", bf16_tflops=round(flops / 1e12), copy_tb_s=round(rate / 1e12, 2))
    return flops


def sizes_of(text: str) -> list[tuple[int, int]]:
    """Return widths and heights of text such as 640x640,832x480."""
    pairs = (size.split("x") for size in text.split(","))
    return [(int(width), int(height)) for width, height in pairs]


def begin(out: str | None) -> Say:
    """Return what prints a line of JSON and, with a file, writes all lines to it as they come.

    The machine is its first line.
    """
    lines: list[dict[str, Any]] = []

    def say(what: str, **values: Any) -> None:
        lines.append({"what": what, **values})
        print(json.dumps(lines[-1]), flush=True)
        if out:
            Path(out).write_text(json.dumps(lines, indent=1))

    say("machine", **facts(), gpu=torch.cuda.get_device_name(), torch=torch.__version__)
    return say
