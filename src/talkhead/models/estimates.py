"""What a job of a Wan 2.1 model will take, by arithmetic on its sizes. Loads no torch.

Held against measurements by benchmarks/infinitetalk_h200.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from talkhead.models.vae_sizes import Tiles, decoding_bytes
from talkhead.models.windows import latent_frames

PIXELS_PER_TOKEN = 16  # each way
TEXT = 512  # tokens that every token attends to
# Numbers held for each token and channel (stream, queries, keys, values, feed-forward), measured on
# an H200, and likewise where blocks are compiled and while they listen to one speaker.
STREAM, COMPILED_STREAM, LISTENING = 13, 10, 5
VAE_FLOPS = 13.7e6  # per pixel and frame, encoding and decoding
VAE_PARAMETERS, VAE_WORKSPACE = 127e6, 0.7e9  # the latter in bytes
# Floating point operations a second: an H100 at 55 percent of its bfloat16 peak; a desktop's CPU.
RATES = {"cuda": 540e12, "cpu": 2e11}
LOADING_RATE = 1e9  # bytes a second
OVERHEAD = 0.7e9  # bytes that CUDA and its libraries take for themselves


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of a transformer's weights as they are kept."""

    whole: int
    streamed: int  # of those, the ones that may wait in main memory
    block: int  # of those, the ones of one block


@dataclass(frozen=True, slots=True)
class Network:
    """Sizes of a transformer and its encoder of text."""

    dim: int
    layers: int
    ffn: int
    heads: int
    parameters: int
    streamed: int  # of those, the ones that may wait in main memory
    block: int  # of those, the ones of one block
    # Square matrices that every token passes in a block: self-attention 4, each other kind 2.
    matrices: int
    encoder: int = 5_680_000_000  # of the encoder of text, which is loaded before and alone
    held: Held | None = None  # None: each parameter is a number of the dtype that is computed in
    compiled: bool = False

    def weights(self, itemsize: int) -> Held:
        """Return the bytes of its weights, `itemsize` for each number that is not quantised."""
        return self.held or Held(
            self.parameters * itemsize, self.streamed * itemsize, self.block * itemsize
        )

    def quantised(self, itemsize: int) -> "Network":
        """Return the same with the weights that may be quantised in 8 bits each."""
        rest = self.parameters - self.streamed
        held = Held(rest * itemsize + self.streamed, self.streamed, self.block)
        return replace(self, held=held)

    def pass_flops(self, tokens: float, others: int = TEXT) -> float:
        """Return the floating point operations of one pass over so many tokens.

        `others` are the tokens that each attends to beside those.
        """
        projections = self.matrices * self.dim**2 + 2 * self.dim * self.ffn
        attention = 2 * self.dim * (tokens + others)  # queries by keys, and weights by values
        return 2 * self.layers * tokens * (projections + attention)


@dataclass(frozen=True, slots=True)
class Load:
    """What one job asks of the network."""

    windows: tuple[int, ...]  # frames of each
    width: int
    height: int
    steps: int
    passes: int
    cached_steps: bool = False  # TeaCache keeps what the blocks changed
    image: int = 0  # tokens that every token attends to beside those of text
    sound: int = 0  # likewise, of every latent frame for itself
    folded: bool = False  # keys of sound are made as wide as the network, for every head

    @property
    def pixels(self) -> int:
        """Return the pixels of a frame."""
        return self.width * self.height

    def tokens(self, frames: int) -> int:
        """Return the tokens of a window of so many frames."""
        return latent_frames(frames) * self.pixels // PIXELS_PER_TOKEN**2

    @property
    def longest(self) -> int:
        """Return the frames of the longest window."""
        return max(self.windows)

    @property
    def others(self) -> int:
        """Return the tokens that each attends to beside the video's own."""
        return TEXT + self.image + self.sound


@dataclass(frozen=True, slots=True)
class Layout:
    """How the network is fitted into memory."""

    offload: bool = False  # blocks wait in main memory
    tiles: bool = False  # the VAE works in tiles

    def __str__(self) -> str:
        parts = ("memory.offload=block", self.offload), ("options.vae_tiling=true", self.tiles)
        return " with ".join(name for name, on in parts if on) or "all of it there"


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes at the highest point."""

    device: int
    host: int  # besides, where the device is not the host


def seconds(load: Load, network: Network, device: str, itemsize: int) -> float:
    """Return how long a job takes on a device of that type, loading included."""
    work = sum(
        load.steps * load.passes * network.pass_flops(load.tokens(frames), load.others)
        + VAE_FLOPS * load.pixels * frames
        for frames in load.windows
    )
    return network.weights(itemsize).whole / LOADING_RATE + work / RATES[device]


def peak(load: Load, network: Network, layout: Layout, itemsize: int) -> Peak:
    """Return the memory that a job takes at its peak, in numbers of `itemsize` bytes.

    The encoder of text may need more than the rest; it is gone before the network is loaded.
    """
    held = network.weights(itemsize)
    resident, waiting = held.whole, 0
    if layout.offload:  # two blocks at a time, and none while the VAE works
        resident, waiting = held.whole - held.streamed, 2 * held.block
    if network.held is not None:  # the largest matrix, made whole
        waiting += network.dim * network.ffn * (4 + itemsize)
    stream = _stream(load, network)
    vae = VAE_WORKSPACE + decoding_bytes(
        load.height, load.width, load.longest, itemsize, Tiles() if layout.tiles else None
    )
    kept = resident + (VAE_PARAMETERS + _keys(load, network)) * itemsize
    making = kept + max(waiting + stream * itemsize, vae)
    encoding = network.encoder * itemsize
    host = held.streamed if layout.offload else 0
    return Peak(int(OVERHEAD + max(making, encoding)), host)


def _stream(load: Load, network: Network) -> int:
    """Return the numbers that are held while a block computes, beside its weights."""
    values = load.tokens(load.longest) * network.dim
    stream = (COMPILED_STREAM if network.compiled else STREAM) * values
    if load.folded:  # keys or values of sound in every head, and once more in order
        folded = latent_frames(load.longest) * load.sound * network.heads * network.dim
        stream = max(stream, LISTENING * values + 2 * folded)
    return stream + (load.passes * values if load.cached_steps else 0)


def _keys(load: Load, network: Network) -> int:
    """Return the numbers in keys and values of text, image and sound, all layers."""
    heard = load.sound * latent_frames(load.longest)
    told = (2 if load.passes > 1 else 1) * TEXT + load.image + heard
    return 2 * told * network.dim * network.layers


def smaller(width: int, height: int, multiple: int, least: int) -> Sequence[tuple[int, int]]:
    """Return sizes of about the same aspect, each smaller than the one before."""
    found: list[tuple[int, int]] = []
    for percent in range(90, 10, -10):
        sides = [max(least, ceil(side * percent / 100 / multiple) * multiple)
                 for side in (width, height)]  # fmt: skip
        size = sides[0], sides[1]
        if size not in found and size[0] * size[1] < width * height:
            found.append(size)
    return found
