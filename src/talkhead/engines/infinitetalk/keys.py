"""Names of tensors in InfiniteTalk's checkpoints, and what we call them.

A file's name that no rule knows is refused where it is loaded.
"""

from collections.abc import Mapping
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.models import wan_keys
from talkhead.models.loading import Rules, rules
from talkhead.models.vae_sizes import STRIDE
from talkhead.models.wan_keys import PARTS, Shape

BASE: Rules = wan_keys.BASE + wan_keys.IMAGE

# What InfiniteTalk's own file adds.
ADAPTER: Rules = rules(
    {
        rf"audio_proj\.(proj1|proj1_vf|proj2|proj3|norm)\.{PARTS}": r"audio_proj.\1.\2",
        rf"blocks\.(\d+)\.norm_x\.{PARTS}": r"blocks.\1.norm_x.\2",
        rf"blocks\.(\d+)\.audio_cross_attn\.q_linear\.{PARTS}": r"blocks.\1.audio_attn.to_q.\2",
        rf"blocks\.(\d+)\.audio_cross_attn\.proj\.{PARTS}": r"blocks.\1.audio_attn.to_out.\2",
        rf"blocks\.(\d+)\.audio_cross_attn\.kv_linear\.{PARTS}": r"audio_memory.\1.to_kv.\2",
    }
)

# The adapter's file counts where it holds a tensor of the base as well; whole models hold both.
OFFICIAL: Rules = BASE + ADAPTER

DIFFUSERS: Rules = wan_keys.DIFFUSERS + wan_keys.DIFFUSERS_IMAGE

# A LoRA names layers as one of the two does; none is known to touch the adapter's.
LORA: Rules = OFFICIAL + DIFFUSERS


def sizes_of(stored: Mapping[str, Shape], heads: int, audio_layers: int) -> dict[str, Any]:
    """Return the transformer's arguments for tensors of these names (ours) and shapes.

    Shapes do not tell the number of heads, nor how the features of one frame split into layers and
    channels. Raises E_PIPELINE_LOAD where a tensor that tells a size is missing.
    """
    try:
        hidden, one = stored["audio_proj.proj1.weight"]
        audio_dim = stored["audio_proj.norm.weight"][0]
        # A latent frame adds stride - 1 frames' features to one window's.
        features = (stored["audio_proj.proj1_vf.weight"][1] - one) // (STRIDE - 1)
        return {
            **wan_keys.sizes_of(stored, heads),
            "image_dim": stored["condition_embedder.image_embedder.norm1.weight"][0],
            "audio_window": one // features,
            "vae_scale": STRIDE,
            "audio_blocks": audio_layers,
            "audio_channels": features // audio_layers,
            "audio_intermediate": hidden,
            "audio_dim": audio_dim,
            "audio_tokens": stored["audio_proj.proj3.weight"][0] // audio_dim,
        }
    except KeyError as error:
        raise TalkheadError(
            Code.WEIGHTS,
            f"no tensor {error.args[0]}: base and adapter of InfiniteTalk are both needed",
            "`talkhead weights pull infinitetalk-fast` brings them",
        ) from None
