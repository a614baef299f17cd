"""Sizes of the published network, and what a job asks of it. Loads no torch."""

from collections.abc import Sequence

from talkhead.models.estimates import Load, Network
from talkhead.models.windows import Window

IMAGE, SOUND = 257, 32  # tokens that every token attends to; of sound, for each speaker
MATRICES = 8  # in a block: self-attention 4, text and image 2, sound 2
NETWORK = Network(
    dim=5120,
    layers=40,
    ffn=13824,
    heads=40,
    parameters=18_880_000_000,
    streamed=18_560_000_000,
    block=351_000_000,
    matrices=MATRICES,
)


def load_for(
    windows: Sequence[Window], size: tuple[int, int], steps: int, passes: int, speakers: int = 1
) -> Load:
    """Return what windows of a size (width, height) ask of the network."""
    return Load(
        windows=tuple(window.size for window in windows),
        width=size[0],
        height=size[1],
        steps=steps,
        passes=passes,
        image=IMAGE,
        sound=SOUND * speakers,
        folded=speakers == 1,
    )
