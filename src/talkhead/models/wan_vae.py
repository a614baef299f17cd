"""Pictures to latents and back with Wan 2.1's VAE, a few frames at a time.

The VAE is causal: its convolutions over time carry what they saw of earlier frames, so that pieces
in order give the numbers of the whole. A first piece is one frame, every further one four; each is
one latent frame. Work goes on where the model is, in its dtype; what comes out is float32.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from numpy.typing import NDArray
from torch import Tensor, nn

from talkhead.models.vae_sizes import RATIO, STRIDE, Tiles


class Tile(NamedTuple):
    """One rectangle, and how much each of its output's pixels counts."""

    rows: slice  # in latent pixels
    columns: slice
    weight: Tensor  # f32 (rows * scale, columns * scale); sums to 1 over all tiles

    def of(self, tensor: Tensor, scale: int) -> Tensor:
        """Return the view of (..., h * scale, w * scale) that the tile covers."""
        rows = slice(self.rows.start * scale, self.rows.stop * scale)
        columns = slice(self.columns.start * scale, self.columns.stop * scale)
        return tensor[..., rows, columns]


def encode(
    model: AutoencoderKLWan, video: Tensor, frames: int | None = None, tiles: Tiles | None = None
) -> Tensor:
    """Return f32 (z, 1 + (frames - 1) / 4, h / 8, w / 8): the normalised mean of the latents.

    `video` is (3, n, h, w) in -1..1, both sides multiples of 8; with `frames` it goes on in mid
    grey up to that many. Raises ValueError where they are not 4k + 1, as the last of them would be
    left out.
    """
    frames = frames or video.shape[1]
    if frames % STRIDE != 1 or video.shape[1] > frames:
        raise ValueError(f"the VAE takes 4k + 1 frames, not {video.shape[1]} of {frames}")
    if tiles is None:
        return _normalised(model, _encoded(model, video, frames))
    height, width = video.shape[2] // RATIO, video.shape[3] // RATIO
    count = 1 + (frames - 1) // STRIDE
    whole = torch.zeros(_channels(model), count, height, width, device=_device(model))
    for tile in plan_tiles(tiles, height, width):
        part = _encoded(model, tile.of(video, RATIO), frames)
        tile.of(whole, 1).add_(part * tile.weight.to(part.device))
    return _normalised(model, whole)


def decode(
    model: AutoencoderKLWan, latents: Tensor, tiles: Tiles | None = None
) -> Iterator[Tensor]:
    """Yield the frames of normalised latents (z, t, h, w), in order, in -1..1.

    First f32 (3, 1, 8h, 8w), then (3, 4, 8h, 8w) for each further latent frame, as each is made;
    with tiles all frames are made before the first is yielded, and are held in float32.
    """
    raw = _raw(model, latents)
    if tiles is None:
        for piece in _decoded(model, raw):
            yield piece.clamp(-1, 1)
        return
    whole = _decoded_in_tiles(model, raw, tiles).clamp_(-1, 1)
    yield from torch.split(whole, [1] + [STRIDE] * (raw.shape[2] - 1), dim=1)


class Stills:
    """The condition of pictures that stand still, encoded once; the last few are kept."""

    def __init__(self, model: AutoencoderKLWan, size: int = 4) -> None:
        self.model = model
        self.size = size
        self.kept: OrderedDict[str, Tensor] = OrderedDict()

    def encode(self, picture: Tensor, frames: int, tiles: Tiles | None = None) -> Tensor:
        """Return `encode` of (3, h, w) in -1..1 followed by grey; not to be written to."""
        key = _content(picture, frames, tiles)
        if key not in self.kept:
            self.kept[key] = encode(self.model, picture[:, None], frames, tiles)
        self.kept.move_to_end(key)
        while len(self.kept) > self.size:
            self.kept.popitem(last=False)
        return self.kept[key]


def pixels(picture: NDArray[np.uint8]) -> Tensor:
    """Return f32 (3, height, width) in -1..1 of a picture (height, width, 3)."""
    return torch.tensor(picture).permute(2, 0, 1).float() / 127.5 - 1


def levels(frames: Tensor) -> NDArray[np.uint8]:
    """Return uint8 (n, h, w, 3) of frames f32 (n, 3, h, w) in 0..1, rounded."""
    whole = (frames * 255).round().clamp(0, 255).to(torch.uint8)
    made: NDArray[np.uint8] = whole.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return made


def channels_last(model: nn.Module) -> None:
    """Lay out the weights of all convolutions as tensor cores like them; results stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last_3d)
        elif isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.to(memory_format=torch.channels_last)


def plan_tiles(tiles: Tiles, height: int, width: int, scale: int = 1) -> list[Tile]:
    """Return the tiles of a latent picture, weighed for an output `scale` times as large."""
    rows = _spans(height, tiles.height, tiles.row_step)
    columns = _spans(width, tiles.width, tiles.column_step)
    fade_rows = (tiles.height - tiles.row_step) * scale
    fade_columns = (tiles.width - tiles.column_step) * scale
    total = torch.zeros(height * scale, width * scale)
    planned = []
    for row in rows:
        down = _ramp(row, height, scale, fade_rows)
        for column in columns:
            across = _ramp(column, width, scale, fade_columns)
            tile = Tile(row, column, torch.minimum(down[:, None], across))
            tile.of(total, scale).add_(tile.weight)
            planned.append(tile)
    return [tile._replace(weight=tile.weight / tile.of(total, scale)) for tile in planned]


def _spans(length: int, size: int, step: int) -> list[slice]:
    """Return pieces that cover a length; the last may be shorter, but ends nothing twice."""
    starts = [
        start for start in range(0, length, step) if start == 0 or start + size - step < length
    ]
    return [slice(start, min(start + size, length)) for start in starts]


def _ramp(span: slice, length: int, scale: int, fade: int) -> Tensor:
    """Return f32 weights along one side: rising and falling where another tile overlaps."""
    count = (span.stop - span.start) * scale
    weights = torch.ones(count)
    rise = torch.arange(1, fade + 1) / max(fade, 1)
    if span.start > 0:
        weights[:fade] = rise
    if span.stop < length:
        weights[count - fade :] = rise.flip(0)
    return weights


def _encoded(model: Any, video: Tensor, frames: int) -> Tensor:
    """Return f32 (z, t, h, w): the mean before normalising, of a video that ends in grey."""
    carried: list[Tensor | None] = [None] * _convolutions(model.encoder)
    made = []
    with torch.no_grad():
        for piece in _pieces(video, frames):
            given = piece[None].to(_device(model), model.dtype)
            hidden = model.encoder(given, feat_cache=carried, feat_idx=[0])
            made.append(model.quant_conv(hidden).chunk(2, dim=1)[0])  # (1, z, 1, h, w)
    return torch.cat(made, dim=2)[0].float()


def _pieces(video: Tensor, frames: int) -> Iterator[Tensor]:
    """Yield (3, 1, h, w), then (3, 4, h, w) until there are enough frames, grey after the last."""
    yield video[:, :1]
    for start in range(1, frames, STRIDE):
        piece = video[:, start : start + STRIDE]
        grey = piece.new_zeros(3, STRIDE - piece.shape[1], *video.shape[2:])
        yield torch.cat([piece, grey], dim=1)


def _decoded(model: Any, raw: Tensor) -> Iterator[Tensor]:
    """Yield f32 (3, 1 or 4, 8h, 8w) for each latent frame of (1, z, t, h, w)."""
    carried: list[Tensor | None] = [None] * _convolutions(model.decoder)
    for index in range(raw.shape[2]):
        with torch.no_grad():
            hidden = model.post_quant_conv(raw[:, :, index : index + 1])
            made = model.decoder(hidden, feat_cache=carried, feat_idx=[0], first_chunk=index == 0)
        yield made[0].float()


def _decoded_in_tiles(model: AutoencoderKLWan, raw: Tensor, tiles: Tiles) -> Tensor:
    """Return f32 (3, n, 8h, 8w), unclamped."""
    _, _, count, height, width = raw.shape
    frames = 1 + STRIDE * (count - 1)
    whole = torch.zeros(3, frames, height * RATIO, width * RATIO, device=raw.device)
    for tile in plan_tiles(tiles, height, width, RATIO):
        weight, start = tile.weight.to(raw.device), 0
        for piece in _decoded(model, tile.of(raw, 1)):
            stop = start + piece.shape[1]
            tile.of(whole[:, start:stop], RATIO).add_(piece * weight)
            start = stop
    return whole


def _normalised(model: AutoencoderKLWan, latents: Tensor) -> Tensor:
    mean, std = _statistics(model, latents.device)
    return (latents - mean) / std


def _raw(model: Any, latents: Tensor) -> Tensor:
    """Return (1, z, t, h, w) as the decoder takes it."""
    mean, std = _statistics(model, _device(model))
    latents = latents.to(_device(model), torch.float32)
    raw: Tensor = (latents * std + mean)[None].to(model.dtype)
    return raw


def _statistics(model: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the latents' channels, each f32 (z, 1, 1, 1)."""
    mean = torch.tensor(model.config.latents_mean, device=device)
    std = torch.tensor(model.config.latents_std, device=device)
    return mean[:, None, None, None], std[:, None, None, None]


def _convolutions(module: nn.Module) -> int:
    """Return how many places there are for what is carried from piece to piece."""
    return sum(isinstance(part, WanCausalConv3d) for part in module.modules())


def _device(model: Any) -> torch.device:
    device: torch.device = model.post_quant_conv.weight.device
    return device


def _channels(model: Any) -> int:
    return int(model.config.z_dim)


def _content(picture: Tensor, frames: int, tiles: Tiles | None) -> str:
    """Return a name of what is to be encoded, the same for the same pixels."""
    pixels = picture.detach().cpu().contiguous()
    digest = hashlib.sha256(pixels.view(torch.uint8).numpy().data)
    digest.update(repr((tuple(pixels.shape), pixels.dtype, frames, tiles)).encode())
    return digest.hexdigest()
