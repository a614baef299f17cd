"""Wan 2.1's VAE in numbers: steps, tiles, the memory it takes. Loads no torch."""

from dataclasses import dataclass

STRIDE = 4  # frames to a latent frame, but for the first
RATIO = 8  # pixels to a latent pixel, on both sides
# Numbers held at once for each pixel while the published VAE (96 channels) decodes; encoding holds
# three quarters of that. Counted on tensors without data; what a convolution takes besides is not.
NUMBERS_HELD = 5100


def whole_latents(frames: int) -> int:
    """Return frames that fill latent frames, 4n + 1; raises ValueError for others."""
    if frames % STRIDE != 1:
        near = max(1, round((frames - 1) / STRIDE) * STRIDE + 1)
        raise ValueError(f"1 more than a multiple of {STRIDE}, such as {near}")
    return frames


@dataclass(frozen=True, slots=True)
class Tiles:
    """Overlapping rectangles to work on one after the other, in latent pixels (8 of a picture).

    Memory goes down to that of one tile; the result is near to the whole picture's, not the same,
    as a tile does not see beyond its edges. Tiles fade into each other over their overlap, linearly
    (as DiffSynth-Studio does it, which OmniAvatar's official code uses).
    """

    height: int = 32
    width: int = 32
    row_step: int = 24
    column_step: int = 24

    def __post_init__(self) -> None:
        if not (0 < self.row_step <= self.height and 0 < self.column_step <= self.width):
            raise ValueError(f"tiles would leave gaps: {self}")


def decoding_bytes(
    height: int, width: int, frames: int, itemsize: int, tiles: Tiles | None = None
) -> int:
    """Return the peak of memory that decoding takes with the published VAE, without its weights.

    `itemsize` is the bytes of a number of its dtype, 2 of bfloat16. At 480x832 in bfloat16
    3.8 GiB, at 720x1280 8.8 GiB; with default tiles 1.0 and 1.5 GiB.
    """
    if tiles is None:
        return height * width * NUMBERS_HELD * itemsize
    rows, columns = min(height, RATIO * tiles.height), min(width, RATIO * tiles.width)
    whole = 3 * frames * height * width * 4
    return whole + rows * columns * NUMBERS_HELD * itemsize
