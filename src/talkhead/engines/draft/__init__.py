"""The embedded engine: a still face speaks by warping its own pixels. CPU only, no downloads.

Speech becomes phones, phones become mouth shapes over time, and every frame is drawn from the still
picture and one pose. A frame depends on its time and the seed alone, so a run can stop anywhere.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from talkhead.engines import (
    Arrays,
    Box,
    Chunk,
    Face,
    Inputs,
    Plan,
    Probe,
    Speaker,
    Spec,
    Tick,
    cut_segments,
)
from talkhead.engines.draft import motion, phones, visemes
from talkhead.engines.draft.options import Options
from talkhead.engines.draft.pose import Head, Mouth, Pose
from talkhead.engines.draft.render import Renderer

CHUNK = 5  # frames; small, because a few chunks wait for the encoder at any time

# Estimates of work, fitted to benchmarks/draft_speed.py on 2 cores.
SETUP_SECONDS = 0.6
HEARING = 0.06  # seconds of work per second of speech
PER_FRAME = 1.5e-3
PER_PIXEL = 9e-9  # encoding, per pixel of the frame
PER_FACE_PIXEL = 40e-9  # drawing, per pixel of the face's box
BASE_BYTES, PER_PIXEL_BYTES = 125_000_000, 280  # fitted to benchmarks/draft_memory.py


class Draft:
    """Implements Engine."""

    spec = Spec(
        name="draft",
        version="1",
        fps=Fraction(25),
        fps_range=(Fraction(1), Fraction(60)),
        sample_rate=phones.SAMPLE_RATE,
        multiple=2,
        min_side=256,
        max_pixels=1920 * 1080,
        max_speakers=8,
        needs_face=True,
        accepts_video=False,
        weights=(),
        licence="Apache-2.0",
    )

    def plan(self, probe: Probe) -> Plan:
        """Cut the frames into windows of a segment each, and estimate the work."""
        window = -(-2 * probe.fps.numerator // probe.fps.denominator)  # frames in 2 s, rounded up
        whole, rest = divmod(probe.frames, window)
        windows = (window,) * whole + ((rest,) if rest else ())
        pixels = probe.width * probe.height
        face_pixels = sum(face.box.area for face in probe.faces)
        per_frame = PER_FRAME + PER_PIXEL * pixels + PER_FACE_PIXEL * face_pixels
        return Plan(
            engine=self.spec.name,
            width=probe.width,
            height=probe.height,
            fps=probe.fps,
            frames=probe.frames,
            segments=cut_segments(windows, probe.fps),
            windows=windows,
            seconds=SETUP_SECONDS + HEARING * probe.speech_seconds + per_frame * probe.frames,
            memory_bytes=BASE_BYTES + PER_PIXEL_BYTES * pixels,
            estimated=probe.estimated,
        )

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Turn each speaker's speech into tracks: what mouth, eyes and head do in every frame."""
        options = inputs.options or Options()
        count = len(inputs.speakers)
        warnings: list[str] = []
        tracks = []
        for index, speaker in enumerate(inputs.speakers):

            def step(done: int, total: int, index: int = index) -> None:
                tick(index * total + done, count * total)

            track = _hear(speaker, step)
            warnings += track.warnings
            loudness = motion.loudness(speaker.speech, plan.frames, plan.fps)
            mouth = visemes.mouth_tracks(track, loudness, plan.frames, plan.fps)
            mouth["aperture"] *= options.mouth
            seed = (inputs.seed + index) % 2**63  # so that two faces do not blink as one
            head = motion.head_tracks(loudness, plan.frames, plan.fps, seed)
            blink = motion.blink_track(plan.frames, plan.fps, seed)
            tracks.append(
                [mouth[name] for name in Mouth._fields]
                + [blink * options.blinks]
                + [head[name] * options.head_motion for name in Head._fields]
            )
        return {
            "picture": inputs.picture,
            "landmarks": _stacked([_face(speaker) for speaker in inputs.speakers]),
            "bystanders": _stacked(inputs.bystanders),
            "tracks": np.asarray(tracks, np.float32),  # (speakers, values, frames)
            "seed": np.asarray(inputs.seed),
            "warnings": np.asarray(warnings, np.str_),
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk]:
        """Draw the frames from `state` on, a few at a time; no chunk crosses a segment's border."""
        faces = [_stored_face(landmarks) for landmarks in prepared["landmarks"]]
        others = [_stored_face(landmarks) for landmarks in prepared["bystanders"]]
        renderer = Renderer(prepared["picture"], faces, int(prepared["seed"]), others)
        tracks = prepared["tracks"]
        start = int(state["next"]) if state else 0
        for border in np.cumsum(plan.segments).tolist():
            while start < border:
                stop = min(start + CHUNK, border)
                frames = [renderer.frame(_poses(tracks, index)) for index in range(start, stop)]
                start = stop
                yield Chunk(np.stack(frames), {"next": np.asarray(stop)})
                tick(stop, plan.frames)


def _hear(speaker: Speaker, tick: Tick) -> phones.PhoneTrack:
    if speaker.phones is not None:
        return phones.PhoneTrack(speaker.phones, "given", ())
    return phones.find_phones(speaker.speech, speaker.transcript, speaker.language, tick)


def _face(speaker: Speaker) -> Face:
    if speaker.face is None:
        raise ValueError("the draft engine needs a face for every speaker")
    return speaker.face


def _stacked(faces: Sequence[Face]) -> NDArray[np.float32]:
    """Return the landmarks of all faces, (n, 478, 3)."""
    if not faces:
        return np.zeros((0, 478, 3), np.float32)
    return np.stack([face.landmarks for face in faces])


def _stored_face(landmarks: np.ndarray) -> Face:
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return Face(Box(*low.tolist(), *high.tolist()), landmarks, presence=np.inf)


def _poses(tracks: np.ndarray, frame: int) -> list[Pose]:
    mouth = len(Mouth._fields)
    rows = tracks[:, :, frame].tolist()
    return [Pose(Mouth(*row[:mouth]), row[mouth], Head(*row[mouth + 1 :])) for row in rows]
