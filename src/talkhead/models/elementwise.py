"""What a Wan block does between its products: norms, modulation and gates, as pure functions.

Each computes in float32 and returns the dtype of its first argument, which is how the official code
keeps a bfloat16 stream exact enough. In compiled blocks on NVIDIA GPUs kernels of their own take
the place of these definitions (`kernels`); everywhere else they are what runs.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.models.attention import Rope, rotate, split

kernels: Any = None
if find_spec("triton"):
    from talkhead.models import kernels


def fused(x: Tensor) -> bool:
    """Return whether kernels are to take the place of definitions: in what is being compiled."""
    return torch.compiler.is_compiling() and x.is_cuda and x.dtype == torch.bfloat16


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return x (..., d) normalised over d, with the weight and bias of `norm`."""
    return functional.layer_norm(
        x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps
    ).to(x.dtype)


def adaptive_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Return x (b, n, d) normalised over d, times 1 + scale, plus shift, both f32 (b, 1, d)."""
    if fused(x):
        normed: Tensor = kernels.norm(x, None, None, shift, scale, eps, adaptive=True)[1]
        return normed
    plain = functional.layer_norm(x.float(), x.shape[-1:], eps=eps).to(x.dtype)
    return (plain.float() * (1 + scale) + shift).to(x.dtype)


def add_gated(x: Tensor, change: Tensor, gate: Tensor) -> Tensor:
    """Return x + gate * change; x and change are (b, n, d), gate is f32 (b, 1, d)."""
    return (x.float() + change.float() * gate).to(x.dtype)


def add_layer_norm(
    x: Tensor, change: Tensor, norm: nn.LayerNorm, gate: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return x + change, or `add_gated` with a gate, and that after `layer_norm`; (b, n, d)."""
    if fused(x):
        made: tuple[Tensor, Tensor] = kernels.norm(
            x, change, gate, norm.bias, norm.weight, norm.eps, adaptive=False
        )
        return made
    x = x + change if gate is None else add_gated(x, change, gate)
    return x, layer_norm(x, norm)


def add_adaptive_norm(
    x: Tensor, change: Tensor, shift: Tensor, scale: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return x + change, both (b, n, d), and that after `adaptive_norm`."""
    if fused(x):
        made: tuple[Tensor, Tensor] = kernels.norm(
            x, change, None, shift, scale, eps, adaptive=True
        )
        return made
    x = x + change
    return x, adaptive_norm(x, shift, scale, eps)


def rms_norm(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Return x (..., d) over its root mean square, times the weight of `norm`."""
    if fused(x):
        made: Tensor = kernels.rms(x, norm.weight, norm.eps or 0.0)
        return made
    wide = x.float()
    eps = norm.eps or 0.0
    scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return scaled.to(x.dtype) * norm.weight.to(x.dtype)


def rms_rope(x: Tensor, norm: nn.RMSNorm, heads: int, rope: Rope) -> Tensor:
    """Return x (b, n, heads * d) after `rms_norm`, in heads (b, n, heads, d) turned by `rope`."""
    if fused(x):
        made: Tensor = kernels.rms(x, norm.weight, norm.eps or 0.0, rope)
        return split(made, heads)
    return rotate(split(rms_norm(x, norm), heads), rope)


def linear_gelu(x: Tensor, layer: nn.Module) -> Tensor:
    """Return a linear layer's output of x (..., in) after the GELU that is made with tanh."""
    if fused(x) and isinstance(layer, nn.Linear):  # cuBLAS does it while it writes
        rows = torch._addmm_activation(
            layer.bias, x.flatten(0, -2), layer.weight.t(), use_gelu=True
        )
        return rows.reshape(*x.shape[:-1], -1)
    return functional.gelu(layer(x), approximate="tanh")


def linear_float32(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return a linear layer's output in float32, whatever its weights are stored in."""
    return functional.linear(x.float(), layer.weight.float(), layer.bias.float())


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return f32 the products of matrices a (n, i, k) and b (n, k, j)."""
    if a.is_cuda and a.dtype != torch.float32:  # summed in float32 anyway, and not rounded after
        return torch.bmm(a, b, out_dtype=torch.float32)
    return torch.bmm(a, b).float()
