"""Weights of 8 bits and less: how far they are off, and what a layer of them gives."""

import gc
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import Entry, Packed, opened, shapes
from talkhead.models.loading import Source, load, rules, targets
from talkhead.models.quantised import (
    FP8,
    Keep,
    QuantLinear,
    fast_fp8,
    quantise,
    rounded,
    scaled_linear,
)

CPU = torch.device("cpu")
K_QUANTS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("kind", "step"), [("int8", 1 / 254), ("fp8", 1 / 16)])
def test_quantising_is_off_by_half_a_step_at_most(kind: str, step: float) -> None:
    weight = random(24, 96)
    weight[3] = 0
    packed = quantise(weight, kind)  # type: ignore[arg-type]
    most = weight.abs() if kind == "fp8" else weight.abs().amax(1, keepdim=True)
    least = weight.abs().amax(1, keepdim=True) * 2**-9 / 448  # half of fp8's smallest step
    assert ((packed.wide() - weight).abs() <= most * step * 1.001 + least).all()
    assert torch.isfinite(packed.wide()).all()
    assert packed.data.nbytes == weight.numel()
    again = quantise(packed.wide(), kind)  # type: ignore[arg-type]
    assert torch.equal(again.data.float(), packed.data.float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_a_layer_multiplies_by_what_its_numbers_stand_for(kind: str, dtype: torch.dtype) -> None:
    packed, bias = quantise(random(24, 96), kind), nn.Parameter(random(24).to(dtype))  # type: ignore[arg-type]
    layer = QuantLinear(packed, bias)
    x = random(2, 5, 96).to(dtype)
    assert torch.equal(layer(x), functional.linear(x, packed.wide().to(dtype), bias))
    assert kind in repr(layer)


def test_activations_are_rounded_by_token() -> None:
    x = random(7, 64).bfloat16() * torch.logspace(-6, 4, 7)[:, None].bfloat16()
    x[2] = 0
    data, scale = rounded(x)
    assert data.dtype == FP8
    assert scale.shape == (7, 1)
    error = (data.float() * scale - x.float()).abs()
    assert (error <= x.float().abs() / 14 + scale * 2**-9).all()
    assert not error[2].any()


def test_fp8_by_fp8_is_close_to_the_plain_product() -> None:
    packed, bias = quantise(random(48, 64), "fp8"), random(48).bfloat16()
    x = random(2, 9, 64).bfloat16()
    fast = QuantLinear(packed, nn.Parameter(bias), fast=True)
    found, wanted = fast(x).float(), QuantLinear(packed, nn.Parameter(bias))(x).float()
    assert found.shape == wanted.shape
    assert (found - wanted).norm() / wanted.norm() < 0.04
    data, scale = rounded(x.flatten(0, -2))
    exact = (data.float() * scale) @ packed.wide().t() + bias.float()
    assert packed.scale is not None
    made = scaled_linear(x, packed.data, packed.scale, bias).flatten(0, -2).float()
    assert (made - exact).abs().max() < 0.02 * exact.abs().max()


def test_fp8_units_are_asked_for_where_they_are() -> None:
    assert not fast_fp8(CPU, torch.bfloat16, (64, 64))
    assert not fast_fp8(torch.device("cuda"), torch.float32, (64, 64))
    assert not fast_fp8(torch.device("cuda"), torch.bfloat16, (64, 60))


@pytest.mark.parametrize("kind", K_QUANTS)
def test_blocks_of_many_levels(kind: str, tmp_path: Path) -> None:
    """Random blocks, which the package gguf reads by code of its own."""
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    made = np.random.default_rng(4)
    data = made.integers(0, 256, (6, 2 * size), np.uint8)
    for start in (*range(0, 2 * size, size),):  # scales are f16: at the end, or at the beginning
        for place in (size - 4, size - 2, 0, 2):
            half = made.uniform(0.001, 0.01, (6, 1)).astype(np.float16).view(np.uint8)
            data[:, start + place : start + place + 2] = half
    file = tmp_path / "a.bin"
    writer = gguf.GGUFWriter(file, "wan")
    writer.add_tensor("weight", data, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert shapes(file) == {"weight": (6, 2 * block)}
    with opened(file) as reader:
        part = reader.read("weight")
    assert isinstance(part, Packed)
    assert part.data.nbytes == data.nbytes
    wanted = torch.from_numpy(gguf.quants.dequantize(data, number))
    assert torch.allclose(part.wide(), wanted, rtol=1e-5, atol=1e-6)
    x = random(3, 2 * block)
    assert torch.allclose(QuantLinear(part, None)(x), x @ part.wide().t())


def test_shapes_that_gguf_cannot_hold_are_written_beside(tmp_path: Path) -> None:
    file, weight = tmp_path / "a.bin", random(8, 3, 1, 2, 2)
    writer = gguf.GGUFWriter(file, "wan")
    writer.add_tensor("patch.weight", weight.flatten(1).numpy())
    writer.add_array("comfy.gguf.orig_shape.patch.weight", list(weight.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with opened(file) as reader:
        assert reader.form == "GGUF"
        assert torch.equal(reader.get_tensor("patch.weight"), weight)


def test_a_matrix_of_another_shape_is_never_folded(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    writer = gguf.GGUFWriter(file, "wan")
    writer.add_tensor("weight", random(4, 6).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    source = Source((file,), rules({"(.*)": r"\1"}))
    with pytest.raises(TalkheadError, match=r"\[4, 6\], not \[6, 4\].*GGUF") as caught:
        load(lambda: nn.Linear(4, 6, bias=False), [source], targets(CPU, torch.float32, ()))
    assert caught.value.code is Code.WEIGHTS


def test_what_is_kept() -> None:
    as_found, fp8 = Keep(("blocks",), CPU), Keep(("blocks",), CPU, "fp8")
    assert as_found.takes("blocks.0.to_q.weight", (4, 4))
    for name, shape in (
        ("blocks.0.norm.weight", (4,)),
        ("blocks.0.to_q.bias", (4, 4)),
        ("proj_out.weight", (4, 4)),
    ):
        assert not as_found.takes(name, shape)
    assert as_found.kind_of(None) is None
    assert as_found.kind_of("gguf") == "gguf"
    assert as_found.kind_of("gguf", changed=True) == "int8"
    assert fp8.kind_of("gguf", changed=True) == fp8.kind_of(None) == "fp8"
    entry = Entry((4, 32), 72, "gguf")
    sizes = [keep.nbytes("blocks.0.q.weight", entry, 2) for keep in (as_found, fp8)]
    assert sizes == [72, 4 * 32 + 4 * 4]
    assert as_found.nbytes("proj_out.weight", entry, 2) == 256


def test_casts_are_converted_where_nothing_is_kept(tmp_path: Path) -> None:
    weight = random(4, 6)
    save_file({"weight": weight.to(torch.float8_e5m2)}, tmp_path / "a")
    source = Source((tmp_path / "a",), rules({"(.*)": r"\1"}))
    model = load(lambda: nn.Linear(6, 4, bias=False), [source], targets(CPU, torch.float32, ()))
    assert torch.equal(model.weight, weight.to(torch.float8_e5m2).float())


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_quantising_at_load_never_holds_the_plain_model(kind: str, tmp_path: Path) -> None:
    shape, count = (256, 512), 12
    given = {f"blocks.{index}.weight": torch.ones(shape) for index in range(count)}
    save_file(given, tmp_path / "a")
    del given
    wide: list[int] = []

    def build() -> nn.Module:
        layers = (nn.Linear(shape[1], shape[0], bias=False) for _ in range(count))
        return nn.ModuleDict({"blocks": nn.ModuleList(layers)})

    def look(_done: int, _total: int) -> None:
        found = [one for one in gc.get_objects() if type(one) in (torch.Tensor, nn.Parameter)]
        real = [one for one in found if not one.is_meta and one.shape == shape]
        wide.append(sum(one.element_size() > 1 for one in real))

    source = Source((tmp_path / "a",), rules({"(.*)": r"\1"}))
    keep = Keep(("blocks",), CPU, kind)  # type: ignore[arg-type]
    load(build, [source], targets(CPU, torch.float32, ()), None, look, keep)
    assert len(wide) == count
    assert max(wide) <= 1
