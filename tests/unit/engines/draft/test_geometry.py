import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from talkhead.engines.draft.geometry import (
    Axes,
    Fold,
    Patch,
    Span,
    colours,
    follow,
    monotone,
    sample,
    smoothstep,
    transform,
)


def test_monotone_goes_through_its_points() -> None:
    x, y = [0.0, 1.0, 2.5, 4.0], [1.0, 3.0, 2.0, 2.0]
    assert monotone(x, y, x) == pytest.approx(y, abs=1e-4)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=9))
@example([0.0, -1.1125369292536007e-308, -1.0])
def test_monotone_never_overshoots(values: list[float]) -> None:
    x = np.arange(len(values))
    at = np.linspace(-1, len(values), 101)
    curve = monotone(x, values, at)
    for spot, found in zip(at, curve, strict=True):
        k = int(np.clip(np.floor(spot), 0, len(values) - 2))
        low, high = sorted(values[k : k + 2])
        if 0 <= spot <= len(values) - 1:
            assert low - 1e-4 <= found <= high + 1e-4
    assert curve[0] == pytest.approx(values[0], abs=1e-5)
    assert curve[-1] == pytest.approx(values[-1], abs=1e-5)


def test_smoothstep_is_flat_outside() -> None:
    assert smoothstep([-1, 0, 0.5, 1, 2]).tolist() == [0, 0, 0.5, 1, 1]


def test_whole_pixels_come_back_the_same() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    at = np.stack(np.meshgrid(np.arange(50), np.arange(40)), -1).astype(np.float32)
    assert np.array_equal(colours(picture, at), picture)
    out = np.zeros((60, 70, 3), np.uint8)
    colours(picture, at, out[5:45, 6:56])
    assert np.array_equal(out[5:45, 6:56], picture)
    assert not out[:5].any()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_samples_of_whole_places_are_exact(channels: int) -> None:
    # OpenCV 5 answers some calls with garbage for all but two channels.
    values = np.random.default_rng(0).random((30, 20, channels)).astype(np.float32)
    at = np.stack(np.meshgrid(np.arange(20), np.arange(30)), -1).astype(np.float32)
    assert np.array_equal(sample(values, at).reshape(values.shape), values)
    assert not sample(values, at + 100).any()


def test_follow_moves_knots_to_their_sources() -> None:
    v = np.linspace(0, 1, 101, dtype=np.float32)[:, None]
    knots = [np.full(3, k, np.float32) for k in (0.2, 0.5, 0.9)]
    sources = [np.full(3, k, np.float32) for k in (0.2, 0.4, 0.9)]
    shift = follow(v, knots, sources)
    assert shift[20] == pytest.approx(0, abs=1e-5)
    assert shift[50] == pytest.approx(-0.1, abs=1e-5)
    assert shift[35] == pytest.approx(-0.05, abs=1e-5)
    assert shift[90:] == pytest.approx(0, abs=1e-5)


def test_patches_know_their_pixels() -> None:
    angle = 0.3
    along = np.array([np.cos(angle), np.sin(angle)])
    axes = Axes(np.array([100.0, 80.0]), along, np.array([-along[1], along[0]]), 40.0)
    patch = Patch.over(axes, (-1, -0.5), (1, 0.5), 10)
    spots = axes.local([[100, 80], 100 + 40 * along[0], 80 + 40 * along[1]][:1])
    assert spots == pytest.approx(np.zeros((1, 2)))
    corner = np.array([[[patch.u[0], patch.v[0, 0]]]], np.float32)
    pixel = transform(corner, axes.to_pixels)
    assert transform(pixel, patch.to_nodes) == pytest.approx(0, abs=1e-3)
    span = patch.span()
    assert span.x0 <= pixel[0, 0, 0] < span.x1
    assert span.y0 <= pixel[0, 0, 1] < span.y1


def test_spans_clip_and_index() -> None:
    outer, inner = Span(10, 20, 50, 60), Span(40, 0, 80, 30)
    shared = inner.clip(outer)
    assert shared == Span(40, 20, 50, 30)
    assert shared.within(outer) == (slice(0, 10), slice(30, 40))
    assert Span(5, 5, 5, 9).empty


def test_a_fold_is_torn_only_near_its_cut() -> None:
    above = np.zeros((20, 10, 2), np.float32)
    below = np.zeros((20, 10, 2), np.float32)
    below[:, 3:6, 1] = 2
    depth = np.broadcast_to(np.arange(20, dtype=np.float32)[:, None] - 9.5, (20, 10))
    assert Fold(above, below, depth).torn(2) == (slice(8, 12), slice(3, 6))
    assert Fold(above, above, depth).torn(2) is None
    joined = Fold(above, below, depth).joined()
    assert not joined[:10].any()
    assert (joined[10:, 3:6, 1] == 2).all()
