"""How a video is cut into windows: which frames each shows, makes and leaves to the next.

InfiniteTalk (MeiGen-AI, arXiv 2508.14033; official code commit 0107cd9). Plain numbers, so that a
job is planned without loading torch.
"""

from talkhead.models.windows import Window, shortened

FPS = 25
WINDOW = 81
OVERLAP = 9


def plan_windows(
    frames: int, size: int = WINDOW, overlap: int = OVERLAP, *, shrink: bool = False
) -> tuple[Window, ...]:
    """Return the windows that make `frames` frames, each going on from the one before.

    `size` and `overlap` are 4n + 1. With `shrink` the last one is as short as it can be.
    """
    windows: list[Window] = []
    made = 0
    while made < frames:
        seen = overlap if windows else 0
        fresh = min(size - seen, frames - made)
        windows.append(Window(made - seen, size, seen, fresh))
        made += fresh
    return shortened(windows) if shrink else tuple(windows)
