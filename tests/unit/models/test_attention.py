"""Attention, rotary positions and norms against plain definitions of them."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from talkhead.errors import Code, TalkheadError
from talkhead.models.attention import attend, choose_backend, grid_rope, line_rope, rotate
from talkhead.models.elementwise import (
    adaptive_norm,
    add_gated,
    layer_norm,
    linear_float32,
    rms_norm,
)

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_attention_is_that_of_its_definition() -> None:
    query, key, value = random(2, 5, 3, 8), random(2, 7, 3, 8, seed=1), random(2, 7, 3, 8, seed=2)
    scores = torch.einsum("bnhd,bmhd->bhnm", query, key) / 8**0.5
    wanted = torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), value)
    torch.testing.assert_close(attend(query, key, value), wanted)


def test_a_backend_that_is_not_there_is_refused() -> None:
    for wanted, hint in (("fa9", "sdpa"), ("fa3", "fa3-fwd"), ("cudnn", "NVIDIA")):
        with pytest.raises(TalkheadError, match=wanted) as caught:
            choose_backend(wanted, torch.device("cpu"))
        assert caught.value.code is Code.UNSUPPORTED
        assert hint in caught.value.hint
    assert choose_backend("auto", torch.device("cpu")) == "sdpa"


def test_turning_is_a_complex_product() -> None:
    x, positions = random(2, 6, 3, 8), random(2, 6).abs() * 10
    rates = 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    turns = torch.polar(torch.ones(2, 6, 4, dtype=torch.float64), positions[..., None] * rates)
    wide = torch.view_as_complex(x.double().reshape(2, 6, 3, 4, 2)) * turns[:, :, None]
    wanted = torch.view_as_real(wide).flatten(-2).float()
    torch.testing.assert_close(rotate(x, line_rope(positions, 8)), wanted, atol=1e-5, rtol=1e-5)
    assert rotate(x.bfloat16(), line_rope(positions, 8)).dtype == torch.bfloat16


@pytest.mark.parametrize("dim", [24, 32, 128])
def test_a_grid_turns_by_time_row_and_column(dim: int) -> None:
    frames, rows, columns = 3, 2, 4
    cos, sin = grid_rope((frames, rows, columns), dim, CPU)
    side = 2 * (dim // 6)
    assert cos.shape == (frames * rows * columns, dim // 2)
    torch.testing.assert_close(cos**2 + sin**2, torch.ones_like(cos))
    where = (2 * rows + 1) * columns + 3  # frame 2, row 1, column 3
    sizes = (dim - 2 * side, side, side)
    lines = [line_rope(torch.tensor([p]), size) for p, size in zip((2, 1, 3), sizes, strict=True)]
    wanted = torch.cat([line.sin[0] for line in lines])
    torch.testing.assert_close(sin[where], wanted, atol=1e-6, rtol=1e-5)


def test_norms_are_torchs_in_float32() -> None:
    x = random(2, 5, 16)
    norm, root = nn.LayerNorm(16, 1e-6), nn.RMSNorm(16, 1e-6)
    with torch.no_grad():
        norm.weight.copy_(random(16, seed=3))
        norm.bias.copy_(random(16, seed=4))
        root.weight.copy_(random(16, seed=5))
    torch.testing.assert_close(layer_norm(x, norm), norm(x))
    torch.testing.assert_close(rms_norm(x, root), root(x))
    shift, scale, gate = (
        random(2, 1, 16, seed=6),
        random(2, 1, 16, seed=7),
        random(2, 1, 16, seed=8),
    )
    plain = nn.functional.layer_norm(x, (16,), eps=1e-6)
    torch.testing.assert_close(adaptive_norm(x, shift, scale, 1e-6), plain * (1 + scale) + shift)
    torch.testing.assert_close(add_gated(x, plain, gate), x + gate * plain)


def test_narrow_streams_are_computed_wide() -> None:
    """Large values that differ by little: in bfloat16 arithmetic their norm would be lost."""
    x = (1000 + 8 * random(1, 4, 64)).bfloat16()
    norm = nn.LayerNorm(64).bfloat16()
    wanted = nn.functional.layer_norm(x.double(), (64,)).bfloat16()
    assert torch.equal(layer_norm(x, norm), wanted)
    zero = torch.zeros(1, 1, 64)
    assert torch.equal(adaptive_norm(x, zero, zero, 1e-5), wanted)
    narrow = nn.Linear(64, 8).bfloat16().requires_grad_(False)
    out = linear_float32(x, narrow)
    assert out.dtype == torch.float32
    torch.testing.assert_close(
        out, nn.functional.linear(x.float(), narrow.weight.float(), narrow.bias.float())
    )


def test_modules_load_where_there_is_little_more_than_torch() -> None:
    missing = ("av", "cv2", "diffusers", "httpx", "PIL", "pydantic", "transformers")
    parts = ("attention", "elementwise", "loading", "lora", "placement")
    modules = [f"talkhead.models.{part}" for part in parts]
    modules += ["talkhead.engines.infinitetalk.routing", "talkhead.engines.infinitetalk.keys"]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({missing}))"
    subprocess.run([sys.executable, "-c", f"{blocked}; import {', '.join(modules)}"], check=True)
