"""What a caller gets back: progress while it runs, one result at the end."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from talkhead.request import Strict

Stage = Literal["fetch", "probe", "plan", "prepare", "render", "assemble", "check", "store"]

# The share of a whole job at which each stage begins and ends. Rendering is nearly all of it.
SPANS: dict[Stage, tuple[float, float]] = {
    "fetch": (0.0, 0.01),
    "probe": (0.01, 0.02),
    "plan": (0.02, 0.03),
    "prepare": (0.03, 0.15),
    "render": (0.15, 0.95),
    "assemble": (0.95, 0.97),
    "check": (0.97, 0.98),
    "store": (0.98, 1.0),
}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `pct` of one job never falls."""

    stage: Stage
    done: int
    total: int
    pct: float  # 0..100, of the whole job
    segment: int = 0  # committed segments
    segments: int = 0
    eta_s: float | None = None  # seconds left, an estimate; of all items in a batch
    item: int = 0  # of a batch: which one is under way, from 1
    items: int = 0
    late: str | None = None  # that the estimate passes the deadline, in words
    stream_url: str | None = None  # of the playlist, where the video can be watched already
    stream_s: float = 0.0  # seconds of it that can


class Notice(Strict):
    """Something the caller should know about a job that went well."""

    code: str = Field(description="W_…")
    message: str = Field(description="what happened")
    field: str | None = Field(None, description="of the request")


class FaceFound(Strict):
    """A face in the portrait, in pixels of the portrait as given."""

    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in the portrait")
    speaker: int | None = Field(None, description="the speaker who gets it")
    mouth_px: float = Field(
        description="width of the mouth in the video's pixels; below 24 is refused"
    )


class PlanReport(Strict):
    """The answer to a dry run, and what a finished job was planned to be."""

    engine: str = Field(description="that makes the video")
    engine_reason: str = Field(description="why this one")
    width: int = Field(description="the video's, pixels")
    height: int = Field(description="the video's, pixels")
    work_width: int = Field(description="the size the engine works at, where it differs")
    work_height: int = Field(description="the same for the height")
    fps: str = Field(description="a number, or as '30000/1001'")
    frames: int = Field(description="of video")
    seconds: float = Field(description="of video")
    speech_seconds: float = Field(description="of speech")
    estimated: bool = Field(description="true while the length of speech made from text is a guess")
    segments: int = Field(description="into which the work is cut")
    estimated_seconds: float = Field(description="of work on this machine")
    estimated_memory_mb: int = Field(description="main memory")
    faces: tuple[FaceFound, ...] = Field((), description="faces of the portrait")


class Made(Strict):
    """One file that came out of a job."""

    kind: Literal["video", "thumbnail", "audio", "image", "file", "stream"] = Field(
        description="what it is; stream: an HLS playlist of the same video"
    )
    key: str = Field(description="its name in the store")
    url: str | None = Field(None, description="a link, where asked for")
    expires_at: str | None = Field(None, description="of the URL; ISO 8601, UTC")
    data: str | None = Field(None, description="base64 of the file, where it was asked for inline")
    mime: str = Field(description="media type")
    bytes: int = Field(description="size")
    sha256: str = Field(description="of its bytes")
    facts: dict[str, Any] = Field(default_factory=dict, description="what is measured on the file")


class Resumed(Strict):
    """How much of a job was already there."""

    total: int = Field(description="segments")
    resumed: int = Field(description="that an earlier run had made")


class Cost(Strict):
    """What a run took of the machine that rendered, at the operator's price for it."""

    amount: float = Field(description="in the currency of the price")
    price_per_hour: float = Field(description="as the operator has set it")
    seconds: float = Field(description="that are counted: from the run's first step to its last")
    estimated: bool = Field(False, description="true in a dry run: seconds are the plan's")
    repeated: bool = Field(
        False, description="true: of the earlier run; this answer cost nothing more"
    )


class Component(Strict):
    """An engine, a voice or a store as this installation sees it."""

    name: str = Field(description="as requests name it")
    ready: bool = Field(description="can be used")
    detail: str = Field(description="what was found")
    fix: str = Field("", description="the command that mends it")
    licence: str = Field("", description="of code or weights")


class Place(Strict):
    """Where one file may be put, once, by an HTTP PUT of its bytes."""

    name: str = Field(description="as it was asked for")
    reference: str = Field(description="that a request names the file by, once it is there")
    url: str = Field(description="where to put it")
    headers: dict[str, str] = Field(description="to send with it, as they are")
    expires_at: str = Field(description="of the URL; ISO 8601, UTC")


class Ability(Strict):
    """What an installation can do."""

    actions: tuple[str, ...] = Field(description="that it takes")
    engines: tuple[Component, ...] = Field(description="of video")
    voices: tuple[Component, ...] = Field(description="of speech")
    stores: tuple[str, ...] = Field(description="by name")
    price_per_hour: float | None = Field(None, description="of the machine that renders")


class Error(Strict):
    """Why an item of a batch failed."""

    code: str = Field(description="E_…")
    message: str = Field(description="what was wrong")
    hint: str = Field("", description="what to do about it")
    retryable: bool = Field(description="whether the same request may work later")
    stage: str | None = Field(None, description="where the item was")
    fields: tuple[str, ...] = Field((), description="paths into the request")
    job_id: str | None = Field(None, description="of work that is kept, and continues")


class ItemEnd(Strict):
    """What came of one item of a batch: a result, or an error."""

    index: int = Field(description="of the item in the request, from 0")
    result: "Result | None" = Field(None, description="as if the item had come alone")
    error: Error | None = Field(None, description="why there is none")


class Total(Strict):
    """What the plans of a batch's items come to."""

    items: int = Field(description="in all")
    failed: int = Field(description="of them, those without a result")
    frames: int = Field(description="of video")
    seconds: float = Field(description="of video")
    estimated: bool = Field(description="true while one of the lengths is a guess")
    estimated_seconds: float = Field(description="of work on this machine")
    estimated_memory_mb: int = Field(description="main memory, of the item that needs most")


class Result(Strict):
    """The end of a job that went well. `result.json` holds it without URLs."""

    action: str = Field(description="that was asked for")
    version: str = Field(description="of talkhead")
    job_id: str | None = Field(None, description="of the job folder, or the idempotency key")
    request_digest: str | None = Field(
        None, description="of what the job is: request and the bytes of its inputs"
    )
    sent_digest: str | None = Field(
        None, description="of the request as sent, its references unread"
    )
    engine: str | None = Field(None, description="that was used")
    seed: int | None = Field(None, description="that was used")
    outputs: tuple[Made, ...] = Field((), description="the files")
    plan: PlanReport | None = Field(None, description="what was planned")
    segments: Resumed | None = Field(None, description="and how many were there already")
    seconds: dict[str, float] = Field(default_factory=dict, description="of work, by stage")
    cost: Cost | None = Field(None, description="where the operator has set a price")
    warnings: tuple[Notice, ...] = Field((), description="about a job that went well")
    score: dict[str, Any] | None = Field(
        None, description="the report of the check, where asked for"
    )
    items: tuple[ItemEnd, ...] = Field((), description="of a batch, in the request's order")
    total: Total | None = Field(None, description="of a batch: its items' plans together")
    repeated: bool = Field(False, description="answered from an earlier run; nothing was rendered")
    cold: bool | None = Field(
        None,
        description="of a worker or server: the first job of its rendering process, which had to "
        "load whatever the job needed",
    )
    healthy: bool | None = Field(None, description="answer to health")
    ability: Ability | None = Field(None, description="answer to capabilities")
    uploads: tuple[Place, ...] = Field((), description="answer to uploads")

    @property
    def video(self) -> Made | None:
        """Return the first video."""
        return next((made for made in self.outputs if made.kind == "video"), None)


def cost_of(
    seconds: float, price_per_hour: float | None, *, estimated: bool = False
) -> Cost | None:
    """Return what so many seconds cost, or None where there is no price."""
    if price_per_hour is None:
        return None
    seconds = round(seconds, 3)
    return Cost(
        amount=round(seconds / 3600 * price_per_hour, 6),
        price_per_hour=price_per_hour,
        seconds=seconds,
        estimated=estimated,
    )
