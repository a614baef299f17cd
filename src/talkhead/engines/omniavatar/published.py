"""Sizes of the published networks, and what a job asks of them. Loads no torch."""

from collections.abc import Sequence

from talkhead.models.estimates import Load, Network
from talkhead.models.windows import Window

MATRICES = 6  # in a block: self-attention 4, text 2
TEXT_DIM = 4096


def _network(dim: int, layers: int, ffn: int, heads: int) -> Network:
    """Return a network's sizes: square matrices of a block, 2 more for text, feed-forward."""
    block = 6 * dim**2 + 2 * dim * ffn
    streamed = layers * (block + 2 * dim**2)
    ends = dim * (TEXT_DIM + dim) + 7 * dim**2  # text, time
    return Network(
        dim=dim,
        layers=layers,
        ffn=ffn,
        heads=heads,
        parameters=streamed + ends,
        streamed=streamed,
        block=block,
        matrices=MATRICES,
    )


NETWORKS = {"14B": _network(5120, 40, 13824, 40), "1.3B": _network(1536, 30, 8960, 12)}


def load_for(windows: Sequence[Window], size: tuple[int, int], steps: int, passes: int) -> Load:
    """Return what chunks of a size (width, height) ask of the network."""
    frames = tuple(window.size for window in windows)
    return Load(frames, size[0], size[1], steps, passes)
