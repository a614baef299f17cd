"""What a Wan block does between its products: norms, modulation and gates, as pure functions.

Each computes in float32 and returns the dtype of its first argument, which is how the official code
keeps a bfloat16 stream exact enough; a fused kernel may take the place of any of them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Return x (..., d) normalised over d, with the weight and bias of `norm`."""
    return functional.layer_norm(
        x.float(), norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps
    ).to(x.dtype)


def adaptive_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Return x (b, n, d) normalised over d, times 1 + scale, plus shift, both f32 (b, 1, d)."""
    plain = functional.layer_norm(x.float(), x.shape[-1:], eps=eps).to(x.dtype)
    return (plain.float() * (1 + scale) + shift).to(x.dtype)


def rms_norm(x: Tensor, norm: nn.RMSNorm) -> Tensor:
    """Return x (..., d) over its root mean square, times the weight of `norm`."""
    wide = x.float()
    eps = norm.eps or 0.0
    scaled = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return scaled.to(x.dtype) * norm.weight.to(x.dtype)


def add_gated(x: Tensor, change: Tensor, gate: Tensor) -> Tensor:
    """Return x + gate * change; x and change are (b, n, d), gate is f32 (b, 1, d)."""
    return (x.float() + change.float() * gate).to(x.dtype)


def linear_float32(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return a linear layer's output in float32, whatever its weights are stored in."""
    return functional.linear(x.float(), layer.weight.float(), layer.bias.float())
