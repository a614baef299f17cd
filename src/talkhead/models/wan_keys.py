"""Names of tensors in published checkpoints of Wan 2.1's transformers, and what we call them.

Every rule is one to one: a pattern of the whole published name and the name it stands for. A file's
name that no rule knows is refused where it is loaded.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

from talkhead.models.loading import Rules, rules

Shape = tuple[int, ...]

PARTS = r"(weight|bias)"

# The official files of Wan 2.1.
BASE: Rules = rules(
    {
        rf"patch_embedding\.{PARTS}": r"patch_embedding.\1",
        rf"text_embedding\.0\.{PARTS}": r"condition_embedder.text_embedder.linear_1.\1",
        rf"text_embedding\.2\.{PARTS}": r"condition_embedder.text_embedder.linear_2.\1",
        rf"time_embedding\.0\.{PARTS}": r"condition_embedder.time_embedder.linear_1.\1",
        rf"time_embedding\.2\.{PARTS}": r"condition_embedder.time_embedder.linear_2.\1",
        rf"time_projection\.1\.{PARTS}": r"condition_embedder.time_proj.\1",
        r"head\.modulation": r"scale_shift_table",
        rf"head\.head\.{PARTS}": r"proj_out.\1",
        r"blocks\.(\d+)\.modulation": r"blocks.\1.scale_shift_table",
        rf"blocks\.(\d+)\.self_attn\.([qkv])\.{PARTS}": r"blocks.\1.attn1.to_\2.\3",
        rf"blocks\.(\d+)\.self_attn\.o\.{PARTS}": r"blocks.\1.attn1.to_out.\2",
        r"blocks\.(\d+)\.self_attn\.norm_([qk])\.weight": r"blocks.\1.attn1.norm_\2.weight",
        rf"blocks\.(\d+)\.norm3\.{PARTS}": r"blocks.\1.norm2.\2",
        rf"blocks\.(\d+)\.cross_attn\.q\.{PARTS}": r"blocks.\1.attn2.to_q.\2",
        rf"blocks\.(\d+)\.cross_attn\.o\.{PARTS}": r"blocks.\1.attn2.to_out.\2",
        r"blocks\.(\d+)\.cross_attn\.norm_q\.weight": r"blocks.\1.attn2.norm_q.weight",
        rf"blocks\.(\d+)\.cross_attn\.([kv])\.{PARTS}": r"text_memory.\1.to_\2.\3",
        r"blocks\.(\d+)\.cross_attn\.norm_k\.weight": r"text_memory.\1.norm.weight",
        rf"blocks\.(\d+)\.ffn\.0\.{PARTS}": r"blocks.\1.ffn.to_inner.\2",
        rf"blocks\.(\d+)\.ffn\.2\.{PARTS}": r"blocks.\1.ffn.to_out.\2",
    }
)

# What the models that see a picture have besides.
IMAGE: Rules = rules(
    {
        rf"img_emb\.proj\.0\.{PARTS}": r"condition_embedder.image_embedder.norm1.\1",
        rf"img_emb\.proj\.1\.{PARTS}": r"condition_embedder.image_embedder.ff.net.0.proj.\1",
        rf"img_emb\.proj\.3\.{PARTS}": r"condition_embedder.image_embedder.ff.net.2.\1",
        rf"img_emb\.proj\.4\.{PARTS}": r"condition_embedder.image_embedder.norm2.\1",
        rf"blocks\.(\d+)\.cross_attn\.([kv])_img\.{PARTS}": r"image_memory.\1.to_\2.\3",
        r"blocks\.(\d+)\.cross_attn\.norm_k_img\.weight": r"image_memory.\1.norm.weight",
    }
)

_EMBEDDER = r"condition_embedder\.(text_embedder|time_embedder)\.(linear_[12])"

# The base as diffusers publishes it.
DIFFUSERS: Rules = rules(
    {
        rf"(patch_embedding|proj_out)\.{PARTS}": r"\1.\2",
        rf"{_EMBEDDER}\.{PARTS}": r"condition_embedder.\1.\2.\3",
        rf"condition_embedder\.time_proj\.{PARTS}": r"condition_embedder.time_proj.\1",
        r"scale_shift_table": r"scale_shift_table",
        r"blocks\.(\d+)\.scale_shift_table": r"blocks.\1.scale_shift_table",
        rf"blocks\.(\d+)\.norm2\.{PARTS}": r"blocks.\1.norm2.\2",
        rf"blocks\.(\d+)\.attn1\.(to_[qkv])\.{PARTS}": r"blocks.\1.attn1.\2.\3",
        rf"blocks\.(\d+)\.attn([12])\.to_out\.0\.{PARTS}": r"blocks.\1.attn\2.to_out.\3",
        r"blocks\.(\d+)\.attn1\.norm_([qk])\.weight": r"blocks.\1.attn1.norm_\2.weight",
        rf"blocks\.(\d+)\.attn2\.to_q\.{PARTS}": r"blocks.\1.attn2.to_q.\2",
        r"blocks\.(\d+)\.attn2\.norm_q\.weight": r"blocks.\1.attn2.norm_q.weight",
        rf"blocks\.(\d+)\.attn2\.(to_[kv])\.{PARTS}": r"text_memory.\1.\2.\3",
        r"blocks\.(\d+)\.attn2\.norm_k\.weight": r"text_memory.\1.norm.weight",
        rf"blocks\.(\d+)\.ffn\.net\.0\.proj\.{PARTS}": r"blocks.\1.ffn.to_inner.\2",
        rf"blocks\.(\d+)\.ffn\.net\.2\.{PARTS}": r"blocks.\1.ffn.to_out.\2",
    }
)

# The same of the models that see a picture.
_IMAGE = r"condition_embedder\.image_embedder\.(norm1|norm2|ff\.net\.0\.proj|ff\.net\.2)"
DIFFUSERS_IMAGE: Rules = rules(
    {
        rf"{_IMAGE}\.{PARTS}": r"condition_embedder.image_embedder.\1.\2",
        rf"blocks\.(\d+)\.attn2\.add_([kv])_proj\.{PARTS}": r"image_memory.\1.to_\2.\3",
        r"blocks\.(\d+)\.attn2\.norm_added_k\.weight": r"image_memory.\1.norm.weight",
    }
)


def sizes_of(
    stored: Mapping[str, Shape], heads: int, patch: tuple[int, int, int] = (1, 2, 2)
) -> dict[str, Any]:
    """Return a transformer's arguments for tensors of these names (ours) and shapes.

    Shapes do not tell the number of heads. Raises KeyError for a tensor that tells a size and is
    missing.
    """
    dim = stored["patch_embedding.bias"][0]
    return {
        "num_layers": sum(name.endswith(".attn1.to_q.weight") for name in stored),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "ffn_dim": stored["blocks.0.ffn.to_inner.weight"][0],
        # GGUF files may have folded it
        "in_channels": prod(stored["patch_embedding.weight"]) // dim // prod(patch),
        "out_channels": stored["proj_out.weight"][0] // prod(patch),
        "patch_size": patch,
        "text_dim": stored["condition_embedder.text_embedder.linear_1.weight"][1],
        "freq_dim": stored["condition_embedder.time_embedder.linear_1.weight"][1],
    }
