from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn

from support import wan
from talkhead.models import wan_vae
from talkhead.models.vae_sizes import Tiles, decoding_bytes
from talkhead.models.wan_vae import Stills

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def model() -> AutoencoderKLWan:
    return wan.vae()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def joined(model: AutoencoderKLWan, latents: Tensor, tiles: Tiles | None = None) -> Tensor:
    return torch.cat(list(wan_vae.decode(model, latents, tiles)), dim=1)


def statistics(model: Any) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(model.config.latents_mean), torch.tensor(model.config.latents_std)
    return mean.view(-1, 1, 1, 1), std.view(-1, 1, 1, 1)


@contextmanager
def calls(module: nn.Module) -> Iterator[list[None]]:
    """Count how often a module runs."""
    made: list[None] = []
    hook = module.register_forward_hook(lambda *_: made.append(None))
    yield made
    hook.remove()


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_encoding_is_that_of_diffusers(model: AutoencoderKLWan, frames: int) -> None:
    video = random(3, frames, HEIGHT, WIDTH)
    mean, std = statistics(model)
    wanted = (model.encode(video[None]).latent_dist.mean[0] - mean) / std
    found = wan_vae.encode(model, video)
    assert found.shape == (16, 1 + (frames - 1) // 4, HEIGHT // 8, WIDTH // 8)
    assert (found - wanted).abs().max() <= 1e-5


def test_decoding_is_that_of_diffusers(model: AutoencoderKLWan) -> None:
    latents = 4 * random(16, 3, 6, 8)
    mean, std = statistics(model)
    wanted = model.decode((latents * std + mean)[None]).sample[0]
    assert (joined(model, latents) - wanted).abs().max() <= 1e-5


def test_frames_come_as_they_are_made(model: AutoencoderKLWan) -> None:
    with calls(model.decoder) as made:
        pieces = wan_vae.decode(model, random(16, 3, 6, 8))
        assert next(pieces).shape == (3, 1, HEIGHT, WIDTH)
        assert len(made) == 1
        assert [piece.shape[1] for piece in pieces] == [4, 4]
    assert torch.is_grad_enabled()


def test_two_at_a_time_do_not_mix(model: AutoencoderKLWan) -> None:
    one, other = random(16, 2, 6, 8, seed=1), random(16, 2, 6, 8, seed=2)
    pairs = list(zip(wan_vae.decode(model, one), wan_vae.decode(model, other), strict=True))
    assert torch.equal(torch.cat([pair[0] for pair in pairs], dim=1), joined(model, one))
    assert torch.equal(torch.cat([pair[1] for pair in pairs], dim=1), joined(model, other))


@pytest.mark.parametrize("given", [1, 3, 5])
def test_grey_after_what_is_given(model: AutoencoderKLWan, given: int) -> None:
    video = random(3, given, HEIGHT, WIDTH)
    grey = torch.zeros(3, 9 - given, HEIGHT, WIDTH)
    wanted = wan_vae.encode(model, torch.cat([video, grey], dim=1))
    assert torch.equal(wan_vae.encode(model, video, 9), wanted)


@pytest.mark.parametrize(("given", "frames"), [(4, None), (1, 8), (9, 5)])
def test_numbers_of_frames_that_do_not_fit(
    model: AutoencoderKLWan, given: int, frames: int | None
) -> None:
    with pytest.raises(ValueError, match="4k"):
        wan_vae.encode(model, random(3, given, 16, 16), frames)


def test_a_still_is_encoded_once(model: AutoencoderKLWan) -> None:
    stills, picture = Stills(model, size=2), random(3, 16, 24)
    with calls(model.encoder) as made:
        first = stills.encode(picture, 5)
        assert torch.equal(first, wan_vae.encode(model, picture[:, None], 5))
        made.clear()
        assert stills.encode(picture.clone(), 5) is first
        assert not made
        stills.encode(picture, 9)
        stills.encode(picture.reshape(3, 24, 16), 5)  # the same pixels in another size
        assert len(made) == 3 + 2
        assert len(stills.kept) == 2
        stills.encode(picture, 5)  # had to go
        assert len(made) == 3 + 2 + 2


def test_the_last_used_still_stays(model: AutoencoderKLWan) -> None:
    stills = Stills(model, size=2)
    one, two, three = (random(3, 16, 16, seed=seed) for seed in range(3))
    kept = stills.encode(one, 1)
    stills.encode(two, 1)
    stills.encode(one, 1)
    stills.encode(three, 1)
    assert stills.encode(one, 1) is kept


def test_one_tile_is_the_whole(model: AutoencoderKLWan) -> None:
    video, latents = random(3, 5, HEIGHT, WIDTH), random(16, 2, 6, 8)
    tiles = Tiles()
    assert torch.equal(wan_vae.encode(model, video, tiles=tiles), wan_vae.encode(model, video))
    assert torch.equal(joined(model, latents, tiles), joined(model, latents))


@pytest.mark.parametrize("size", [(6, 8), (7, 13), (60, 104), (80, 80), (33, 32), (25, 49)])
@pytest.mark.parametrize("tiles", [Tiles(), Tiles(6, 7, 3, 4), Tiles(8, 8, 8, 8)])
def test_tiles_cover_everything_once(size: tuple[int, int], tiles: Tiles) -> None:
    scale = 2
    total = torch.zeros(size[0] * scale, size[1] * scale)
    for tile in wan_vae.plan_tiles(tiles, *size, scale):
        part = tile.of(total, scale)
        assert part.shape == tile.weight.shape
        assert part.shape[0] <= tiles.height * scale
        assert part.shape[1] <= tiles.width * scale
        part.add_(tile.weight)
    assert torch.allclose(total, torch.ones_like(total), atol=1e-6)


@pytest.mark.parametrize("sizes", [(8, 8, 9, 8), (8, 8, 8, 0)])
def test_tiles_without_gaps(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="gaps"):
        Tiles(*sizes)


def test_no_tile_within_another() -> None:
    """A last tile that its neighbour covers would be seen with too little around it."""
    for length in range(1, 200):
        ends = [span.rows.stop for span in wan_vae.plan_tiles(Tiles(), length, 1)]
        assert ends == sorted(set(ends))
        assert ends[-1] == length


def test_tiles_are_near_to_the_whole(model: AutoencoderKLWan) -> None:
    """At edges a tile lacks what lies beyond, all over it its attention sees less: near, no more.

    Measured with random weights at 480x832 with tiles of 32, 24 apart: decoded frames 0.006 off on
    average of a spread of 0.28, and 0.19 at most; diffusers' own tiling is just as far off.
    """
    tiles = Tiles(8, 8, 5, 5)
    video, latents = random(3, 5, 80, 96), random(16, 2, 10, 12)
    for whole, tiled in (
        (joined(model, latents), joined(model, latents, tiles)),
        (wan_vae.encode(model, video), wan_vae.encode(model, video, tiles=tiles)),
    ):
        assert whole.shape == tiled.shape
        assert (whole - tiled).abs().mean() <= 0.1 * whole.std()
    with calls(model.decoder) as made:
        assert [piece.shape[1] for piece in wan_vae.decode(model, latents, tiles)] == [1, 4]
    assert len(made) == 2 * 2 * 2  # rows, columns, latent frames


def test_layout_of_memory_changes_no_result() -> None:
    plain, laid_out = wan.vae(), wan.vae()
    wan_vae.channels_last(laid_out)
    weight = laid_out.decoder.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert (
        laid_out.decoder.up_blocks[0]
        .upsamplers[0]
        .resample[1]
        .weight.is_contiguous(memory_format=torch.channels_last)
    )
    latents, video = random(16, 2, 6, 8), random(3, 5, HEIGHT, WIDTH)
    assert (joined(plain, latents) - joined(laid_out, latents)).abs().max() <= 1e-5
    there, here = wan_vae.encode(laid_out, video), wan_vae.encode(plain, video)
    assert (there - here).abs().max() <= 1e-5


def test_bfloat16(model: AutoencoderKLWan) -> None:
    half = wan.vae().bfloat16()
    video, latents = random(3, 5, HEIGHT, WIDTH), random(16, 2, 6, 8)
    for wanted, found in (
        (joined(model, latents), joined(half, latents)),
        (wan_vae.encode(model, video), wan_vae.encode(half, video)),
    ):
        assert found.dtype == torch.float32
        assert (wanted - found).norm() <= 4e-2 * wanted.norm()  # 40 layers of 8 bits


def test_memory_of_the_published_vae() -> None:
    def gib(*size: int, tiles: Tiles | None = None) -> float:
        return decoding_bytes(*size, 81, 2, tiles) / 2**30

    assert gib(480, 832) == pytest.approx(3.8, abs=0.05)
    assert gib(720, 1280) == pytest.approx(8.8, abs=0.05)
    assert gib(480, 832, tiles=Tiles()) == pytest.approx(1.0, abs=0.05)
    assert gib(720, 1280, tiles=Tiles()) == pytest.approx(1.5, abs=0.05)
    whole = decoding_bytes(480, 832, 81, 4)
    assert whole == 2 * decoding_bytes(480, 832, 81, 2)


def test_the_ratio_is_the_models(model: Any) -> None:
    assert model.config.scale_factor_spatial == wan_vae.RATIO
    assert model.config.scale_factor_temporal == wan_vae.STRIDE
