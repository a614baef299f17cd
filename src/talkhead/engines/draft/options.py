"""What a request may set on the draft engine."""

from typing import Annotated

from pydantic import Field

from talkhead.request import Strict


class Options(Strict):
    """The `options` of a request whose engine is draft."""

    head_motion: Annotated[float, Field(ge=0, le=2)] = Field(
        1.0, description="strength of the head's small motion; 0 keeps it still"
    )
    mouth: Annotated[float, Field(ge=0.5, le=1.5)] = Field(
        1.0, description="how far the mouth opens, against the engine's own measure"
    )
    blinks: bool = Field(True, description="close the eyes now and then")
