"""Attention and rotary positions, each behind one small function that a faster one can replace."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from talkhead.errors import Code, TalkheadError

BACKENDS = ("sdpa", "cudnn", "fa3")
FA3 = "fa3_fwd_interface"  # of the wheel fa3-fwd: FlashAttention 3, for Hopper
HOPPER = (9, 0)
SHORT = 64  # keys, below which torch's own kernels are the faster ones
THETA = 10000.0  # of rotary positions


class Rope(NamedTuple):
    """Angles of rotary positions: cosines and sines, each f32 (..., n, head_dim / 2)."""

    cos: Tensor
    sin: Tensor


def choose_backend(wanted: str, device: torch.device) -> str:
    """Return the backend for a device: the one wanted, or for "auto" the fastest that is there.

    Raises E_UNSUPPORTED for one that is asked for and not there.
    """
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) == HOPPER
    if wanted == "auto":
        return "fa3" if hopper and find_spec(FA3) else "sdpa"
    lack = ""
    if wanted not in BACKENDS:
        lack = f"choose one of: auto, {', '.join(BACKENDS)}"
    elif wanted == "fa3" and not find_spec(FA3):
        lack = "pip install fa3-fwd, or TALKHEAD_ATTENTION=auto"
    elif wanted == "fa3" and not hopper:
        lack = "it is for Hopper GPUs (H100, H200): TALKHEAD_ATTENTION=auto"
    elif wanted == "cudnn" and device.type != "cuda":
        lack = "it is for NVIDIA GPUs: TALKHEAD_ATTENTION=auto"
    if lack:
        raise TalkheadError(Code.UNSUPPORTED, f"no attention backend {wanted!r} here", lack)
    return wanted


def attend(query: Tensor, key: Tensor, value: Tensor, backend: str = "sdpa") -> Tensor:
    """Return (b, n, heads, d): full attention of (b, n, heads, d) over (b, m, heads, d), unmasked.

    The scale is 1/sqrt(d). "sdpa" is what torch chooses. Raises E_UNSUPPORTED for a backend that is
    not in BACKENDS.
    """
    if backend not in BACKENDS:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"no attention backend {backend!r}",
            f"choose one of: {', '.join(BACKENDS)}",
        )
    if backend == "fa3" and key.shape[1] >= SHORT:
        return _fa3(query, key, value)
    heads_first = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
    if backend == "cudnn":
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)
    return functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)


def _fa3(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    import fa3_fwd_interface  # type: ignore[import-not-found]  # noqa: PLC0415 (where it is there)

    made: Any = fa3_fwd_interface.flash_attn_func(query, key, value)
    mixed: Tensor = made[0] if isinstance(made, tuple) else made
    return mixed


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Return x (..., n, heads, d) with every pair of channels (2i, 2i + 1) turned by its angle.

    Computed in float32, returned in the dtype of x.
    """
    cos, sin = rope.cos.unsqueeze(-2), rope.sin.unsqueeze(-2)  # the same for all heads
    even, odd = torch.unflatten(x.float(), -1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.flatten(-2).to(x.dtype)


def split(x: Tensor, heads: int) -> Tensor:
    """Return x (..., heads * d) as (..., heads, d)."""
    return torch.unflatten(x, -1, (heads, -1))


def line_rope(positions: Tensor, dim: int) -> Rope:
    """Return the angles of f32 (..., n) positions on one axis, for heads of `dim` channels."""
    powers = torch.arange(0, dim, 2, device=positions.device).float() / dim
    angles = positions.float()[..., None] / THETA**powers
    return Rope(angles.cos(), angles.sin())


def grid_rope(grid: tuple[int, int, int], dim: int, device: torch.device) -> Rope:
    """Return the angles of the tokens of a (frames, rows, columns) grid, each (f*r*c, dim / 2).

    A head's channels go to time, row and column in turn, a third each, and the rest to time; all
    positions start at 0. Wan 2.1's rope, its angles in float64.
    """
    side = 2 * (dim // 6)
    angles = []
    for axis, size in enumerate((dim - 2 * side, side, side)):
        powers = torch.arange(0, size, 2, device=device, dtype=torch.float64) / size
        steps = torch.arange(grid[axis], device=device, dtype=torch.float64)
        shape = [1, 1, 1, -1]
        shape[axis] = grid[axis]
        line = torch.outer(steps, THETA**-powers).reshape(shape)
        angles.append(line.expand(*grid, -1))
    whole = torch.cat(angles, dim=-1).flatten(0, 2)  # (f*r*c, dim / 2)
    return Rope(whole.cos().float(), whole.sin().float())
