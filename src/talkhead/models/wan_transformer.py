"""What Wan 2.1's video transformers share, whatever passes between their two ends.

diffusers' embedders are used as they are. The time path and the output head run in float32, as the
official code keeps them. Keys and values of text are made once a job (`text_keys`) and handed in.
"""

from typing import Any, NamedTuple, Protocol

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from torch import Tensor, nn
from torch.nn import functional

from talkhead.models.elementwise import linear_float32
from talkhead.models.wan_blocks import KeyValue, TokenKeys

Grid = tuple[int, int, int]  # latent frames, rows, columns of tokens
Keys = tuple[KeyValue, ...]  # one for each block


class Told(Protocol):
    """What a pass is told beside noisy latents and time; a model adds to it."""

    @property
    def y(self) -> Tensor:
        """Return (b, c, t, h, w): what is concatenated to the noisy latents."""

    @property
    def grid(self) -> Grid:
        """Return the grid of the tokens."""


class Ends(NamedTuple):
    """Sizes of what is before and after the blocks."""

    dim: int
    patch_size: Grid
    in_channels: int
    out_channels: int
    freq_dim: int
    text_dim: int
    image_dim: int | None = None


class WanTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]  # config_name
    """Predicts the velocity (noise minus data) of a window's latents.

    A model makes its own `blocks` and `text_memory`, one for each block, and says in `through` how
    tokens pass them.
    """

    # diffusers declares this as an instance variable of None.
    _keep_in_fp32_modules = [  # type: ignore[assignment]  # noqa: RUF012
        "time_embedder", "time_proj", "proj_out", "scale_shift_table",
        "norm", "norm1", "norm2", "norm_x",
    ]  # fmt: skip
    # Lists of like modules that are needed one after the other, so that they may be streamed in.
    streamed: tuple[str, ...] = ("blocks", "text_memory")
    text_memory: nn.ModuleList
    text_length = 512  # tokens; shorter text is padded with zeros, and attended to: so it learned

    def __init__(self, ends: Ends) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        dim, patch = ends.dim, ends.patch_size
        self.patch_embedding = nn.Conv3d(ends.in_channels, dim, kernel_size=patch, stride=patch)
        self.condition_embedder = WanTimeTextImageEmbedding(
            dim, ends.freq_dim, 6 * dim, ends.text_dim, ends.image_dim
        )
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, ends.out_channels * patch[0] * patch[1] * patch[2])

    @property
    def sizes(self) -> Any:
        """Return the constructor's arguments, as attributes."""
        return self.config

    @property
    def residual_dtype(self) -> torch.dtype:
        """Return the dtype of what flows through the blocks."""
        return self.patch_embedding.weight.dtype

    def through(self, x: Tensor, modulation: Tensor, told: Any) -> Tensor:
        """Return tokens (b, n, dim) after all blocks; `modulation` is f32 (b, 6, dim)."""
        raise NotImplementedError

    def forward(self, latents: Tensor, t: Tensor, told: Told) -> Tensor:
        """Return the velocity f32 (b, c, t, h, w) of latents of that shape, at times t f32 (b,).

        Times run from 1000 (noise) to 0.
        """
        pace, modulation = self.time(t)
        return self.head(self.through(self.tokens(latents, told), modulation, told), pace, told)

    def sample(
        self, latents: Tensor, t: Tensor, told: Told, change: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity as `forward` does, and what the blocks changed, (b, n, dim).

        With `change`, which an earlier step returned, the blocks are left out and it is used again.
        """
        tokens = self.tokens(latents, told)
        pace, modulation = self.time(t)
        if change is None:
            after = self.through(tokens, modulation, told)
            return self.head(after, pace, told), after - tokens
        return self.head(tokens + change, pace, told), change

    def tokens(self, latents: Tensor, told: Told) -> Tensor:
        """Return (b, t * rows * columns, dim) of latents (b, c, t, h, w), with what is told."""
        whole = torch.cat([latents, told.y.to(latents.dtype)], dim=1)
        tokens: Tensor = self.patch_embedding(whole.to(self.residual_dtype))
        return tokens.flatten(2).transpose(1, 2).contiguous()

    def head(self, x: Tensor, pace: Tensor, told: Told) -> Tensor:
        """Return f32 (b, c, t, h, w) of tokens (b, n, dim); the whole of it in float32."""
        shift, scale = (self.scale_shift_table.float() + pace[:, None]).chunk(2, dim=1)
        plain = functional.layer_norm(x.float(), x.shape[-1:], eps=self.sizes.eps)
        patches = linear_float32(plain * (1 + scale) + shift, self.proj_out)
        patches = patches.reshape(-1, *told.grid, *self.sizes.patch_size, self.sizes.out_channels)
        # (b, t, r, c, pt, pr, pc, channels) -> (b, channels, t * pt, r * pr, c * pc)
        ordered = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return ordered.flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def time(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding f32 (b, dim) and modulation f32 (b, 6, dim) of times f32 (b,)."""
        embedder = self.condition_embedder
        waves = sinusoid(t, self.sizes.freq_dim)
        hidden = functional.silu(linear_float32(waves, embedder.time_embedder.linear_1))
        pace = linear_float32(hidden, embedder.time_embedder.linear_2)
        modulation = linear_float32(functional.silu(pace), embedder.time_proj)
        return pace, modulation.reshape(len(t), 6, -1)

    def text_tokens(self, text: Tensor) -> Tensor:
        """Return (b, 512, dim) of the text encoder's output (b, up to 512, text_dim)."""
        padded = functional.pad(text, (0, 0, 0, self.text_length - text.shape[1]))
        tokens: Tensor = self.condition_embedder.text_embedder(padded.to(self.residual_dtype))
        return tokens

    def text_keys(self, text: Tensor) -> Keys:
        """Return every block's keys and values of text (b, up to 512, text_dim)."""
        tokens = self.text_tokens(text)
        return tuple(memory(tokens) for memory in self.text_memory)

    def grid_of(self, y: Tensor) -> Grid:
        """Return the grid of tokens for y (b, c, t, h, w)."""
        sides, patch = y.shape[2:], self.sizes.patch_size
        frames, rows, columns = (side // step for side, step in zip(sides, patch, strict=True))
        return frames, rows, columns


def memories(layers: int, dim: int, heads: int, eps: float) -> nn.ModuleList:
    """Return what makes every block's keys and values of text or a picture."""
    return nn.ModuleList(TokenKeys(dim, heads, eps) for _ in range(layers))


def sinusoid(t: Tensor, dim: int) -> Tensor:
    """Return f32 (b, dim): cosines, then sines, of t (b,) at dim / 2 rates; angles in float64."""
    powers = torch.arange(dim // 2, dtype=torch.float64, device=t.device) / (dim // 2)
    angles = torch.outer(t.double(), 10000.0**-powers)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def stacked(keys: list[Keys]) -> Keys:
    """Return the keys of several passes as those of one batch, block by block."""
    return tuple(
        KeyValue(torch.cat([pair.key for pair in pairs]), torch.cat([pair.value for pair in pairs]))
        for pairs in zip(*keys, strict=True)
    )
