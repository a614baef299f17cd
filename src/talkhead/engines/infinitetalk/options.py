"""What a request may set on the InfiniteTalk engine."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from talkhead.engines.infinitetalk.windows import OVERLAP, WINDOW
from talkhead.models.vae_sizes import whole_latents
from talkhead.request import Strict

Frames = Annotated[int, AfterValidator(whole_latents)]


class Options(Strict):
    """The `options` of a request whose engine is infinitetalk."""

    motion_frames: Annotated[Frames, Field(ge=1, le=77)] = Field(
        OVERLAP, description="frames of one window that the next one continues from; 1 + 4n"
    )
    window: Annotated[Frames, Field(ge=5, le=161)] = Field(
        WINDOW, description="frames of one window; 1 + 4n; the network was trained with 81"
    )
    color_strength: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="how far the colours are held to the first picture; 0 leaves them alone"
    )
    audio_scale: Annotated[float, Field(ge=0, le=2)] = Field(
        1.0, description="strength of the speech; 0.8 to 1.2 look natural"
    )
    normalize_loudness: bool = Field(
        True, description="bring the speech to a common loudness first"
    )
    teacache_threshold: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="reuse of steps that change little, 0.2 as a rule; unset is off"
    )
    apg: bool = Field(False, description="adaptive projected guidance, against too much contrast")
    apg_momentum: Annotated[float, Field(ge=-1, le=1)] = Field(
        -0.75, description="its momentum; below 0 what earlier steps did counts against it"
    )
    apg_norm_threshold: Annotated[float, Field(gt=0, le=1000)] = Field(
        55.0, description="its limit of the norm"
    )
    vae_tiling: bool | None = Field(
        None, description="encode and decode in tiles, for less memory; unset: where it is needed"
    )
    lora: Literal["auto", "none", "rank64", "rank256", "t2v-rank32", "fusionx"] = Field(
        "auto", description="the LoRA that makes few steps enough; auto: the quality's own"
    )
    lora_strength: Annotated[float, Field(ge=-2, le=2)] = Field(
        1.0, description="how strongly it changes the network"
    )
    lora_alpha: Literal["ignore", "standard"] = Field(
        "ignore", description="whether its alpha scales it; the official code ignores it"
    )
    base: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="an id of `talkhead weights list` for the base; unset: the best one here"
    )
    short_tail: bool = Field(
        False,
        description="make the last window only as long as it is needed: faster, a little off what "
        "the network was trained with",
    )
    official: bool = Field(
        False,
        description="as the official code has it, for comparison: noise of all windows from one "
        "generator, boxes read as rows and columns, a source video read by frame numbers",
    )

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.motion_frames >= self.window:
            raise ValueError(
                f"window ({self.window}) must be longer than motion_frames ({self.motion_frames})"
            )
        return self
