import numpy as np
import pytest
import torch

from talkhead.engines import Box, Bucket, choose_bucket
from talkhead.engines.infinitetalk import conditioning
from talkhead.engines.infinitetalk.sizes import BUCKETS_480, BUCKETS_720
from talkhead.models.wan_vae import pixels


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(900, 900, (640, 640)), (1080, 1920, (448, 896)), (832, 480, (832, 448)), (1, 9, (320, 1216))],
)
def test_the_nearest_bucket_is_chosen(height: int, width: int, size: tuple[int, int]) -> None:
    bucket = choose_bucket(height, width, BUCKETS_480)
    assert (bucket.height, bucket.width) == size


def test_of_equals_the_first_bucket_is_chosen() -> None:
    halves = [Bucket(0.5, 1, 2), Bucket(1.0, 2, 2)]
    assert choose_bucket(3, 4, halves) is halves[0]


@pytest.mark.parametrize(("buckets", "count"), [(BUCKETS_480, 15), (BUCKETS_720, 21)])
def test_buckets_are_sizes_the_network_takes(buckets: tuple[Bucket, ...], count: int) -> None:
    assert len(buckets) == count
    assert list(buckets) == sorted(buckets)
    for bucket in buckets:
        assert bucket.height % 16 == bucket.width % 16 == 0
        assert bucket.ratio == pytest.approx(bucket.height / bucket.width, abs=0.05)


def test_pixels() -> None:
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[0, 1] = (255, 0, 127)
    made = pixels(picture)
    assert made.shape == (3, 2, 4)
    assert made[:2, 0, 1].tolist() == [1, -1]


def test_one_speaker_is_everywhere() -> None:
    assert conditioning.speaker_masks(32, 48, []).eq(1).all()
    assert conditioning.speaker_masks(32, 48, [Box(0, 0, 5, 5)]).eq(1).all()


def test_two_speakers_stand_left_and_right() -> None:
    masks = conditioning.speaker_masks(100, 201, conditioning.speaker_boxes(100, 201))
    rows, columns = (torch.nonzero(masks[0]).T[axis] for axis in (0, 1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 94, 5, 94)
    columns = torch.nonzero(masks[1]).T[1]
    assert (columns.min(), columns.max()) == (105, 194)
    assert torch.equal(masks.sum(0), torch.ones(100, 201))


def test_boxes_are_x_and_y() -> None:
    boxes = [Box(2, 4, 10, 8), Box(20.9, 1, 99, 30)]
    masks = conditioning.speaker_masks(24, 40, boxes)
    assert masks[0, 4:8, 2:10].all()
    assert masks[0].sum() == 4 * 8
    assert masks[1, 1:24, 20:40].all()
    assert masks[1].sum() == 23 * 20
    assert torch.equal(masks[2], 1 - masks[:2].amax(0))


def test_boxes_may_be_read_as_rows() -> None:
    turned = conditioning.speaker_masks(
        24, 40, [Box(2, 4, 10, 8), Box(12, 20, 20, 30)], boxes_as_rows=True
    )
    assert turned[0, 2:10, 4:8].all()
    assert turned[0].sum() == 8 * 4
    assert turned[1, 12:20, 20:30].all()


@pytest.mark.parametrize(
    "box", [Box(-9, -9, -1, -1), Box(500, 3, 900, 3), Box(33.5, 21.2, 33.6, 22)]
)
def test_no_speaker_is_lost(box: Box) -> None:
    masks = conditioning.speaker_masks(64, 96, [box, Box(40, 0, 90, 60)])
    assert masks[0].any()
    grid = conditioning.grid_masks(masks, 8, 12)
    assert grid.shape == (3, 8, 12)
    tokens = grid[:, ::2, ::2]
    assert tokens[0].sum() == 1
    assert not (tokens[0] * tokens[2]).any()


def test_masks_are_sampled_on_the_grid() -> None:
    masks = conditioning.speaker_masks(32, 32, [Box(0, 0, 16, 32), Box(16, 0, 32, 32)])
    grid = conditioning.grid_masks(masks, 4, 4)
    assert grid[0].tolist() == [[1, 1, 0, 0]] * 4
    assert grid[1].tolist() == [[0, 0, 1, 1]] * 4
    assert not grid[2].any()


def test_what_the_network_is_shown() -> None:
    latents = torch.randn(16, 2, 2, 2)
    shown = conditioning.condition(latents)
    assert shown.shape == (20, 2, 2, 2)
    assert torch.equal(shown[4:], latents)
    assert shown[:4, 0].eq(1).all()
    assert not shown[:4, 1:].any()
