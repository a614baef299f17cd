"""The kernels that compiled blocks run, against the definitions that they take the place of."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from talkhead.models import elementwise, quantised
from talkhead.models.attention import grid_rope

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own, of torch.jit
    pytest.mark.filterwarnings("ignore::UserWarning"),  # and of float32 on tensor cores
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GRID = (3, 7, 5)
HEAD = 128


def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, device="cuda").to(dtype)


def apart(one: Tensor, other: Tensor) -> float:
    """Return how far one is from the other, relative to it."""
    return float((one.float() - other.float()).norm() / other.float().norm())


def close(one: Tensor, other: Tensor) -> None:
    """The same but for a few numbers of bfloat16 that were rounded the other way."""
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert apart(one, other) < 1e-3


def both(work: Callable[..., object], *given: object) -> tuple[object, object]:
    """Return what a function makes by its definition, and compiled, by kernels."""
    with torch.inference_mode():
        torch._dynamo.reset()
        return work(*given), torch.compile(work, fullgraph=True)(*given)


@pytest.fixture(params=[5120, 1536], ids=["14B", "1.3B"])
def dim(request: pytest.FixtureRequest) -> int:
    torch.manual_seed(0)
    return int(request.param)


@pytest.fixture
def tokens(dim: int) -> Tensor:
    return random(2, 3 * 7 * 5, dim) * 3 + 1


def test_norms_and_what_is_added_before_them(dim: int, tokens: Tensor) -> None:
    shift, scale, gate = (random(2, 1, dim, dtype=torch.float32) for _ in range(3))
    change = random(*tokens.shape)
    norm = nn.LayerNorm(dim, 1e-6, device="cuda")
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)

    def work(x: Tensor) -> tuple[Tensor, ...]:
        return (
            elementwise.adaptive_norm(x, shift, scale, 1e-6),
            *elementwise.add_layer_norm(x, change, norm, gate),
            *elementwise.add_layer_norm(x, change, norm),
            *elementwise.add_adaptive_norm(x, change, shift, scale, 1e-6),
        )

    for plain, fused in zip(*both(work, tokens), strict=True):
        close(fused, plain)


def test_root_mean_squares_and_rotary_positions(dim: int, tokens: Tensor) -> None:
    norm = nn.RMSNorm(dim, 1e-6, device="cuda", dtype=torch.bfloat16)
    nn.init.normal_(norm.weight)
    rope = grid_rope(GRID, HEAD, tokens.device)

    def work(x: Tensor) -> tuple[Tensor, Tensor]:
        turned = elementwise.rms_rope(x, norm, dim // HEAD, rope)
        return elementwise.rms_norm(x, norm), turned

    for plain, fused in zip(*both(work, tokens), strict=True):
        close(fused, plain)


def test_a_linear_layer_and_its_gelu(dim: int, tokens: Tensor) -> None:
    layer = nn.Linear(dim, 256, device="cuda", dtype=torch.bfloat16)
    plain, fused = both(lambda x: elementwise.linear_gelu(x, layer), tokens)
    assert apart(fused, plain) < 4e-3  # its sum is not rounded before the GELU


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < quantised.CAPABLE,
    reason="needs fp8 units",
)
def test_linear_layers_in_fp8(dim: int, tokens: Tensor) -> None:
    weight = random(512, dim)
    packed = quantised.quantise(weight, "fp8")
    layer = quantised.QuantLinear(packed, nn.Parameter(random(512)), fast=True)
    tokens[0, 3] = 0  # a row without a largest number
    plain, fused = both(layer, tokens)
    exact = nn.functional.linear(tokens.float(), packed.wide(), layer.bias.float())
    assert apart(plain, exact) < 0.04
    assert apart(fused, exact) < 1.05 * apart(plain, exact)
