"""What a job will take, by arithmetic on the published network's sizes. Not measured yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from talkhead.engines.infinitetalk.windows import Window, latent_frames

DIM, LAYERS, FFN = 5120, 40, 13824
PIXELS_PER_TOKEN = 16  # each way
OTHER_TOKENS = 512 + 257 + 32  # text, image and sound, which every token attends to
# Multiply-adds per token and layer: self-attention 4, text and image 2, sound 2, feed-forward.
PROJECTIONS = 8 * DIM * DIM + 2 * DIM * FFN
VAE_FLOPS = 13.7e6  # per pixel and frame, encoding and decoding
RATE = 540e12  # floating point operations a second: an H100 at 55 percent of its bfloat16 peak
LOADING_SECONDS = 60.0
WEIGHTS_BYTES = 18.9e9 * 2  # bfloat16
KEYS_BYTES = 2.3e9  # of text, image and sound, all layers
STREAM_BYTES = 14 * DIM * 2  # per token: the stream, queries, keys, values, feed-forward
VAE_BYTES = 6_000  # per pixel: a piece of four frames in the decoder


@dataclass(frozen=True, slots=True)
class Cost:
    """Estimates for one job."""

    seconds: float
    memory_bytes: int  # of the GPU, at its peak


def cost(windows: Sequence[Window], width: int, height: int, steps: int, passes: int) -> Cost:
    """Return what these windows of so many pixels take, on an H100."""
    pixels = width * height
    tokens = [latent_frames(window.size) * pixels / PIXELS_PER_TOKEN**2 for window in windows]
    work = sum(steps * passes * pass_flops(count) for count in tokens)
    work += sum(VAE_FLOPS * pixels * window.size for window in windows)
    peak = WEIGHTS_BYTES + KEYS_BYTES + max(STREAM_BYTES * max(tokens), VAE_BYTES * pixels)
    return Cost(LOADING_SECONDS + work / RATE, int(peak))


def pass_flops(tokens: float) -> float:
    """Return the floating point operations of one pass over so many tokens."""
    attention = 2 * DIM * (tokens + OTHER_TOKENS)  # queries by keys, and weights by values
    return 2 * LAYERS * tokens * (PROJECTIONS + attention)
