"""Layers of Wan 2.1's video transformers, whatever else a model adds to their blocks.

What a block attends to beside the video itself does not change while a window is sampled, so its
keys and values are made by layers of their own (`TokenKeys`), once, and the block takes them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from talkhead.models.attention import Rope, attend, split
from talkhead.models.elementwise import (
    adaptive_norm,
    add_adaptive_norm,
    add_gated,
    add_layer_norm,
    linear_gelu,
    rms_norm,
    rms_rope,
)


class KeyValue(NamedTuple):
    """Keys and values of one attention, each (b, tokens, heads, d), with frames before tokens."""

    key: Tensor
    value: Tensor


class TokenKeys(nn.Module):
    """Makes one block's keys and values of text or image tokens."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.norm = nn.RMSNorm(dim, eps)

    def forward(self, tokens: Tensor) -> KeyValue:
        """Return keys and values of tokens (b, m, dim)."""
        key = rms_norm(self.to_k(tokens), self.norm)
        return KeyValue(split(key, self.heads), split(self.to_v(tokens), self.heads))


class SelfAttention(nn.Module):
    """Attention of the video's tokens to each other."""

    def __init__(self, dim: int, heads: int, eps: float, backend: str) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps)
        self.norm_k = nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, rope: Rope) -> tuple[Tensor, Tensor, Tensor]:
        """Return the attention of x (b, n, dim), and its roped queries and keys (b, n, h, d)."""
        query = rms_rope(self.to_q(x), self.norm_q, self.heads, rope)
        key = rms_rope(self.to_k(x), self.norm_k, self.heads, rope)
        mixed = attend(query, key, split(self.to_v(x), self.heads), self.backend)
        return self.to_out(mixed.flatten(2)), query, key


class TokenAttention(nn.Module):
    """Attention of the video's tokens to those of text, and of more that shares the queries."""

    def __init__(self, dim: int, heads: int, eps: float, backend: str) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.to_q = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_q = nn.RMSNorm(dim, eps)

    def forward(self, x: Tensor, text: KeyValue, *others: KeyValue) -> Tensor:
        """Return (b, n, dim) of x (b, n, dim): the sum of what it finds in each."""
        query = split(rms_norm(self.to_q(x), self.norm_q), self.heads)
        mixed = attend(query, *text, self.backend)
        for other in others:
            mixed = mixed + attend(query, *other, self.backend)
        out: Tensor = self.to_out(mixed.flatten(2))
        return out


class FeedForward(nn.Module):
    """Two linear layers and a GELU."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.to_inner = nn.Linear(dim, inner)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, n, dim) of x (b, n, dim)."""
        out: Tensor = self.to_out(linear_gelu(x, self.to_inner))
        return out


class WanBlock(nn.Module):
    """One layer of the transformer as Wan 2.1 has it: the video itself, text, feed-forward."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float, backend: str) -> None:
        super().__init__()
        self.eps = eps
        self.attn1 = SelfAttention(dim, heads, eps, backend)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.attn2 = TokenAttention(dim, heads, eps, backend)
        self.ffn = FeedForward(dim, ffn_dim)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x: Tensor, time: Tensor, text: KeyValue, rope: Rope) -> Tensor:
        """Return x (b, n, dim) after this layer; `time` is f32 (b, 6, dim)."""
        table = self.scale_shift_table.float() + time
        shift, scale, gate, ff_shift, ff_scale, ff_gate = table.chunk(6, dim=1)
        normed = adaptive_norm(x, shift, scale, self.eps)
        mixed, _, _ = self.attn1(normed, rope)
        x, normed = add_layer_norm(x, mixed, self.norm2, gate)
        x, normed = add_adaptive_norm(x, self.attn2(normed, text), ff_shift, ff_scale, self.eps)
        return add_gated(x, self.ffn(normed), ff_gate)
