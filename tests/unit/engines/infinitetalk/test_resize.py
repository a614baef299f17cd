import numpy as np
import pytest
from PIL import Image

from talkhead.engines.infinitetalk.resize import resize

RANDOM = np.random.default_rng(0)


def by_pillow(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what Pillow makes, across first in every version of it."""
    across = Image.fromarray(picture).resize((width, len(picture)), Image.Resampling.BILINEAR)
    return np.array(across.resize((width, height), Image.Resampling.BILINEAR))


def test_every_pixel_is_pillows() -> None:
    for height, width, rows, columns in RANDOM.integers(1, 160, (60, 4)).tolist():
        picture = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
        made = resize(picture, rows, columns)
        assert made.dtype == np.uint8
        assert np.array_equal(made, by_pillow(picture, rows, columns))


@pytest.mark.parametrize("factor", [0.2, 0.9, 1.7])
def test_both_ways_at_once_where_the_aspect_is_kept(factor: float) -> None:
    picture = RANDOM.integers(0, 256, (120, 90, 3), dtype=np.uint8)
    rows, columns = int(120 * factor), int(90 * factor)
    wanted = Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR)
    assert np.array_equal(resize(picture, rows, columns), np.array(wanted))


def test_the_same_size_is_the_same_picture() -> None:
    picture = RANDOM.integers(0, 256, (16, 32, 3), dtype=np.uint8)
    assert resize(picture, 16, 32) is picture
