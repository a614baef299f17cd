"""Frames to a finished file: segments are encoded while the next frames are made, then joined."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from talkhead.deliver import Ready, main_name
from talkhead.engines import Checkpoint, Chunk, Frames
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder
from talkhead.media import fit, segments, soundtrack
from talkhead.media.facts import video_facts
from talkhead.report import Reporter
from talkhead.survey import Work

Items = Iterator[Chunk | Checkpoint]


def render_segments(
    work: Work, prepared: Mapping[str, Any], folder: Folder, reporter: Reporter
) -> None:
    """Make and commit every segment that the folder does not hold yet.

    The engine works on this thread; encoding and committing run on another, a few chunks behind.
    """
    plan = work.plan
    done = sum(segment.frames for segment in folder.segments)
    reporter.resumed(len(folder.segments), done)
    if done < plan.frames:
        items = work.engine.generate(prepared, plan, reporter.tick, folder.state)
        segments.pump(items, partial(_commit_all, work, folder, reporter))
    done = sum(segment.frames for segment in folder.segments)
    if done != plan.frames:
        raise TalkheadError(
            Code.GENERATION,
            f"{plan.engine} made {done} frames where it had planned {plan.frames}",
            "please report this",
        )


def assemble(work: Work, sounds: Sequence[Path], folder: Folder) -> list[Ready]:
    """Join the segments and the speakers' own sound into the final MP4; add a thumbnail."""
    ...


def _commit_all(work: Work, folder: Folder, reporter: Reporter, items: Items) -> None:
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
