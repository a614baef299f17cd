"""The parts that requests share: references, sizes, speakers, sampling, memory, output."""

import re
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

MIN_SIDE, MAX_SIDE = 256, 4096
MAX_DEPTH = 16  # of an engine's options
PRESETS = {"360p": 360, "480p": 480, "720p": 720, "1080p": 1080}

MediaRef = Annotated[
    str,
    Field(
        min_length=1,
        description="library:NAME, volume:PATH, store:KEY, data: URI, https URL; "
        "a local path on the command line",
    ),
]


# No exponent: Fraction("1e999999999") would compute it.
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?(/[0-9]{1,9})?", re.ASCII)


def _brief(value: object) -> str:
    """Return a caller's value as an error may show it."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return "a huge number"
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _rate(value: Any) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        # pydantic turns a ValueError into a named problem, a TypeError into a crash
        raise ValueError("a frame rate is a number, or text such as '30000/1001'")  # noqa: TRY004
    if isinstance(value, str) and not RATE.fullmatch(value.strip()):
        raise ValueError(f"{_brief(value)} is not a frame rate; try 25 or '30000/1001'")
    try:
        rate = Fraction(value).limit_denominator(1001)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"{_brief(value)} is not a frame rate; try 25 or '30000/1001'") from error
    if not 1 <= rate <= 60:
        raise ValueError("between 1 and 60 frames per second")
    return rate


def _shallow(options: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [options]
    for _ in range(MAX_DEPTH):
        inner = (held.values() if isinstance(held, dict) else held for held in level)
        level = [item for held in inner for item in held if isinstance(item, dict | list)]
        if not level:
            return options
    raise ValueError(f"nested more than {MAX_DEPTH} deep")


# What an engine takes is the engine's to check; here only what would break on the way to it.
Options = Annotated[dict[str, Any], AfterValidator(_shallow)]

Rate = Annotated[
    Fraction,
    BeforeValidator(_rate, json_schema_input_type=float | str),
    PlainSerializer(str, return_type=str),
]


class Strict(BaseModel):
    """Base of every wire model: immutable, unknown keys refused, no infinite or NaN numbers."""

    # what pydantic shows of a value is cut in the middle, where no redaction can know it again
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


Side = Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)] | None


class Size(Strict):
    """The picture's size in pixels: both sides, or one side with the portrait's own aspect."""

    width: Side = Field(None, description="pixels; goes with height; odd goes to the even above")
    height: Side = Field(None, description="pixels")
    long: Side = Field(None, description="the long side alone; the source's own aspect")
    short: Side = Field(None, description="the short side alone")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"long": value}
        if not isinstance(value, str):
            return value
        text = value.strip().lower()
        if text in PRESETS:
            return {"short": PRESETS[text]}
        sides = text.replace("*", "x").split("x")
        if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
            raise ValueError(
                f"{_brief(value)} is not a size; try 512x512, 720 or one of {[*PRESETS]}"
            )
        names = ("width", "height") if len(sides) == 2 else ("long",)
        return dict(zip(names, map(int, sides), strict=True))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        if given not in ({"width", "height"}, {"long"}, {"short"}):
            raise ValueError("give width and height, or only long, or only short")
        return self


class Speaker(Strict):
    """One voice: a recording, or a text to be spoken."""

    audio: MediaRef | None = Field(None, description="a recording, or a video for its sound")
    text: Annotated[str, Field(min_length=1, max_length=50_000)] | None = Field(
        None, description="what to say, in place of audio"
    )
    voice: str | None = Field(None, description="a voice's name, such as espeak or espeak:fr")
    sample: MediaRef | None = Field(None, description="a recording of the voice to clone")
    sample_text: str | None = Field(None, description="the words of the sample")
    speed: Annotated[float, Field(ge=0.25, le=4)] = Field(
        1.0, description="of speech from text; 1 is the voice's own pace"
    )
    transcript: Annotated[str, Field(max_length=50_000)] | None = Field(
        None, description="the words of the recording; makes the lips exact"
    )
    language: str = Field("auto", description="language code such as en, fr or cmn")
    box: tuple[float, float, float, float] | None = Field(
        None, description="x0, y0, x1, y1 of the face, in pixels of the portrait as given"
    )
    start: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None, description="when this voice begins, seconds from the start of the video"
    )
    end: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        None, description="when it is cut off"
    )
    isolate_vocals: bool | Literal["auto"] = Field(
        False, description="take music and noise away first; auto: where that is installed"
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.audio is None) == (self.text is None):
            raise ValueError("give either audio or text")
        other = _TEXT_ONLY if self.text is None else _AUDIO_ONLY
        for name, default in other.items():
            if getattr(self, name) != default:
                raise ValueError(f"{name} goes with {'text' if self.text is None else 'audio'}")
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is blank")
        if self.box and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            raise ValueError("box is x0, y0, x1, y1 with x0 < x1 and y0 < y1")
        if self.end is not None and self.end <= (self.start or 0):
            raise ValueError("end must come after start")
        return self


_TEXT_ONLY = {"voice": None, "sample": None, "sample_text": None, "speed": 1.0}
_AUDIO_ONLY = {"transcript": None, "isolate_vocals": False}


class Sampling(Strict):
    """Diffusion settings. An engine that lacks one of them says so in a warning."""

    steps: Annotated[int, Field(ge=1, le=200)] | None = Field(
        None, description="of denoising; unset: the engine's own, as for all of these"
    )
    text_guidance: Annotated[float, Field(ge=0, le=50)] | None = Field(
        None, description="how closely the prompt is followed"
    )
    audio_guidance: Annotated[float, Field(ge=0, le=50)] | None = Field(
        None, description="how closely the speech is followed"
    )
    shift: Annotated[float, Field(gt=0, le=50)] | None = Field(
        None, description="of the noise schedule"
    )
    seed: Annotated[int, Field(ge=-1, le=2**63 - 1)] | None = Field(
        None, description="unset or -1: random, or the idempotency key's own; reported"
    )


class Memory(Strict):
    """How a large model is fitted to its device."""

    offload: Literal["auto", "none", "block"] = Field(
        "auto", description="block: layers wait in main memory; none: all on the device"
    )
    quant: str | None = Field(None, description="the quantisation, as the engine names it")


def _prefix(value: str) -> str:
    parts = value.split("/")
    if value.startswith("/") or ".." in parts or "\0" in value or "\\" in value:
        raise ValueError("a relative path such as avatars/u1, without '..'")
    return value


class Output(Strict):
    """Where results go and what comes with them."""

    store: str = Field("default", description="one of the operator's stores, by name")
    prefix: Annotated[str, Field(max_length=512), AfterValidator(_prefix)] = Field(
        "", description="folders between the operator's prefix and the job's own, as avatars/u1"
    )
    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^\w[\w.\- ]*$")] | None = (
        Field(None, description="of the main file, without its ending")
    )
    url: Literal["signed", "public", "auto", "none"] = Field(
        "signed", description="what links to make; auto: public where the store makes them"
    )
    expires_s: Annotated[int, Field(ge=60, le=7 * 86_400)] = Field(
        86_400, description="how long a signed link works, seconds"
    )
    thumbnail: bool = Field(True, description="a JPEG beside the video")
    stream: bool = Field(False, description="HLS while it is made; its URL is in progress")
    inline: bool = Field(False, description="the file itself in the answer, as base64, where small")
    score: bool = Field(False, description="measure lip sync on the finished video")
    faces: bool = Field(False, description="with dry_run: a picture of the faces found")
