"""What a request may set on the OmniAvatar engine."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from talkhead.engines.omniavatar.sizes import MAX_TOKENS
from talkhead.engines.omniavatar.windows import OVERLAP
from talkhead.models.vae_sizes import whole_latents
from talkhead.request import Strict


class Options(Strict):
    """The `options` of a request whose engine is omniavatar.

    That a chunk is longer than its overlap depends on the picture's size: `presets.windows_of`.
    """

    model: Literal["auto", "14B", "1.3B"] = Field(
        "auto", description="the network's size; auto: the larger one whose weights are here"
    )
    max_tokens: Annotated[int, Field(ge=1, le=80_000)] = Field(
        MAX_TOKENS, description="tokens of one chunk, which set its length; 30000 was trained"
    )
    overlap: Annotated[int, AfterValidator(whole_latents), Field(ge=1, le=77)] = Field(
        OVERLAP, description="frames of one chunk that the next one continues from; 1 + 4n"
    )
    short_tail: bool = Field(
        False,
        description="make the last chunk only as long as it is needed: faster, a little off what "
        "the network was trained with",
    )
    teacache_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="reuse of steps that change little, 0.14 as a rule, with 50 steps; unset or 0 "
        "is off",
    )
    vae_tiling: bool | None = Field(
        None, description="encode and decode in tiles, for less memory; unset: where it is needed"
    )
    timestep_rounding: Literal["auto", "model_dtype", "none"] = Field(
        "auto",
        description="whether the network is told times in its own dtype, as the official code does "
        "it (978.26 as 980 in bfloat16); auto: it is, as the weights are run so",
    )
    official: bool = Field(
        False,
        description="as the official code has it, for comparison: the video begins with the still, "
        "and sound follows one frame later (its 0.3 s of silence before are speakers.0.start)",
    )
