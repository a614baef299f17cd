"""What a caller may ask for: the models of the contract, one for each action."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from talkhead.request.parts import (
    MAX_SIDE,
    MIN_SIDE,
    PRESETS,
    MediaRef,
    Memory,
    Options,
    Output,
    Rate,
    Sampling,
    Size,
    Speaker,
    Strict,
)

__all__ = [
    "ACTIONS",
    "ITEM_ACTIONS",
    "LATER_ACTIONS",
    "MAX_SIDE",
    "MIN_SIDE",
    "MOST_ITEMS",
    "OWN_OUTPUT",
    "PRESETS",
    "WHOLE",
    "Animate",
    "Batch",
    "Capabilities",
    "File",
    "Film",
    "Health",
    "Item",
    "Job",
    "MediaRef",
    "Memory",
    "Output",
    "Portrait",
    "Rate",
    "Request",
    "Sampling",
    "Size",
    "Speak",
    "Speaker",
    "Strict",
    "Talk",
    "Uploads",
]


class Job(Strict):
    """What every piece of work has in common."""

    action: str
    output: Output = Field(Output(), description="where results go, see `output`")
    idempotency_key: (
        Annotated[
            str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$")
        ]
        | None
    ) = Field(
        None,
        description="the job's name: the same key and request is answered once, "
        "another request is a conflict",
    )
    priority: Annotated[int, Field(ge=-100, le=100)] = Field(
        0, description="higher goes first, where there is a queue"
    )
    deadline_s: Annotated[float, Field(gt=0, le=7 * 86_400)] | None = Field(
        None, description="stops the job after so many seconds; the folder keeps what is done"
    )
    dry_run: bool = Field(False, description="answer with the plan only")


Late = Annotated[
    Literal["warn", "refuse"],
    Field(description="where the estimate passes deadline_s: go on and say so, or render nothing"),
]


class Film(Job):
    """What every job that makes a video has in common."""

    prompt: Annotated[str, Field(max_length=10_000)] = Field(
        "", description="for engines that read one"
    )
    negative_prompt: Annotated[str, Field(max_length=10_000)] = Field(
        "", description="what not to show"
    )
    engine: str = Field("auto", description="an engine by name; auto: the operator's choice")
    options: Options = Field({}, description="the chosen engine's own options")
    size: Size | None = Field(None, description="unset: the engine's own, see `size`")
    fit: Literal["crop", "pad", "face"] = Field(
        "crop", description="how the portrait fills the frame"
    )
    fps: Rate | None = Field(
        None, description="1 to 60, a number or '30000/1001'; unset: the engine's own"
    )
    duration: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        None, description="exact length in seconds; unset: that of the speech"
    )
    max_frames: Annotated[int, Field(ge=1, le=60 * 86_400)] | None = Field(
        None, description="an upper limit, in place of duration"
    )
    quality: Literal["draft", "fast", "balanced", "best"] = Field(
        "balanced", description="for engines with steps"
    )
    late: Late = "warn"
    sampling: Sampling = Field(Sampling(), description="see `sampling`")
    memory: Memory = Field(Memory(), description="see `memory`")

    @model_validator(mode="after")
    def _one_length_and_one_engine(self) -> Self:
        if self.duration is not None and self.max_frames is not None:
            raise ValueError("give duration or max_frames, not both")
        if self.options and self.engine == "auto":
            raise ValueError("options belong to one engine: name it in `engine`")
        return self


class Talk(Film):
    """Make a portrait, or the person in a video, speak."""

    action: Literal["talk"] = "talk"
    portrait: MediaRef | None = Field(None, description="a picture of a face")
    video: MediaRef | None = Field(None, description="a clip to dub")
    source: MediaRef | None = Field(None, description="picture or video, the file decides")
    speakers: Annotated[tuple[Speaker, ...], Field(min_length=1, max_length=8)] = Field(
        description="one for each voice, see `speakers[]`"
    )
    turns: Literal["together", "in_turn"] = Field(
        "together", description="in_turn: one after another"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(ref is not None for ref in (self.portrait, self.video, self.source)) != 1:
            raise ValueError("give exactly one of portrait, video and source")
        return self

    @property
    def face_source(self) -> tuple[str, str]:
        """Return the field that holds the picture or video, and its reference."""
        fields = {"portrait": self.portrait, "video": self.video, "source": self.source}
        return next((name, ref) for name, ref in fields.items() if ref is not None)


class Animate(Film):
    """Put the person of a portrait into a driving video, or move the portrait as in it."""

    action: Literal["animate"]
    mode: Literal["replace", "animate"] = Field(
        "replace", description="replace the person in the video, or animate the portrait by it"
    )
    portrait: MediaRef = Field(description="a picture of the person")
    video: MediaRef = Field(description="the driving video; its sound is kept")


class Speak(Job):
    """Turn text into speech."""

    action: Literal["speak"]
    text: Annotated[str, Field(min_length=1, max_length=50_000)] = Field(description="what to say")
    voice: str | None = Field(None, description="a voice's name, such as espeak or espeak:fr")
    sample: MediaRef | None = Field(None, description="a recording of the voice to clone")
    sample_text: str | None = Field(None, description="the words of the sample")
    speed: Annotated[float, Field(ge=0.25, le=4)] = Field(
        1.0, description="1 is the voice's own pace"
    )
    language: str = Field("auto", description="language code such as en, fr or cmn")


class Portrait(Job):
    """Draw a portrait from words."""

    action: Literal["portrait"]
    prompt: Annotated[str, Field(min_length=1, max_length=10_000)] = Field(
        description="what to draw"
    )
    negative_prompt: Annotated[str, Field(max_length=10_000)] = Field(
        "", description="what not to draw"
    )
    engine: str = Field("default", description="the portrait maker")
    options: Options = Field({}, description="the maker's own options")
    size: Size | None = Field(None, description="unset: the maker's own")
    sampling: Sampling = Field(Sampling(), description="see `sampling`")
    save_as: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][\w.\- ]*$")] | None = (
        Field(None, description="keep the picture as library:avatars/NAME, where that is allowed")
    )


ITEM_ACTIONS = ("talk", "animate", "portrait", "speak")
MOST_ITEMS = 100  # an answer names every file, and all inputs are fetched before the first frame
# What is said once for a whole batch, and what an item may say of `output` for itself.
WHOLE = ("idempotency_key", "priority", "deadline_s", "late", "dry_run")
OWN_OUTPUT = ("name", "thumbnail", "score")


def _item_action(item: Any) -> Any:
    """Return which model an item is of; nothing where that cannot be told."""
    held = item if isinstance(item, Mapping) else getattr(item, "__dict__", {"action": None})
    action = held.get("action", "talk")
    return action if isinstance(action, str) else None


Item = Annotated[
    Annotated[Talk, Tag("talk")]
    | Annotated[Animate, Tag("animate")]
    | Annotated[Portrait, Tag("portrait")]
    | Annotated[Speak, Tag("speak")],
    Discriminator(
        _item_action,
        custom_error_type="item_action",
        custom_error_message=f"an item is an object whose action is {', '.join(ITEM_ACTIONS)}",
    ),
]


class Batch(Job):
    """Several requests as one job. An item that fails fails alone."""

    action: Literal["batch"]
    items: Annotated[tuple[Item, ...], Field(min_length=1, max_length=MOST_ITEMS)] = Field(
        description="requests of talk, animate, portrait or speak"
    )
    late: Late = "warn"

    @model_validator(mode="after")
    def _said_where_it_belongs(self) -> Self:
        problems = [
            InitErrorDetails(type=PydanticCustomError("misplaced", text), loc=loc, input=None)
            for loc, text in _misplaced(self)
        ]
        if problems:  # with places of their own: a ValueError would name the batch alone
            raise ValidationError.from_exception_data("Batch", problems)
        return self


def _misplaced(batch: Batch) -> Iterator[tuple[tuple[int | str, ...], str]]:
    """Yield what a batch says in a place where it means nothing, and why."""
    if batch.output.stream:
        yield ("output", "stream"), "a batch is not streamed: send its items one by one for that"
    for index, item in enumerate(batch.items):
        for name in _said(item, set(WHOLE)):
            yield ("items", index, name), "is the whole batch's: say it once, beside items"
        for name in _said(item.output, set(Output.model_fields) - {*OWN_OUTPUT}):
            own = ", ".join(OWN_OUTPUT)
            text = f"is the whole batch's: an item has of output only {own} to itself"
            yield ("items", index, "output", name), text


def _said(model: Strict, names: set[str]) -> list[str]:
    """Return those of the names that a model was given with another value than the default."""
    fields = type(model).model_fields
    given = sorted(names & model.model_fields_set & fields.keys())
    return [name for name in given if getattr(model, name) != fields[name].default]


class Health(Strict):
    """Ask whether this installation can work."""

    action: Literal["health"]
    self_test: bool = Field(False, description="also render one second on the draft engine")


class Capabilities(Strict):
    """Ask what this installation can do."""

    action: Literal["capabilities"]


class File(Strict):
    """A file that a caller is about to send."""

    name: Annotated[str, Field(min_length=1, max_length=255)] = Field(
        description="for people; its key holds what is plain of it"
    )
    bytes: Annotated[int, Field(ge=1)] = Field(
        description="exactly; at most the largest of TALKHEAD_FETCH__…_MB"
    )


class Uploads(Strict):
    """Ask where to put files that are too large to travel in a request."""

    action: Literal["uploads"]
    files: Annotated[tuple[File, ...], Field(min_length=1, max_length=32)] = Field(
        description="one place for each, in this order"
    )


Request = Talk | Animate | Portrait | Speak | Batch | Health | Capabilities | Uploads
ACTIONS: dict[str, type[Request]] = {
    "talk": Talk,
    "animate": Animate,
    "portrait": Portrait,
    "speak": Speak,
    "batch": Batch,
    "health": Health,
    "capabilities": Capabilities,
    "uploads": Uploads,
}
# Names of the contract that this version does not take yet.
LATER_ACTIONS = ("workflow",)
