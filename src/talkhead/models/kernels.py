"""Norms, rotary positions and rounding to fp8, each in one Triton kernel, for NVIDIA GPUs.

One program makes one token, and reads from main memory once what kernels made of the plain
definitions read two or three times. What is rounded on the way is rounded as in `elementwise`,
which chooses between both. Sizes are compiled in, so that addresses are known to be aligned, and
so are other numbers, which torch.compile would hand over in float64.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from talkhead.models.attention import Rope

WARPS = 4
PART = 1024  # channels that a program works on at once


@triton.jit
def _norm(
    x, change, gate, scale, shift, summed, normed, tokens, EPS: tl.constexpr,
    ADDS: tl.constexpr, GATED: tl.constexpr, ADAPTIVE: tl.constexpr,
    DIM: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    lane = tl.arange(0, PART)
    own, told = row * DIM + lane, (row // tokens) * DIM + lane
    total = tl.zeros((PART,), tl.float32)
    squares = tl.zeros((PART,), tl.float32)
    for start in tl.static_range(0, DIM, PART):
        value = tl.load(x + own + start).to(tl.float32)
        if ADDS:
            more = tl.load(change + own + start).to(tl.float32)
            if GATED:
                more = more * tl.load(gate + told + start)
            whole = (value + more).to(summed.dtype.element_ty)
            tl.store(summed + own + start, whole)
            value = whole.to(tl.float32)
        total += value
        squares += value * value
    mean = tl.sum(total, 0) / DIM
    rate = tl.rsqrt(tl.maximum(tl.sum(squares, 0) / DIM - mean * mean, 0.0) + EPS)
    for start in tl.static_range(0, DIM, PART):
        value = (tl.load(summed + own + start).to(tl.float32) - mean) * rate  # near: just written
        if ADAPTIVE:
            value = value.to(normed.dtype.element_ty).to(tl.float32)
            value = value * (1 + tl.load(scale + told + start)) + tl.load(shift + told + start)
        else:
            value = value * tl.load(scale + lane + start) + tl.load(shift + lane + start)
        tl.store(normed + own + start, value.to(normed.dtype.element_ty))


@triton.jit
def _rms(
    x, weight, cos, sin, made, tokens, EPS: tl.constexpr,
    HALF: tl.constexpr, TURNS: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    here = channel < DIM
    value = tl.load(x + row * DIM + channel, here, 0.0).to(tl.float32)
    value = value * tl.rsqrt(tl.sum(value * value, 0) / DIM + EPS)
    kind = made.dtype.element_ty
    value = value.to(kind) * tl.load(weight + channel, here, 0.0).to(kind)
    if TURNS:
        even, odd = tl.split(tl.reshape(value.to(tl.float32), (BLOCK // 2, 2)))
        angle = (row % tokens) * HALF + tl.arange(0, BLOCK // 2) % HALF
        c, s = tl.load(cos + angle), tl.load(sin + angle)
        value = tl.reshape(tl.join(even * c - odd * s, even * s + odd * c), (BLOCK,)).to(kind)
    tl.store(made + row * DIM + channel, value, here)


@triton.jit
def _rounded(
    x, made, scales,
    MOST: tl.constexpr, LEAST: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    here = channel < DIM
    value = tl.load(x + row * DIM + channel, here, 0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(value), 0) / MOST, LEAST)
    value = tl.minimum(tl.maximum(value / scale, -MOST), MOST)
    tl.store(made + row * DIM + channel, value.to(made.dtype.element_ty), here)
    tl.store(scales + row, scale)


def norm(
    x: Tensor,
    change: Tensor | None,
    gate: Tensor | None,
    shift: Tensor,
    scale: Tensor,
    eps: float,
    *,
    adaptive: bool,
) -> tuple[Tensor, Tensor]:
    """Return x + gate * change, all (b, n, d), and that normalised; x itself without a change.

    `shift` and `scale` are f32 (b, 1, d) where adaptive, else the bias and weight (d,) of a norm;
    `gate` is f32 (b, 1, d).
    """
    x = x.contiguous()
    batch, tokens, dim = x.shape
    summed = x if change is None else torch.empty_like(x)
    normed = torch.empty_like(x)
    _norm[(batch * tokens,)](
        x,
        x if change is None else change.contiguous(),
        x if gate is None else gate.float().contiguous(),
        scale.float().contiguous(),
        shift.float().contiguous(),
        summed,
        normed,
        tokens,
        EPS=eps,
        ADDS=change is not None,
        GATED=gate is not None,
        ADAPTIVE=adaptive,
        DIM=dim,
        PART=min(PART, dim & -dim),  # the largest power of two that divides it
        num_warps=WARPS,
    )
    return summed, normed


def rms(x: Tensor, weight: Tensor, eps: float, rope: Rope | None = None) -> Tensor:
    """Return x (b, n, d) over its root mean square, times weight (d,).

    With angles f32 (n, head / 2), every head of every token is turned by them.
    """
    x = x.contiguous()
    batch, tokens, dim = x.shape
    made = torch.empty_like(x)
    cos, sin = (weight, weight) if rope is None else (rope.cos.contiguous(), rope.sin.contiguous())
    _rms[(batch * tokens,)](
        x,
        weight,
        cos,
        sin,
        made,
        tokens,
        EPS=eps,
        HALF=1 if rope is None else cos.shape[-1],
        TURNS=rope is not None,
        DIM=dim,
        BLOCK=triton.next_power_of_2(dim),
        num_warps=WARPS,
    )
    return made


def rounded(x: Tensor, most: float, least: float) -> tuple[Tensor, Tensor]:
    """Return x (n, d) as fp8 with each row's largest number at `most`, and the scales f32 (n, 1).

    A scale is `least` at the least.
    """
    x = x.contiguous()
    rows, dim = x.shape
    made = torch.empty(rows, dim, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(dim)
    _rounded[(rows,)](
        x,
        made,
        scales,
        MOST=most,
        LEAST=least,
        DIM=dim,
        BLOCK=block,
        num_warps=max(WARPS, block // 2048),
    )
    return made, scales
