"""What every engine takes and gives: arrays in, chunks of frames out. No files, no network.

Coordinates are pixels of the fitted picture, x to the right and y down. Times are seconds from the
start of the video. Pictures are RGB, uint8, (height, width, 3).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (height, width, 3), RGB
Frames = NDArray[np.uint8]  # (n, height, width, 3), RGB
Arrays = Mapping[str, NDArray[Any]]  # what is saved as npz without pickle
Tick = Callable[[int, int], None]  # (done, total) of the current stage; raises to cancel
Room = Callable[[tuple[int, ...]], NDArray[np.float32]]  # shape -> an array to be filled
Quality = Literal["draft", "fast", "balanced", "best"]

SEGMENT_SECONDS = 2  # the shortest run of frames worth committing on its own


class Box(NamedTuple):
    """A rectangle in pixels; x1 and y1 lie just outside."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """Return the width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Return the height in pixels."""
        return self.y1 - self.y0

    @property
    def center(self) -> tuple[float, float]:
        """Return the middle, (x, y)."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    @property
    def area(self) -> float:
        """Return the area in square pixels, 0 for an empty box."""
        return max(self.width, 0.0) * max(self.height, 0.0)


class Phone(NamedTuple):
    """One speech sound: an ARPABET name without stress digit, or SIL."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face found in a picture."""

    box: Box
    landmarks: NDArray[np.float32]  # (478, 3): x, y in pixels, z on the same scale
    presence: float  # the model's logit; above 5 is a face


class Bucket(NamedTuple):
    """A size that a network was trained at, and the height over width it is chosen by."""

    ratio: float
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Spec:
    """The fixed facts of an engine."""

    name: str
    version: str
    fps: Fraction  # its own rate
    fps_range: tuple[Fraction, Fraction]  # rates it can make, both included
    sample_rate: int  # Hz of the mono speech it takes
    multiple: int  # both sides are multiples of this
    min_side: int
    max_pixels: int
    max_speakers: int
    needs_face: bool
    accepts_video: bool
    weights: tuple[str, ...]  # names of weights sets; where there are any, it is built of Supplies
    licence: str
    # Trained sizes by the preset that stands for them, 480 for 480p; the least is the default.
    buckets: Mapping[int, tuple[Bucket, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Supplies:
    """What an engine that needs weights is built of."""

    # Files of the first of these ids in the manifest that is here; raises E_PIPELINE_LOAD.
    files: Callable[..., tuple[Path, ...]]
    identity: Callable[[Sequence[Path]], str]  # a cheap fingerprint of files
    prompts: tuple[Path, ...]  # folders of encoded prompts; new ones go to the first
    device: str = "auto"  # cuda, cuda:1, cpu; auto is a GPU where there is one
    attention: str = "auto"  # a backend of models.attention
    compiled: bool = False  # repeated blocks through torch.compile: slow to start, then faster
    plans_only: bool = False  # another process renders, and may hold the device's memory now


@dataclass(frozen=True, slots=True)
class Fitting:
    """How a request wants a large model fitted to its device."""

    offload: Literal["auto", "none", "block"] = "auto"
    quant: str | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a job before anything heavy has run."""

    width: int
    height: int
    fps: Fraction
    frames: int
    faces: tuple[Face, ...]  # one for each speaker, or none where the engine needs none
    speech_seconds: float
    estimated: bool  # a length is a guess, because speech has yet to be made from text
    options: Any = None  # the engine's own options model
    speakers: int = 1
    source_fps: Fraction | None = None  # of a source video; None for a still
    sampling: Mapping[str, Any] = field(default_factory=dict)  # as asked for, without the seed
    quality: Quality = "balanced"
    memory: Fitting = field(default_factory=Fitting)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an engine is going to do, decided before it does it."""

    engine: str
    width: int
    height: int
    fps: Fraction
    frames: int
    segments: tuple[int, ...]  # frames in each; their sum is `frames`
    windows: tuple[int, ...]  # frames that the engine makes at once, for each window
    seconds: float  # estimated work, wall-clock time on this machine
    memory_bytes: int  # estimated peak, host memory or GPU memory, whichever the engine is bound by
    estimated: bool = False
    resumable: Literal["segment", "checkpoint"] = "segment"
    grows_with_length: bool = False
    warnings: tuple[str, ...] = ()
    moments: tuple[float, ...] = (0.0,)  # times of the source, s, whose pictures it wants
    weights: str = ""  # a fingerprint of the weights; others make other frames


@dataclass(frozen=True, slots=True, eq=False)
class Speaker:
    """One voice on the job's timeline, and the face that it belongs to."""

    speech: NDArray[np.float32]  # (n,), mono at Spec.sample_rate, -1..1; may be a memory map
    face: Face | None
    transcript: str | None = None
    language: str = "auto"
    phones: tuple[Phone, ...] | None = None  # exact times, where a voice made the speech
    box: Box | None = None  # where the face is, as asked for; engines that need faces get `face`


def in_memory(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return a new array in memory, not filled yet."""
    return np.empty(shape, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything an engine needs, decoded, fitted and resampled."""

    picture: Picture
    speakers: tuple[Speaker, ...]  # as many as Probe.speakers
    seed: int
    bystanders: tuple[Face, ...] = ()  # faces that stay silent
    prompt: str = ""
    negative_prompt: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    options: Any = None
    pictures: Sequence[Picture] | Frames = ()  # of a source video, one for each of Plan.moments
    quality: Quality = "balanced"
    memory: Fitting = field(default_factory=Fitting)
    room: Room = in_memory  # where large arrays go: the job path keeps them in files


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """New frames, and all that is needed to go on after them."""

    frames: Frames
    state: Arrays


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A point inside a long window from which the engine can go on; carries no frames."""

    state: Arrays


class Engine(Protocol):
    """Turns inputs into frames. Built once per process, used for one job at a time."""

    spec: Spec

    def plan(self, probe: Probe) -> Plan:
        """Decide sizes, windows and segments. Cheap: loads nothing."""
        ...

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Compute what this engine alone needs. Saved with the job, read again on resume.

        An array of text under `warnings` reaches the caller.
        """
        ...

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk | Checkpoint]:
        """Yield the frames after `state` in order (all, where it is None), plan.frames in all."""
        ...


def choose_bucket(height: int, width: int, buckets: Sequence[Bucket]) -> Bucket:
    """Return the bucket whose ratio is nearest to a picture's; the first one of equals."""
    return min(buckets, key=lambda bucket: abs(bucket.ratio - height / width))


def cut_segments(windows: tuple[int, ...], fps: Fraction) -> tuple[int, ...]:
    """Group windows of frames into segments: the shortest runs of at least SEGMENT_SECONDS.

    What is left at the end is a segment of its own, however short.
    """
    segments: list[int] = []
    run = 0
    for window in windows:
        run += window
        if run >= SEGMENT_SECONDS * fps:
            segments.append(run)
            run = 0
    return (*segments, run) if run else tuple(segments)
