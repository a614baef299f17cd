"""How a video is cut into windows: which frames each shows, makes and leaves to the next.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). Plain numbers, so that a
job is planned without loading torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

FPS = 25
FRAMES_PER_LATENT = 4  # after the first frame, which has a latent of its own
WINDOW = 81
OVERLAP = 9


@dataclass(frozen=True, slots=True)
class Window:
    """What the network makes at once: `size` frames, of which `fresh` are new and wanted."""

    start: int  # the video's frame at which it begins
    size: int  # 4n + 1
    seen: int  # frames at its beginning that the window before made
    fresh: int  # frames after those; what follows them is cut off


def plan_windows(
    frames: int, size: int = WINDOW, overlap: int = OVERLAP, *, shrink: bool = False
) -> tuple[Window, ...]:
    """Return the windows that make `frames` frames, each going on from the one before.

    `size` and `overlap` are 4n + 1. With `shrink` the last one is as short as it can be, which the
    official code never does: a little off what the network was trained on, and much faster.
    """
    windows: list[Window] = []
    made = 0
    while made < frames:
        seen = overlap if windows else 0
        fresh = min(size - seen, frames - made)
        windows.append(Window(made - seen, size, seen, fresh))
        made += fresh
    if shrink:
        last = windows[-1]
        latents = max(1, ceil((last.seen + last.fresh - 1) / FRAMES_PER_LATENT))
        windows[-1] = replace(last, size=1 + FRAMES_PER_LATENT * latents)
    return tuple(windows)


def chunks(windows: Sequence[Window]) -> tuple[int, ...]:
    """Return how many new frames each window yields: what segments are cut along."""
    return tuple(window.fresh for window in windows)
