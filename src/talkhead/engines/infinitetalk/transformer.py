"""InfiniteTalk's video transformer: Wan 2.1 image to video, with attention to sound in every block.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). diffusers' embedders
are used as they are. Its blocks are not: the time path and the output head run in
float32 here, sound and its routing come in between, and what does not change while a window is
sampled (keys and values of text, image and sound) is computed once and handed in as a Condition:

    words = model.text_keys(text)  # once a job
    look, voice = model.image_keys(clip), model.audio_keys(audio)  # once a window
    condition = model.condition(y, words, look, voice)
    velocity = model(latents, t, condition)  # each step
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from torch import Tensor, nn
from torch.nn import functional

from talkhead.engines.infinitetalk import routing
from talkhead.engines.infinitetalk.blocks import (
    Attended,
    AudioKeys,
    AudioTokens,
    KeyValue,
    Scene,
    TalkBlock,
    TokenKeys,
    spread,
)
from talkhead.models.attention import grid_rope
from talkhead.models.elementwise import linear_float32

TEXT_TOKENS = 512  # shorter text is padded with zeros, which are attended to: so it was trained

Keys = tuple[KeyValue, ...]  # one for each block


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """All that a pass of the network is told beside noisy latents and time.

    Passes of one window share most of it: `dataclasses.replace(condition, text=negative)`.
    """

    y: Tensor  # (b, 4 + 16, t, h, w): mask and latents of the picture
    text: Keys
    image: Keys
    audio: Keys
    scene: Scene


class InfiniteTalkTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]  # config_name
    """Predicts the velocity (noise minus data) of a window's latents.

    The sizes are those of the published model. `attention_backend` is one of
    talkhead.models.attention.BACKENDS.
    """

    # diffusers declares these as instance variables of None.
    _repeated_blocks = ["TalkBlock"]  # noqa: RUF012
    _no_split_modules = ["TalkBlock", "TokenKeys", "AudioKeys"]  # type: ignore[assignment]  # noqa: RUF012
    _keep_in_fp32_modules = [  # type: ignore[assignment]  # noqa: RUF012
        "time_embedder", "time_proj", "proj_out", "scale_shift_table",
        "norm", "norm1", "norm2", "norm_x",
    ]  # fmt: skip
    # Lists of like modules that are needed one after the other, so that they may be streamed in.
    streamed = ("blocks", "text_memory", "image_memory", "audio_memory")

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(  # noqa: PLR0913, PLR0917 - a config, one field each
        self,
        num_layers: int = 40,
        num_attention_heads: int = 40,
        attention_head_dim: int = 128,
        ffn_dim: int = 13824,
        in_channels: int = 36,
        out_channels: int = 16,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        text_dim: int = 4096,
        freq_dim: int = 256,
        image_dim: int = 1280,
        eps: float = 1e-6,
        audio_window: int = 5,
        vae_scale: int = 4,
        audio_blocks: int = 12,
        audio_channels: int = 768,
        audio_intermediate: int = 512,
        audio_dim: int = 768,
        audio_tokens: int = 32,
        class_range: int = 24,  # noqa: ARG002 - read from the config
        class_interval: int = 4,  # noqa: ARG002
        attention_backend: str = "sdpa",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        heads, layers, backend = num_attention_heads, num_layers, attention_backend
        dim = heads * attention_head_dim
        patch = (patch_size[0], patch_size[1], patch_size[2])
        self.patch_embedding = nn.Conv3d(in_channels, dim, kernel_size=patch, stride=patch)
        self.condition_embedder = WanTimeTextImageEmbedding(
            dim, freq_dim, 6 * dim, text_dim, image_dim
        )
        self.audio_proj = AudioTokens(
            audio_window,
            audio_blocks * audio_channels,
            audio_intermediate,
            audio_tokens,
            audio_dim,
            vae_scale,
        )
        self.text_memory = nn.ModuleList(TokenKeys(dim, heads, eps) for _ in range(layers))
        self.image_memory = nn.ModuleList(TokenKeys(dim, heads, eps) for _ in range(layers))
        self.audio_memory = nn.ModuleList(AudioKeys(dim, audio_dim, heads) for _ in range(layers))
        self.blocks = nn.ModuleList(
            TalkBlock(dim, ffn_dim, heads, eps, backend) for _ in range(layers)
        )
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.proj_out = nn.Linear(dim, out_channels * patch[0] * patch[1] * patch[2])

    @property
    def sizes(self) -> Any:
        """Return the constructor's arguments, as attributes."""
        return self.config

    @property
    def residual_dtype(self) -> torch.dtype:
        """Return the dtype of what flows through the blocks."""
        return self.patch_embedding.weight.dtype

    def forward(self, latents: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Return the velocity f32 (b, 16, t, h, w) of latents of that shape, at times t f32 (b,).

        Times run from 1000 (noise) to 0.
        """
        tokens = self._tokens(latents, condition)
        pace, modulation = self.time(t)
        return self._head(self._blocks(tokens, modulation, condition), pace, condition.scene.grid)

    def sample(
        self, latents: Tensor, t: Tensor, condition: Condition, change: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the velocity as `forward` does, and what the blocks changed, (b, n, dim).

        With `change`, which an earlier step returned, the blocks are left out and it is used again.
        """
        tokens = self._tokens(latents, condition)
        pace, modulation = self.time(t)
        if change is None:
            after = self._blocks(tokens, modulation, condition)
            return self._head(after, pace, condition.scene.grid), after - tokens
        return self._head(tokens + change, pace, condition.scene.grid), change

    def _tokens(self, latents: Tensor, condition: Condition) -> Tensor:
        """Return (b, t * rows * columns, dim) of latents (b, 16, t, h, w) and the picture's."""
        whole = torch.cat([latents, condition.y.to(latents.dtype)], dim=1)
        tokens: Tensor = self.patch_embedding(whole.to(self.residual_dtype))
        return tokens.flatten(2).transpose(1, 2).contiguous()

    def _blocks(self, x: Tensor, modulation: Tensor, condition: Condition) -> Tensor:
        parts = zip(condition.text, condition.image, condition.audio, strict=True)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, modulation, Attended(*part), condition.scene)
        return x

    def _head(self, x: Tensor, pace: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Return f32 (b, c, t, h, w) of tokens (b, n, dim); the whole of it in float32."""
        shift, scale = (self.scale_shift_table.float() + pace[:, None]).chunk(2, dim=1)
        plain = functional.layer_norm(x.float(), x.shape[-1:], eps=self.sizes.eps)
        patches = linear_float32(plain * (1 + scale) + shift, self.proj_out)
        patches = patches.reshape(-1, *grid, *self.sizes.patch_size, self.sizes.out_channels)
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
        padded = functional.pad(text, (0, 0, 0, TEXT_TOKENS - text.shape[1]))
        tokens: Tensor = self.condition_embedder.text_embedder(padded.to(self.residual_dtype))
        return tokens

    def text_keys(self, text: Tensor) -> Keys:
        """Return every block's keys and values of text (b, up to 512, text_dim)."""
        tokens = self.text_tokens(text)
        return tuple(memory(tokens) for memory in self.text_memory)

    def image_keys(self, clip: Tensor) -> Keys:
        """Return every block's keys and values of CLIP's features (b, 257, image_dim)."""
        embedder: Any = self.condition_embedder.image_embedder
        tokens = embedder(clip.to(self.residual_dtype))
        return tuple(memory(tokens) for memory in self.image_memory)

    def audio_keys(self, audio: Tensor) -> Keys:
        """Return every block's keys and values of audio (speakers, frames, window, layers, c).

        Speakers' keys stand apart on an axis of their own where there are two.
        """
        tokens = self.audio_proj(audio)  # (s, t, m, audio_dim)
        if tokens.shape[0] > routing.PERSONS:
            raise ValueError(f"{tokens.shape[0]} speakers; the model knows {routing.PERSONS}")
        positions = None
        if tokens.shape[0] == routing.PERSONS:
            positions = routing.key_positions(
                tokens.shape[2], self.sizes.class_range, self.sizes.class_interval, tokens.device
            )
        heard = tokens.transpose(0, 1).flatten(1, 2)[None]  # (1, t, s * m, audio_dim)
        return tuple(memory(heard, positions) for memory in self.audio_memory)

    def silent_keys(self) -> Keys:
        """Return what `audio_keys` does of silence: a constant of the weights, for any length."""
        settings = self.sizes
        frames = 1 + settings.vae_scale  # one latent frame, and one that stands for all later ones
        features = (settings.audio_window, settings.audio_blocks, settings.audio_channels)
        return self.audio_keys(torch.zeros(1, frames, *features, device=self.device))

    def condition(
        self, y: Tensor, text: Keys, image: Keys, audio: Keys, masks: Tensor | None = None
    ) -> Condition:
        """Return what `forward` takes, for y (b, 20, t, h, w).

        Where the audio is of two speakers, `masks` (3, h, w) says where person 1, person 2 and
        neither of them are; of one speaker, or silence, it is not looked at.
        """
        patch, sides = self.sizes.patch_size, y.shape[2:]
        frames, rows, columns = (side // step for side, step in zip(sides, patch, strict=True))
        here = None
        if audio[0].key.shape[2] == routing.PERSONS * self.sizes.audio_tokens:
            if masks is None:
                raise ValueError("two speakers, and no masks of where they are")
            here = routing.classes(masks, rows, columns).to(y.device).expand(len(y), -1, -1)
        grid = (frames, rows, columns)
        rope = grid_rope(grid, self.sizes.attention_head_dim, y.device)
        span, width = float(self.sizes.class_range), float(self.sizes.class_interval)
        return Condition(y, text, image, audio, Scene(grid, rope, here, span, width))


def sinusoid(t: Tensor, dim: int) -> Tensor:
    """Return f32 (b, dim): cosines, then sines, of t (b,) at dim / 2 rates; angles in float64."""
    powers = torch.arange(dim // 2, dtype=torch.float64, device=t.device) / (dim // 2)
    angles = torch.outer(t.double(), 10000.0**-powers)
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def joined(conditions: Sequence[Condition]) -> Condition:
    """Return one condition for passes run as one batch, in order.

    They must be of one window and equally many speakers; raises ValueError otherwise.
    """
    first, *others = (condition.scene for condition in conditions)
    if any((scene.masks is None) != (first.masks is None) for scene in others):
        raise ValueError("passes with and without routing do not fit into one batch")
    masks = None
    if first.masks is not None:
        masks = torch.cat([c.scene.masks for c in conditions if c.scene.masks is not None])
    return Condition(
        y=torch.cat([condition.y for condition in conditions]),
        text=_stacked([condition.text for condition in conditions]),
        image=_stacked([condition.image for condition in conditions]),
        audio=_stacked(
            [
                tuple(spread(pair, first.grid[0]) for pair in condition.audio)
                for condition in conditions
            ]
        ),
        scene=first._replace(masks=masks),
    )


def _stacked(keys: Sequence[Keys]) -> Keys:
    """Return the keys of several passes as those of one batch, block by block."""
    return tuple(
        KeyValue(torch.cat([pair.key for pair in pairs]), torch.cat([pair.value for pair in pairs]))
        for pairs in zip(*keys, strict=True)
    )
