"""How a video is cut into chunks: which frames each shows, makes and leaves to the next.

OmniAvatar (arXiv 2506.18866; official code commit 1536bf3). Frames are counted by the speech: frame
i hears the i-th 25th of a second. The official videos have one more before them, the still itself,
so that sound comes 40 ms late; ours begin with frame 0. Plain numbers, without torch.
"""

from collections.abc import Sequence

from talkhead.models.windows import Window, shortened

FPS = 25
OVERLAP = 13
STILL = -1  # the frame that shows the picture as it is given, before any speech


def plan_windows(
    frames: int,
    size: int,
    overlap: int = OVERLAP,
    *,
    keep_still: bool = False,
    shrink: bool = False,
) -> tuple[Window, ...]:
    """Return the chunks that make `frames` frames, each going on from the one before.

    `size` and `overlap` are 4n + 1, the latter smaller. The first chunk begins with the still,
    which it has seen; with `keep_still` that is wanted, so that the chunks yield `frames` + 1 in
    all. Either way the first max(1, seen) frames of a chunk are known when it is made. With
    `shrink` the last one is as short as it can be.
    """
    windows: list[Window] = []
    made = STILL if keep_still else STILL + 1
    while made < frames:
        start = made - overlap if windows else STILL
        seen = made - start
        fresh = min(size - seen, frames - made)
        windows.append(Window(start, size, seen, fresh))
        made += fresh
    return shortened(windows) if shrink else tuple(windows)


def padded_frames(windows: Sequence[Window]) -> int:
    """Return how many frames of speech the chunks hear: to so many the track goes on in silence."""
    return windows[-1].start + windows[-1].size
