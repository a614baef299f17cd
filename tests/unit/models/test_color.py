import pytest
import torch

from talkhead.models import color
from talkhead.models.color import color_stats, match_color


def frames(count: int, low: float = 0.3, high: float = 0.7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return low + (high - low) * torch.rand(count, 3, 24, 20, generator=generator)


def test_a_frame_matches_itself() -> None:
    frame = frames(1, 0, 1)
    torch.testing.assert_close(match_color(frame, color_stats(frame[0]), 1.0), frame)


def test_frames_take_the_references_statistics() -> None:
    wanted = color_stats(frames(1)[0])
    tinted = frames(3) * torch.tensor([0.9, 0.8, 1.0]).view(3, 1, 1)
    for frame in match_color(tinted, wanted, 1.0):
        found = color_stats(frame)
        torch.testing.assert_close(found.mean, wanted.mean, atol=1e-2, rtol=0)
        torch.testing.assert_close(found.std, wanted.std, atol=1e-2, rtol=0)


def test_strength_blends() -> None:
    given, stats = frames(2), color_stats(frames(1, 0.1, 0.4)[0])
    whole, half = match_color(given, stats, 1.0), match_color(given, stats, 0.5)
    torch.testing.assert_close(half, (given + whole) / 2)
    assert match_color(given, stats, 0.0) is given


def test_a_flat_frame_takes_the_references_mean() -> None:
    reference = color_stats(frames(1)[0])
    grey = torch.full((1, 3, 24, 20), 0.5)
    found = color_stats(match_color(grey, reference, 1.0)[0])
    torch.testing.assert_close(found.mean, reference.mean, atol=1e-2, rtol=0)
    assert (found.std < 1e-3).all()


def test_grey_pictures_stay_free_of_colour_noise() -> None:
    grey = frames(1)[:, :1].expand(1, 3, 24, 20).contiguous()
    found = match_color(grey, color_stats(frames(1)[0]), 1.0)
    assert color_stats(found[0]).std[1:].max() < 1.0  # a and b of Lab: no rounding blown up


def test_the_result_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    given, stats = frames(5), color_stats(frames(1)[0])
    whole = match_color(given, stats, 1.0)
    monkeypatch.setattr(color, "PIECE", 24 * 20 * 2)
    assert torch.equal(match_color(given, stats, 1.0), whole)


def test_known_colours() -> None:
    """sRGB red, white and black in Lab under D65, from the definition."""
    rgb = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 0, 0]]).T.reshape(1, 3, 1, 3)
    lab = color._lab(rgb)[0, :, 0].T
    wanted = torch.tensor([[53.24, 80.09, 67.20], [100, 0, 0], [0, 0, 0]])
    torch.testing.assert_close(lab, wanted, atol=2e-2, rtol=0)
    torch.testing.assert_close(color._rgb(color._lab(rgb)), rgb, atol=1e-5, rtol=0)
