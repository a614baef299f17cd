"""OmniAvatar's networks from official-layout files of any size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from support.installation import said
from support.wan import saved
from talkhead.engines.omniavatar import delta, keys
from talkhead.engines.omniavatar.choice import Found
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer
from talkhead.models import lora
from talkhead.models.loading import load, shapes_of, stored, targets


def network(
    folder: Path,
    base: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    heads: int,
    scale: tuple[float, int],
) -> OmniAvatarTransformer:
    """Return the transformer of a base and OmniAvatar's checkpoint, whose pairs have a scale.

    It is alpha and rank.
    """
    found = Found(
        "14B",
        said({"num_heads": heads}, folder / "config.json"),
        (saved(dict(base), folder / "base.safetensors"),),
        saved(dict(own), folder / "own.safetensors"),
        said({"lora_alpha": scale[0], "lora_rank": scale[1]}, folder / "own.json"),
    )
    parts = delta.sources(found, keys.KNOWN)
    arguments = keys.sizes_of(stored(parts), heads)

    def build() -> OmniAvatarTransformer:
        net: OmniAvatarTransformer = OmniAvatarTransformer(**arguments)
        return net

    with torch.device("meta"):
        wanted = shapes_of(build())
    with lora.merging(delta.changes(found, keys.KNOWN, wanted)) as mend:
        wide = OmniAvatarTransformer._keep_in_fp32_modules
        return load(build, parts, targets(torch.device("cpu"), torch.float32, wide), mend)


def config(facts: Mapping[str, Any]) -> tuple[int, tuple[float, int]]:
    """Return heads, and alpha and rank, of a golden's JSON."""
    return facts["num_heads"], (float(facts["lora_alpha"]), int(facts["lora_rank"]))
