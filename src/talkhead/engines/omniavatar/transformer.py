"""OmniAvatar's video transformer: Wan 2.1 text to video, with sound added to its tokens.

OmniAvatar (Gan et al., arXiv 2506.18866; official code commit 1536bf3). Sound, reference and text
do not change while a chunk is sampled: they are made once and handed in as a Condition.

    words = model.text_keys(text)  # once a job
    heard = model.audio_tokens(features)  # once a chunk
    velocity = model(latents, t, model.condition(y, words, heard))  # each step
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from talkhead.models.attention import Rope, grid_rope
from talkhead.models.elementwise import linear_float32
from talkhead.models.wan_blocks import WanBlock
from talkhead.models.wan_transformer import Ends, Grid, Keys, WanTransformer, memories

FIRST = 2  # the first block whose tokens sound is added to; the last is in the middle of all
AUDIO_NORM_EPS = 1e-5

Heard = tuple[Tensor, ...]  # (b, t, dim) for each block that sound is added to


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """All that a pass of the network is told beside noisy latents and time."""

    y: Tensor  # (b, 16 + 1, t, h, w): reference latents, and 1 where they are not known
    text: Keys
    heard: Heard
    grid: Grid
    rope: Rope


class AudioProjection(nn.Module):
    """Makes what is heard in a latent frame of the features of its video frames."""

    def __init__(self, features: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Linear(stride * features, hidden)
        self.norm_out = nn.LayerNorm(hidden, AUDIO_NORM_EPS)

    def forward(self, audio: Tensor) -> Tensor:
        """Return f32 (b, t, hidden) of features (b, 4t - 3, c): the first frame counts 4 times."""
        first = audio[:, :1].expand(-1, self.stride - 1, -1)
        frames = torch.cat([first, audio], dim=1).float()
        grouped = torch.unflatten(frames, 1, (-1, self.stride)).flatten(2)
        made: Tensor = self.norm_out(self.proj(grouped))
        return made


class OmniAvatarTransformer(WanTransformer):
    """Predicts the velocity (noise minus data) of a chunk's latents.

    The sizes are those of the published 14B model. `attention_backend` is one of
    talkhead.models.attention.BACKENDS.
    """

    # diffusers declares these as instance variables of None.
    _repeated_blocks = ["WanBlock"]  # noqa: RUF012
    _no_split_modules = ["WanBlock", "TokenKeys"]  # type: ignore[assignment]  # noqa: RUF012
    _keep_in_fp32_modules = [*WanTransformer._keep_in_fp32_modules, "audio_proj"]  # noqa: RUF012

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(  # noqa: PLR0913, PLR0917 - a config, one field each
        self,
        num_layers: int = 40,
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        ffn_dim: int = 13824,
        in_channels: int = 33,
        out_channels: int = 16,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        text_dim: int = 4096,
        freq_dim: int = 256,
        eps: float = 1e-6,
        vae_scale: int = 4,
        audio_dim: int = 10752,
        audio_hidden: int = 32,
        attention_backend: str = "sdpa",
    ) -> None:
        heads, layers, backend = num_attention_heads, num_layers, attention_backend
        dim = heads * attention_head_dim
        patch = (patch_size[0], patch_size[1], patch_size[2])
        super().__init__(Ends(dim, patch, in_channels, out_channels, freq_dim, text_dim))
        self.audio_proj = AudioProjection(audio_dim, audio_hidden, vae_scale)
        self.audio_cond_projs = nn.ModuleList(
            nn.Linear(audio_hidden, dim) for _ in range(FIRST, layers // 2 + 1)
        )
        self.text_memory = memories(layers, dim, heads, eps)
        self.blocks = nn.ModuleList(
            WanBlock(dim, ffn_dim, heads, eps, backend) for _ in range(layers)
        )

    def through(self, x: Tensor, modulation: Tensor, told: Condition) -> Tensor:
        """Return tokens (b, n, dim) after all blocks; `modulation` is f32 (b, 6, dim)."""
        for index, (block, text) in enumerate(zip(self.blocks, told.text, strict=True)):
            if 0 <= index - FIRST < len(told.heard):
                x = add_by_frame(x, told.heard[index - FIRST])
            x = block(x, modulation, text, told.rope)
        return x

    def audio_tokens(self, audio: Tensor) -> Heard:
        """Return what is added to tokens of features (b, 4t - 3, c), for each block."""
        sound = self.audio_proj(audio)
        layers: Any = self.audio_cond_projs
        return tuple(linear_float32(sound, layer).to(self.residual_dtype) for layer in layers)

    def silent_tokens(self, frames: int) -> Heard:
        """Return what `audio_tokens` does of silence that lasts so many latent frames."""
        return self.audio_tokens(
            torch.zeros(1, self.sizes.vae_scale * frames - 3, self.sizes.audio_dim,
                        device=self.device)
        )  # fmt: skip

    def condition(self, y: Tensor, text: Keys, heard: Heard) -> Condition:
        """Return what `forward` takes, for y (b, 17, t, h, w)."""
        grid = self.grid_of(y)
        rope = grid_rope(grid, self.sizes.attention_head_dim, y.device)
        return Condition(y, text, heard, grid, rope)


def add_by_frame(x: Tensor, heard: Tensor) -> Tensor:
    """Return x (b, t * n, dim) with heard (b, t, dim) added to all tokens of its latent frame."""
    frames = torch.unflatten(x, 1, (heard.shape[1], -1))
    return (frames + heard[:, :, None]).flatten(1, 2)
