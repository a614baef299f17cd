"""What a video network makes at once, in frames and in latent frames. Loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from talkhead.models.vae_sizes import STRIDE


@dataclass(frozen=True, slots=True)
class Window:
    """What the network makes at once: `size` frames, of which `fresh` are new and wanted."""

    start: int  # the video's frame at which it begins
    size: int  # 4n + 1
    seen: int  # frames at its beginning that are known and not wanted
    fresh: int  # frames after those; what follows them is cut off


def chunks(windows: Sequence[Window]) -> tuple[int, ...]:
    """Return how many new frames each window yields: what segments are cut along."""
    return tuple(window.fresh for window in windows)


def shortened(windows: Sequence[Window]) -> tuple[Window, ...]:
    """Return windows of which the last is only as long as it has to be, 4n + 1 and 5 at least.

    The official codes never do so: a little off what the networks were trained on, and much faster.
    """
    *before, last = windows
    steps = max(1, ceil((last.seen + last.fresh - 1) / STRIDE))
    return (*before, replace(last, size=1 + STRIDE * steps))


def latent_frames(frames: int) -> int:
    """Return how many latent frames hold 4n + 1 frames; what is over is lost."""
    return 1 + (frames - 1) // STRIDE
