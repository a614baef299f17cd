"""Check a video, from any engine: what the file is, and how well the lips follow the speech.

The score finds its landmarks with the same nets as the draft engine and expects its viseme table,
so on the draft engine's videos it checks fidelity (does the video show what was meant), not taste.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from pathlib import Path

import numpy as np

from talkhead.engines import Phone, Tick
from talkhead.engines.draft.motion import loudness
from talkhead.engines.draft.phones import SAMPLE_RATE, PhoneTrack, find_phones
from talkhead.engines.draft.visemes import mouth_tracks
from talkhead.errors import Code, TalkheadError
from talkhead.media.face import FaceFinder
from talkhead.media.facts import VideoFacts, video_facts
from talkhead.quality.measure import FaceTrack, count_blinks, even, follow_face
from talkhead.quality.reading import Sound, read_frames, read_sound
from talkhead.quality.report import (
    LEAST,
    MEANING,
    MOST,
    Report,
    Status,
    check_bars,
    check_names,
    concerns,
    grade,
    measures,
    rows,
)
from talkhead.quality.sync import SEARCH, STATIC_RANGE, SyncScore, score_sync

__all__ = [
    "LEAST",
    "MEANING",
    "MOST",
    "CheckOptions",
    "Report",
    "SyncScore",
    "check_bars",
    "check_names",
    "check_video",
    "measures",
    "read_phones",
    "rows",
]

LEAST_SPEECH = 0.2  # seconds of phones; less is no speech
SILENCES = frozenset({"", "SIL", "SP", "SPN", "NSN", "+SPN+", "+NSN+", "<S>", "</S>", "<SIL>"})


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """How to check, beyond what is given."""

    language: str = "auto"  # of the speech, where phones are to be found
    face: int = 0  # which face of the first frame that shows one; 0 is the largest
    limit_s: float | None = None  # seconds of the video to look at; None is all


@dataclass(frozen=True, slots=True, eq=False)
class _Heard:
    """The speech and what it says; no track where there is no sound."""

    sound: Sound
    track: PhoneTrack | None


NOTHING = _Heard(Sound(np.zeros(0, np.float32), ("the video has no sound",)), None)


def check_video(
    path: Path,
    speech: Path | None = None,
    transcript: str | None = None,
    phones: Sequence[Phone] | None = None,
    options: CheckOptions | None = None,
    tick: Tick = lambda _done, _total: None,
) -> Report:
    """Measure a video file: the container, the face, and the lips against the speech.

    The speech is the video's own sound, or a file that starts together with it. Phone times are
    those given, else they are aligned with the transcript, else they are heard.
    """
    options = options or CheckOptions()
    video = video_facts(path)
    if not video.fps or not video.frames:
        raise TalkheadError(
            Code.INPUT,
            f"{path.name} has no frames to measure",
            "Give a video with moving pictures.",
            fields=("video",),
        )
    count = video.frames
    if options.limit_s is not None:
        count = min(count, max(1, ceil(options.limit_s * video.fps)))
    with tempfile.TemporaryDirectory(prefix="talkhead-check-") as folder:
        heard = NOTHING
        if speech or video.audio_codec:
            sound = read_sound(speech or path, Path(folder))
            heard = _hear(sound, transcript, phones, options, lambda _at, _of: tick(0, count))
        track = follow_face(read_frames(path, count, tick), FaceFinder(), options.face)
        sync = _score(track, heard, video)
    return _report(video, track, sync, heard)


def read_phones(path: Path) -> tuple[Phone, ...]:
    """Read phone times from JSON: a list of [name, start, end], ARPABET names and seconds."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_phone(*entry) for entry in entries)
    except (OSError, ValueError, TypeError) as error:
        raise TalkheadError(
            Code.INPUT,
            f"{path.name} is no list of phones: {error}",
            'Give JSON such as [["SIL", 0.0, 0.2], ["AE", 0.2, 0.31]], with times in seconds.',
            fields=("phones",),
        ) from error


def _phone(name: str, start: float, end: float) -> Phone:
    plain = str(name).upper().rstrip("012")
    phone = Phone("SIL" if plain in SILENCES else plain, float(start), float(end))
    if not 0 <= phone.start <= phone.end < inf:
        raise ValueError(f"{name} lasts from {start} to {end}")
    return phone


def _hear(
    sound: Sound,
    transcript: str | None,
    phones: Sequence[Phone] | None,
    options: CheckOptions,
    tick: Tick,
) -> _Heard:
    """Return the speech's phones from the best source at hand."""
    if phones is not None:
        return _Heard(sound, PhoneTrack(tuple(phones), "given", ()))
    samples = sound.samples
    if options.limit_s is not None and transcript is None:
        samples = samples[: ceil((options.limit_s + SEARCH) * SAMPLE_RATE)]
    return _Heard(sound, find_phones(samples, transcript, options.language, tick))


def _score(track: FaceTrack, heard: _Heard, video: VideoFacts) -> SyncScore | None:
    """Compare a face with what was heard, on an even grid; None where there is no face."""
    if not np.isfinite(track.aperture).any():
        return None
    fps = float(video.fps)
    times = track.times - track.times[0] + 0.5 / fps  # the sound starts with the first frame
    count = round((times[-1] - times[0]) * fps) + 1
    grid = (np.arange(count) + 0.5) / fps
    wanted, phones = np.zeros(count), tuple[Phone, ...]()
    if heard.track:
        loud = loudness(heard.sound.samples, count, video.fps)
        wanted = mouth_tracks(heard.track, loud, count, video.fps)["aperture"].astype(np.float64)
        phones = heard.track.phones
    return score_sync(grid, even(times, track.aperture, grid), wanted, phones)


def _report(video: VideoFacts, track: FaceTrack, sync: SyncScore | None, heard: _Heard) -> Report:
    status = _status(sync)
    judged = grade(sync) if sync and status == "scored" else None
    report = Report(
        status=status,
        grade="poor" if status == "static" else judged,
        video=video,
        sync=sync,
        phones=heard.track.source if heard.track else None,
        faces=track.faces,
        lost=track.lost,
        blinks=count_blinks(track.eyes),
        measured_s=track.times.size / float(video.fps),
    )
    told = heard.track.warnings if heard.track else ()
    return replace(report, warnings=(*heard.sound.warnings, *told, *concerns(report)))


def _status(sync: SyncScore | None) -> Status:
    if sync is None:
        return "no_face"
    if sync.speech_s < LEAST_SPEECH:
        return "no_speech"
    if sync.range < STATIC_RANGE:
        return "static"
    return "insufficient" if sync.auc is None else "scored"
