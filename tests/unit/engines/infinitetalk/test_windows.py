import subprocess
import sys

import pytest

from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models.windows import Window


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (81, 1), (82, 2), (153, 2), (154, 3)])
def test_as_many_windows_as_needed(frames: int, count: int) -> None:
    windows = plan_windows(frames)
    assert len(windows) == count
    assert [window.start for window in windows] == [72 * index for index in range(count)]
    assert {window.size for window in windows} == {81}


@pytest.mark.parametrize(("size", "overlap"), [(81, 9), (17, 5), (81, 25), (13, 1)])
@pytest.mark.parametrize("shrink", [False, True])
def test_windows_make_every_frame_once(size: int, overlap: int, shrink: bool) -> None:
    for frames in range(1, 3 * size):
        windows = plan_windows(frames, size, overlap, shrink=shrink)
        made: list[int] = []
        for window in windows:
            assert window.start + window.seen == len(made)
            assert window.seen + window.fresh <= window.size <= size
            assert window.size % 4 == 1
            assert window.fresh > 0
            made += range(window.start + window.seen, window.start + window.seen + window.fresh)
        assert made == list(range(frames))


def test_a_last_window_can_be_short() -> None:
    assert plan_windows(100, shrink=True)[-1] == Window(72, 29, 9, 19)
    assert plan_windows(1, shrink=True)[-1] == Window(0, 5, 0, 1)


def test_planning_needs_no_torch() -> None:
    modules = "talkhead.engines.infinitetalk.windows", "talkhead.engines.infinitetalk.options"
    script = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
