"""Frames to a finished file: segments are encoded while the next frames are made, then joined."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from talkhead import __version__
from talkhead.deliver import Ready, main_name
from talkhead.engines import Checkpoint, Chunk, Frames, Picture
from talkhead.errors import Code, TalkheadError
from talkhead.folder import MANIFEST, Folder, manifest_entries
from talkhead.media import fit, segments
from talkhead.media.facts import video_facts
from talkhead.media.mark import DigitalSource
from talkhead.media.mux import Tags, join, write_thumbnail
from talkhead.media.soundtrack import Sound, write_soundtrack
from talkhead.prepare import known_phones
from talkhead.quality import CheckOptions, check_video
from talkhead.quality.reading import read_frames
from talkhead.report import Reporter
from talkhead.survey import Work

Items = Iterator[Chunk | Checkpoint]
SOUNDTRACK = "soundtrack.m4a"  # written before the first frame, so that a part can be heard too


def render_segments(
    work: Work,
    prepared: Mapping[str, Any],
    folder: Folder,
    reporter: Reporter,
    committed: Callable[[], None] = lambda: None,
) -> None:
    """Make and commit every segment that the folder does not hold yet.

    The engine works on this thread; encoding and committing run on another, a few chunks behind,
    which calls `committed` after each segment.
    """
    plan = work.plan
    done = sum(segment.frames for segment in folder.segments)
    reporter.resumed(len(folder.segments), done)
    if done < plan.frames:
        items = work.engine.generate(prepared, plan, reporter.tick, folder.state)
        segments.pump(items, partial(_commit_all, work, folder, reporter, committed))
    done = sum(segment.frames for segment in folder.segments)
    if done != plan.frames:
        raise TalkheadError(
            Code.GENERATION,
            f"{plan.engine} made {done} frames where it had planned {plan.frames}",
            "please report this",
        )


def write_sound(work: Work, sounds: Sequence[Path], folder: Folder, reporter: Reporter) -> None:
    """Write the speakers' own sound as the whole video's soundtrack."""
    tracks = [Sound(*both) for both in zip(sounds, work.timeline.parts, strict=True)]
    seconds = float(work.plan.frames / work.plan.fps)
    write_soundtrack(tracks, seconds, folder.path / SOUNDTRACK, reporter.tick)


def so_far(folder: Path, out: Path) -> int:
    """Write what a job's folder holds of its video, with its sound; return the frames.

    None are 0, and nothing is written. The job may run meanwhile: only what counts is read.
    """
    entries, _ = manifest_entries((folder / MANIFEST).read_bytes())
    pieces = [folder / entry["file"] for entry in entries if "segment" in entry]
    if not pieces or not (folder / SOUNDTRACK).exists():
        return 0
    tags = Tags(software=f"talkhead {__version__}", source=DigitalSource.GENERATED)
    fps, frames = video_facts(pieces[0]).fps, sum(e["frames"] for e in entries if "segment" in e)
    return join(pieces, folder / SOUNDTRACK, fps, out, tags, until=frames / fps)


def assemble(work: Work, folder: Folder) -> list[Ready]:
    """Join the segments and the soundtrack to the final MP4; add a thumbnail."""
    output, plan = work.request.output, work.plan
    tags = Tags(software=f"talkhead {__version__}, {plan.engine} engine", source=_source(work))
    video = folder.path / "video.mp4"
    pieces = [segment.file for segment in folder.segments]
    join(pieces, folder.path / SOUNDTRACK, plan.fps, video, tags)
    ready = [Ready("video", video, main_name(output, "video", ".mp4"))]
    if output.thumbnail:
        picture = folder.path / "thumbnail.jpg"
        write_thumbnail(_first_frame(pieces[0]), picture, tags)
        ready.append(Ready("thumbnail", picture, picture.name))
    return ready


def check(
    work: Work, ready: Sequence[Ready], folder: Folder, reporter: Reporter
) -> tuple[list[Ready], dict[str, Any] | None]:
    """Compare the finished file with its plan; return it with its facts, and a score on request.

    Raises E_FFMPEG where the file is not what was planned.
    """
    video, *others = ready
    facts = video_facts(video.file)
    plan, seconds = work.plan, float(work.plan.frames / work.plan.fps)
    found = (facts.frames, (facts.width, facts.height), facts.fps)
    lag = abs((facts.audio_seconds or 0.0) - seconds)
    if found != (plan.frames, work.view.size, plan.fps) or lag > 1 / plan.fps:
        raise TalkheadError(
            Code.ENCODE,
            f"the finished file holds {facts.frames} frames of {facts.width}x{facts.height} at "
            f"{facts.fps} and {facts.audio_seconds} s of sound, which is not what was planned",
            "please report this",
        )
    shown = {**asdict(facts), "fps": str(facts.fps)}
    score = _score(work, video.file, folder, reporter) if work.request.output.score else None
    return [replace(video, facts=shown), *others], score


def _first_frame(video: Path) -> Picture:
    return next(read_frames(video, 1, lambda _done, _total: None))[1]


def _score(work: Work, video: Path, folder: Folder, reporter: Reporter) -> dict[str, Any]:
    """Measure the first speaker's lips against what is heard, with all that is known of it."""
    speaker, part = work.request.speakers[0], work.timeline.parts[0]
    alone = len(work.request.speakers) == 1
    largest = sorted((*work.view.faces, *work.view.bystanders), key=lambda face: -face.box.area)
    faces = [
        index for index, face in enumerate(largest) if face is next(iter(work.view.faces), None)
    ]
    return check_video(
        video,
        transcript=(speaker.text or speaker.transcript) if alone else None,
        phones=known_phones(folder, 0, part) if alone else None,
        options=CheckOptions(language=speaker.language, face=faces[0] if faces else 0),
        tick=reporter.tick,
    ).as_dict()


def _source(work: Work) -> DigitalSource:
    """Return how the video came about: an engine with weights made every pixel anew."""
    return DigitalSource.GENERATED if work.engine.spec.weights else DigitalSource.ANIMATED


def _commit_all(
    work: Work, folder: Folder, reporter: Reporter, committed: Callable[[], None], items: Items
) -> None:
    """Encode chunks into the planned segments and commit each as soon as it is whole."""
    width, height = work.view.size
    for planned in work.plan.segments[len(folder.segments) :]:
        run = _Run(items, planned, folder)
        file = folder.path / ".segment.partial.mp4"
        frames = (fit.resize_frames(chunk, width, height) for chunk in run)
        segments.encode(frames, file, work.plan.fps, width, height)
        if run.frames != planned:
            return  # the engine ended early; the caller counts
        folder.commit_segment(file, run.frames, run.state)
        reporter.committed(len(folder.segments))
        committed()


class _Run:
    """The chunks of one segment: an iterator of frames that remembers where it ended."""

    def __init__(self, items: Items, planned: int, folder: Folder) -> None:
        self.frames = 0
        self.state: Mapping[str, Any] = {}
        self._items = items
        self._planned = planned
        self._folder = folder

    def __iter__(self) -> Iterator[Frames]:
        while self.frames < self._planned and (item := next(self._items, None)) is not None:
            if isinstance(item, Checkpoint):
                # inside a begun segment a checkpoint would lose the frames before it
                if not self.frames:
                    self._folder.commit_checkpoint(item.state)
                continue
            self.frames += len(item.frames)
            self.state = item.state
            yield item.frames
