"""InfiniteTalk's video transformer: Wan 2.1 image to video, with attention to sound in every block.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). What does not change while
a window is sampled (keys and values of text, image and sound) is computed once and handed in as a
Condition:

    words = model.text_keys(text)  # once a job
    look, voice = model.image_keys(clip), model.audio_keys(audio)  # once a window
    condition = model.condition(y, words, look, voice)
    velocity = model(latents, t, condition)  # each step
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from talkhead.engines.infinitetalk import routing
from talkhead.engines.infinitetalk.blocks import (
    Attended,
    AudioKeys,
    AudioTokens,
    Scene,
    TalkBlock,
    spread,
)
from talkhead.models.attention import grid_rope
from talkhead.models.wan_transformer import Ends, Grid, Keys, WanTransformer, memories, stacked


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

    @property
    def grid(self) -> Grid:
        """Return the grid of the tokens."""
        return self.scene.grid


class InfiniteTalkTransformer(WanTransformer):
    """Predicts the velocity (noise minus data) of a window's latents.

    The sizes are those of the published model. `attention_backend` is one of
    talkhead.models.attention.BACKENDS.
    """

    # diffusers declares these as instance variables of None.
    _repeated_blocks = ["TalkBlock"]  # noqa: RUF012
    _no_split_modules = ["TalkBlock", "TokenKeys", "AudioKeys"]  # type: ignore[assignment]  # noqa: RUF012
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
        heads, layers, backend = num_attention_heads, num_layers, attention_backend
        dim = heads * attention_head_dim
        patch = (patch_size[0], patch_size[1], patch_size[2])
        super().__init__(Ends(dim, patch, in_channels, out_channels, freq_dim, text_dim, image_dim))
        self.audio_proj = AudioTokens(
            audio_window,
            audio_blocks * audio_channels,
            audio_intermediate,
            audio_tokens,
            audio_dim,
            vae_scale,
        )
        self.text_memory = memories(layers, dim, heads, eps)
        self.image_memory = memories(layers, dim, heads, eps)
        self.audio_memory = nn.ModuleList(AudioKeys(dim, audio_dim, heads) for _ in range(layers))
        self.blocks = nn.ModuleList(
            TalkBlock(dim, ffn_dim, heads, eps, backend) for _ in range(layers)
        )

    def through(self, x: Tensor, modulation: Tensor, told: Condition) -> Tensor:
        """Return tokens (b, n, dim) after all blocks; `modulation` is f32 (b, 6, dim)."""
        parts = zip(told.text, told.image, told.audio, strict=True)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, modulation, Attended(*part), told.scene)
        return x

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
        grid = self.grid_of(y)
        here = None
        if audio[0].key.shape[2] == routing.PERSONS * self.sizes.audio_tokens:
            if masks is None:
                raise ValueError("two speakers, and no masks of where they are")
            here = routing.classes(masks, *grid[1:]).to(y.device).expand(len(y), -1, -1)
        rope = grid_rope(grid, self.sizes.attention_head_dim, y.device)
        span, width = float(self.sizes.class_range), float(self.sizes.class_interval)
        return Condition(y, text, image, audio, Scene(grid, rope, here, span, width))


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
        text=stacked([condition.text for condition in conditions]),
        image=stacked([condition.image for condition in conditions]),
        audio=stacked(
            [
                tuple(spread(pair, first.grid[0]) for pair in condition.audio)
                for condition in conditions
            ]
        ),
        scene=first._replace(masks=masks),
    )
