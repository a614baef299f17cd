import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkhead.engines import Box, Face, Picture
from talkhead.media.fit import (
    FACE_HEIGHTS,
    Fitted,
    Mode,
    fit,
    resize_frames,
    scaled_size,
    work_size,
)

SIDES = st.integers(256, 1600)


def _dotted(width: int, height: int, x: float, y: float) -> Picture:
    """Return a dark picture with a soft bright dot whose middle lies at (x, y)."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    dot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12**2))
    return np.repeat((30 + 220 * dot)[..., None], 3, 2).astype(np.uint8)


def _middle_of_dot(picture: Picture) -> tuple[float, float]:
    weights = np.clip(picture[..., 0].astype(float) - 60, 0, None)
    rows, columns = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]] + 0.5
    return (columns * weights).sum() / weights.sum(), (rows * weights).sum() / weights.sum()


@pytest.mark.parametrize("mode", ["crop", "pad", "face"])
@pytest.mark.parametrize("size", [(512, 512), (640, 360), (360, 640), (1280, 1280), (258, 700)])
def test_a_point_lies_where_the_affine_says(mode: Mode, size: tuple[int, int]) -> None:
    picture = _dotted(600, 480, 310, 200)
    fitted = fit(picture, *size, mode, Box(250, 130, 370, 280))
    assert fitted.picture.shape == (size[1], size[0], 3)
    assert fitted.picture.dtype == np.uint8
    x, y = _middle_of_dot(fitted.picture)
    assert x == pytest.approx(310 * fitted.scale + fitted.dx, abs=0.7)
    assert y == pytest.approx(200 * fitted.scale + fitted.dy, abs=0.7)


def test_the_same_size_is_the_same_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    fitted = fit(picture, 400, 300, "crop")
    np.testing.assert_array_equal(fitted.picture, picture)
    assert (fitted.scale, fitted.dx, fitted.dy) == (1, 0, 0)
    assert not np.shares_memory(fitted.picture, picture)


@given(SIDES, SIDES, SIDES, SIDES, st.floats(0, 1), st.floats(0, 1), st.floats(0.02, 0.5))
def test_crop_keeps_a_face_inside(
    columns: int, rows: int, width: int, height: int, x: float, y: float, part: float
) -> None:
    """Wherever the face is, the crop shows it whole unless the frame is narrower than the face."""
    picture = np.zeros((rows, columns, 3), np.uint8)
    side = part * min(columns, rows)
    x0, y0 = x * (columns - side), y * (rows - side)
    face = Box(x0, y0, x0 + side, y0 + side)
    fitted = fit(picture, width, height, "crop", face)
    scale = max(width / columns, height / rows)
    assert fitted.scale == pytest.approx(scale)
    box = fitted.box(face)
    if box.width <= width and box.height <= height:
        assert box.x0 >= -0.01
        assert box.y0 >= -0.01
        assert box.x1 <= width + 0.01
        assert box.y1 <= height + 0.01


def test_pad_shows_all_and_black_around() -> None:
    fitted = fit(np.full((300, 300, 3), 200, np.uint8), 640, 360, "pad")
    assert (fitted.picture[:, 140:500] == 200).all()
    assert not fitted.picture[:, :139].any()
    assert not fitted.picture[:, 501:].any()
    box = fitted.box(Box(0, 0, 300, 300))
    assert box == pytest.approx((140, 0, 500, 360))


def test_face_comes_close_with_head_room_and_stays_inside() -> None:
    picture = np.full((1000, 2000, 3), 9, np.uint8)
    face = Box(900, 400, 1000, 520)
    fitted = fit(picture, 512, 512, "face", face)
    box = fitted.box(face)
    assert box.height == pytest.approx(512 / FACE_HEIGHTS, rel=0.01)
    assert box.center[0] == pytest.approx(256, abs=1)
    assert box.y0 > 0.15 * 512
    assert (fitted.picture == 9).all()
    cornered = fit(picture, 512, 512, "face", Box(0, 0, 100, 120))
    assert (cornered.picture == 9).all()
    assert cornered.dx == 0
    assert cornered.dy == 0
    large = fit(picture, 512, 512, "face", Box(500, 0, 1400, 1000))
    assert large.scale == pytest.approx(0.512)


def test_landmarks_move_with_the_picture() -> None:
    landmarks = np.array([[100, 50, 10], [200, 80, -4]], np.float32)
    face = Face(Box(90, 40, 210, 90), landmarks, 12.0)
    moved = Fitted(np.zeros((1, 1, 3), np.uint8), 0.5, 7, -3, Box(0, 0, 1, 1)).face(face)
    np.testing.assert_allclose(moved.landmarks, [[57, 22, 5], [107, 37, -2]])
    assert moved.box == Box(52, 17, 112, 42)
    np.testing.assert_array_equal(face.landmarks[0], [100, 50, 10])


@given(st.integers(32, 8000), st.integers(32, 8000), st.integers(256, 2000))
def test_scaled_sizes_are_even_and_in_range(width: int, height: int, side: int) -> None:
    for size in (scaled_size(width, height, long=side), scaled_size(width, height, short=side)):
        assert all(length % 2 == 0 for length in size)
        assert min(size) >= 256
        assert max(size) <= 4 * side + 1
    if max(width, height) <= 2 * min(width, height):
        across, down = scaled_size(width, height, long=side + 512)
        assert max(across, down) == pytest.approx(side + 512, abs=1)
        assert across / down == pytest.approx(width / height, rel=0.02)


def test_the_default_size_keeps_the_aspect() -> None:
    assert scaled_size(3000, 4000) == (540, 720)
    assert scaled_size(400, 400) == (720, 720)
    assert scaled_size(4000, 500) == (720, 256)


@given(
    st.integers(128, 2000).map(lambda half: 2 * half),
    st.integers(128, 2000).map(lambda half: 2 * half),
    st.sampled_from([2, 8, 16, 64]),
    st.integers(250_000, 2_000_000),
)
def test_work_sizes_suit_the_engine(width: int, height: int, multiple: int, pixels: int) -> None:
    across, down = work_size(width, height, multiple, 256, pixels)
    assert across % multiple == down % multiple == 0
    assert min(across, down) >= 256
    assert across * down <= pixels
    if width * height <= pixels and width % multiple == height % multiple == 0:
        assert (across, down) == (width, height)


def test_frames_are_scaled_and_cut_evenly() -> None:
    frames = np.stack([_dotted(480, 480, 240, 240), _dotted(480, 480, 120, 300)])
    assert resize_frames(frames, 480, 480) is frames
    for width, height in ((600, 500), (300, 256), (482, 480)):
        resized = resize_frames(frames, width, height)
        assert resized.shape == (2, height, width, 3)
        assert _middle_of_dot(resized[0]) == pytest.approx((width / 2, height / 2), abs=0.7)
    assert resize_frames(frames[:0], 600, 500).shape == (0, 500, 600, 3)
