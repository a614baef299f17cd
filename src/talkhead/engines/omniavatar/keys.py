"""Sizes of OmniAvatar's transformer, from the tensors of its files. Their names: `delta`."""

from collections.abc import Mapping
from typing import Any

from talkhead.engines.omniavatar.delta import ADVICE
from talkhead.errors import Code, TalkheadError
from talkhead.models import wan_keys
from talkhead.models.loading import Rules
from talkhead.models.vae_sizes import STRIDE
from talkhead.models.wan_keys import Shape

KNOWN: Rules = wan_keys.BASE + wan_keys.DIFFUSERS  # a base in either form


def sizes_of(stored: Mapping[str, Shape], heads: int) -> dict[str, Any]:
    """Return the transformer's arguments for tensors of these names (ours) and shapes.

    Raises E_PIPELINE_LOAD where a tensor that tells a size is missing.
    """
    try:
        hidden, features = stored["audio_proj.proj.weight"]
        return {
            **wan_keys.sizes_of(stored, heads),
            "vae_scale": STRIDE,
            "audio_dim": features // STRIDE,
            "audio_hidden": hidden,
        }
    except (KeyError, ValueError) as error:
        told = f"{error.args[0]} is missing, or no matrix"
        raise TalkheadError(Code.WEIGHTS, f"no OmniAvatar: {told}", ADVICE) from None
