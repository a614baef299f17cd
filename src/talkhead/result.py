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
    eta_s: float | None = None  # seconds left, an estimate


class Notice(Strict):
    """Something the caller should know about a job that went well."""

    code: str  # W_...
    message: str
    field: str | None = None


class FaceFound(Strict):
    """A face in the portrait, in pixels of the portrait as given."""

    box: tuple[float, float, float, float]
    speaker: int | None  # the speaker who gets it
    mouth_px: float  # width of the mouth in the video's pixels; below 24 is refused


class PlanReport(Strict):
    """The answer to a dry run, and what a finished job was planned to be."""

    engine: str
    engine_reason: str
    width: int
    height: int
    work_width: int  # the size the engine works at, where it differs
    work_height: int
    fps: str
    frames: int
    seconds: float  # of video
    speech_seconds: float
    estimated: bool  # true while the length of speech made from text is a guess
    segments: int
    estimated_seconds: float  # of work on this machine
    estimated_memory_mb: int
    faces: tuple[FaceFound, ...] = ()


class Made(Strict):
    """One file that came out of a job."""

    kind: Literal["video", "thumbnail", "audio", "image", "file"]
    key: str
    url: str | None = None
    expires_at: str | None = None  # of the URL; ISO 8601, UTC
    data: str | None = None  # base64 of the file, where it was asked for inline
    mime: str
    bytes: int
    sha256: str
    facts: dict[str, Any] = Field(default_factory=dict)


class Resumed(Strict):
    """How much of a job was already there."""

    total: int
    resumed: int


class Component(Strict):
    """An engine, a voice or a store as this installation sees it."""

    name: str
    ready: bool
    detail: str
    fix: str = ""
    licence: str = ""


class Ability(Strict):
    """What an installation can do."""

    actions: tuple[str, ...]
    engines: tuple[Component, ...]
    voices: tuple[Component, ...]
    stores: tuple[str, ...]


class Result(Strict):
    """The end of a job that went well. `result.json` holds it without URLs."""

    action: str
    version: str
    job_id: str | None = None
    request_digest: str | None = None  # of what the job is: request and the bytes of its inputs
    sent_digest: str | None = None  # of the request as sent, its references unread
    engine: str | None = None
    seed: int | None = None
    outputs: tuple[Made, ...] = ()
    plan: PlanReport | None = None
    segments: Resumed | None = None
    seconds: dict[str, float] = Field(default_factory=dict)  # of work, by stage
    warnings: tuple[Notice, ...] = ()
    score: dict[str, Any] | None = None
    repeated: bool = False  # answered from an earlier run; nothing was rendered
    healthy: bool | None = None
    ability: Ability | None = None

    @property
    def video(self) -> Made | None:
        """Return the first video."""
        return next((made for made in self.outputs if made.kind == "video"), None)
