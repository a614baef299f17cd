import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import pytest

from talkhead.engines.omniavatar.windows import STILL, padded_frames, plan_windows
from talkhead.models.windows import Window, latent_frames

SIZES = [(105, 13), (57, 13), (33, 13), (33, 29), (13, 5), (9, 5), (5, 1)]


def official(frames: int, size: int, overlap: int) -> tuple[int, int]:
    """Return the padded frames and the number of chunks as the official code counts them."""
    rest = size - overlap
    if frames < size - 1:
        frames = size - 1
    elif (frames - (size - 1)) % rest:
        frames += rest - (frames - (size - 1)) % rest
    return frames, 1 + (frames - (size - 1)) // rest


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_as_many_chunks_as_officially(size: int, overlap: int) -> None:
    for frames in range(1, 5 * size):
        for keep_still in (False, True):
            windows = plan_windows(frames, size, overlap, keep_still=keep_still)
            assert (padded_frames(windows), len(windows)) == official(frames, size, overlap)
            # none is made that nobody asked for
            assert len(windows) == 1 or padded_frames(windows[:-1]) < frames


@pytest.mark.parametrize(("size", "overlap"), SIZES)
@pytest.mark.parametrize("keep_still", [False, True])
def test_chunks_make_every_frame_once(size: int, overlap: int, keep_still: bool) -> None:
    for frames in range(1, 4 * size):
        made: list[int] = []
        windows = plan_windows(frames, size, overlap, keep_still=keep_still)
        for window in windows:
            begin = window.start + window.seen
            made += range(begin, begin + window.fresh)
            assert window.fresh > 0
            assert window.seen + window.fresh <= window.size == size
        assert made == list(range(STILL if keep_still else 0, frames))
        assert sum(window.fresh for window in windows) == frames + keep_still
        assert windows[0].start == STILL
        for one, other in pairwise(windows):
            assert other.start == one.start + size - overlap
            assert other.seen == overlap
            assert one.seen + one.fresh == size  # only the last one is cut


def test_the_still_is_dropped_or_kept() -> None:
    assert plan_windows(20, 13, 5) == (Window(-1, 13, 1, 12), Window(7, 13, 5, 8))
    kept = plan_windows(20, 13, 5, keep_still=True)
    assert kept == (Window(-1, 13, 0, 13), Window(7, 13, 5, 8))
    assert plan_windows(1, 13, 5) == (Window(-1, 13, 1, 1),)
    assert plan_windows(1, 13, 5, keep_still=True) == (Window(-1, 13, 0, 2),)


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_a_short_tail_is_as_long_as_it_has_to_be(size: int, overlap: int) -> None:
    for frames in range(1, 4 * size):
        for keep_still in (False, True):
            whole = plan_windows(frames, size, overlap, keep_still=keep_still)
            *before, last = plan_windows(frames, size, overlap, keep_still=keep_still, shrink=True)
            assert tuple(before) == whole[:-1]
            assert replace(last, size=size) == whole[-1]
            assert 5 <= last.size <= size
            assert last.size % 4 == 1
            assert 0 <= last.size - last.seen - last.fresh < 4
    assert plan_windows(25, 105, shrink=True) == (Window(-1, 29, 1, 25),)
    assert plan_windows(1, 105, keep_still=True, shrink=True) == (Window(-1, 5, 0, 2),)


def test_both_timelines_hear_and_know_the_same() -> None:
    for frames in range(1, 60):
        ours, theirs = (plan_windows(frames, 17, 5, keep_still=kept) for kept in (False, True))
        for one, other in zip(ours, theirs, strict=True):
            assert one.start == other.start
            assert latent_frames(max(1, one.seen)) == latent_frames(max(1, other.seen))


def test_planning_needs_no_torch() -> None:
    names = ("windows", "sizes", "options", "presets", "guidance")
    modules = ", ".join(f"talkhead.engines.omniavatar.{name}" for name in names)
    script = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
