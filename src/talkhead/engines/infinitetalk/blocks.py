"""The layers that InfiniteTalk adds to Wan 2.1: audio tokens, their keys and values, a block.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.engines.infinitetalk import routing
from talkhead.models.attention import Rope, attend, line_rope, rotate, split
from talkhead.models.elementwise import (
    adaptive_norm,
    add_adaptive_norm,
    add_gated,
    add_layer_norm,
    layer_norm,
    product,
)
from talkhead.models.quantised import matrix
from talkhead.models.wan_blocks import FeedForward, KeyValue, SelfAttention, TokenAttention


class Attended(NamedTuple):
    """What one block attends to beside the video."""

    text: KeyValue  # (b, 512, heads, d)
    image: KeyValue  # (b, 257, heads, d)
    audio: KeyValue  # (b, frames, tokens, heads, d); the last frame's serve all after it


class Scene(NamedTuple):
    """What all blocks of a pass share."""

    grid: tuple[int, int, int]  # latent frames, rows, columns of tokens
    rope: Rope  # (n, d / 2)
    masks: Tensor | None  # f32 (b, classes, rows * columns); only where speakers are told apart
    span: float  # length of the speakers' axis
    width: float  # each person's part of it


class AudioTokens(nn.Module):
    """Makes audio tokens for every latent frame from windows of audio features."""

    def __init__(
        self, window: int, features: int, hidden: int, tokens: int, dim: int, stride: int
    ) -> None:
        super().__init__()
        self.tokens, self.stride = tokens, stride
        self.proj1 = nn.Linear(window * features, hidden)
        # A latent frame of `stride` frames hears both ends of its windows and their middles.
        self.proj1_vf = nn.Linear((window + stride - 1) * features, hidden)
        self.proj2 = nn.Linear(hidden, hidden)
        self.proj3 = nn.Linear(hidden, tokens * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, audio: Tensor) -> Tensor:
        """Return (speakers, latent frames, tokens, dim) of (speakers, frames, window, l, c)."""
        first, later = grouped(audio.to(self.proj1.weight.dtype), self.stride)
        heard = torch.cat(
            [
                functional.relu(self.proj1(first.flatten(2))),
                functional.relu(self.proj1_vf(later.flatten(2))),
            ],
            dim=1,
        )  # (s, t, hidden)
        made = self.proj3(functional.relu(self.proj2(heard)))
        return layer_norm(split(made, self.tokens), self.norm)


def grouped(audio: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return the features that each latent frame hears: the first one's, and the later ones'.

    `audio` is (s, frames, window, l, c) with frames = 1 + a multiple of `stride`. The first latent
    frame is one frame, (s, 1, window, l, c); a later one is `stride` frames, (s, t - 1,
    window + stride - 1, l, c): up to the middle of its first frame's window, the middles of those
    between, and its last frame's from the middle on.
    """
    first = audio[:, :1]
    rest = torch.unflatten(audio[:, 1:], 1, (-1, stride))  # (s, t - 1, stride, window, l, c)
    middle = audio.shape[2] // 2
    later = torch.cat(
        [
            rest[:, :, 0, : middle + 1],
            rest[:, :, 1:-1, middle],
            rest[:, :, -1, middle:],
        ],
        dim=2,
    )
    return first, later


class AudioKeys(nn.Module):
    """Makes one block's keys and values of audio tokens."""

    def __init__(self, dim: int, audio_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_kv = nn.Linear(audio_dim, 2 * dim)

    def forward(self, tokens: Tensor, positions: Tensor | None) -> KeyValue:
        """Return keys and values of tokens (b, t, m, audio_dim), keys at `positions` (m,)."""
        key, value = (split(part, self.heads) for part in self.to_kv(tokens).chunk(2, dim=-1))
        if positions is not None:
            key = rotate(key, line_rope(positions, key.shape[-1]))
        return KeyValue(key, value)


class AudioAttention(nn.Module):
    """Attention of each latent frame's tokens to the audio tokens of that frame."""

    def __init__(self, dim: int, heads: int, backend: str) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.to_q = nn.Linear(dim, dim)
        self.to_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, audio: KeyValue, positions: Tensor | None) -> Tensor:
        """Return (b, t * n, dim) of x (b, t * n, dim), its queries at `positions` (b, t * n)."""
        frames = audio.key.shape[1]
        each = torch.unflatten(x, 1, (frames, -1)).flatten(0, 1)  # (b * t, n, dim)
        key, value = audio.key.flatten(0, 1), audio.value.flatten(0, 1)  # (b * t, m, heads, d)
        if positions is None:
            mixed = self._folded(each, key, value)
        else:
            turns = line_rope(positions.reshape(len(each), -1), key.shape[-1])
            query = rotate(split(self.to_q(each), self.heads), turns)
            mixed = self.to_out(attend(query, key, value, self.backend).flatten(2))
        return torch.unflatten(mixed, 0, (-1, frames)).flatten(1, 2)

    def _folded(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return (f, n, dim) of x (f, n, dim), key and value (f, m, heads, d), not turned.

        (W x + b) k = x (W' k) + b k: 32 audio tokens of 40 heads are a quarter of the channels that
        queries and outputs have, so that both products are made with the tokens first.
        """
        weight = torch.unflatten(matrix(self.to_q, x.dtype), 0, (self.heads, -1))  # (h, d, dim)
        bias = torch.unflatten(self.to_q.bias, 0, (self.heads, -1)).float()
        keys = by_heads(key, weight)
        scores = product(x, keys.transpose(1, 2)) + (key.float() * bias).sum(-1).flatten(1)[:, None]
        apart = torch.unflatten(scores / key.shape[-1] ** 0.5, 2, (-1, self.heads))
        shares = apart.softmax(2).flatten(2).to(x.dtype)  # (f, n, m * heads)
        weight = torch.unflatten(matrix(self.to_out, x.dtype).t(), 0, (self.heads, -1))
        return torch.bmm(shares, by_heads(value, weight)) + self.to_out.bias


def by_heads(tokens: Tensor, weight: Tensor) -> Tensor:
    """Return (f, m * heads, dim): tokens (f, m, heads, d), each by its head's (heads, d, dim)."""
    made = torch.bmm(tokens.flatten(0, 1).transpose(0, 1), weight)  # (heads, f * m, dim)
    return made.transpose(0, 1).reshape(len(tokens), -1, weight.shape[2])


class TalkBlock(nn.Module):
    """One layer of the transformer: the video itself, text and image, sound, feed-forward."""

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float, backend: str) -> None:
        super().__init__()
        self.eps, self.backend = eps, backend
        self.attn1 = SelfAttention(dim, heads, eps, backend)
        self.norm2 = nn.LayerNorm(dim, eps)
        self.attn2 = TokenAttention(dim, heads, eps, backend)
        self.norm_x = nn.LayerNorm(dim, eps)
        self.audio_attn = AudioAttention(dim, heads, backend)
        self.ffn = FeedForward(dim, ffn_dim)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(self, x: Tensor, time: Tensor, attended: Attended, scene: Scene) -> Tensor:
        """Return x (b, t * n, dim) after this layer; `time` is f32 (b, 6, dim)."""
        table = self.scale_shift_table.float() + time
        shift, scale, gate, ff_shift, ff_scale, ff_gate = table.chunk(6, dim=1)
        normed = adaptive_norm(x, shift, scale, self.eps)
        mixed, query, key = self.attn1(normed, scene.rope)
        positions = listening(query, key, scene, self.backend)
        del query, key  # half a gigabyte at full size
        x, normed = add_layer_norm(x, mixed, self.norm2, gate)
        told = self.attn2(normed, attended.text, attended.image)
        x, normed = add_layer_norm(x, told, self.norm_x)
        heard = self.audio_attn(normed, spread(attended.audio, scene.grid[0]), positions)
        x, normed = add_adaptive_norm(x, heard, ff_shift, ff_scale, self.eps)
        return add_gated(x, self.ffn(normed), ff_gate)


def listening(query: Tensor, key: Tensor, scene: Scene, backend: str) -> Tensor | None:
    """Return f32 (b, t * n) positions on the speakers' axis, None where there is one speaker."""
    if scene.masks is None:
        return None
    first = key[:, : scene.grid[1] * scene.grid[2]]  # the first latent frame's
    maps = routing.reference_map(query, first, scene.masks, backend)
    return routing.query_positions(maps, scene.span, scene.width)


def spread(audio: KeyValue, frames: int) -> KeyValue:
    """Return audio keys and values for `frames` latent frames, the last one given repeated."""
    given = audio.key.shape[1]
    if given == frames:
        return audio
    index = torch.arange(frames, device=audio.key.device).clamp_max(given - 1)
    return KeyValue(audio.key[:, index], audio.value[:, index])
