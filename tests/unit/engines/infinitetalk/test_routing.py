"""Who listens to whom: maps, ties, empty classes."""

import pytest
import torch
from torch import Tensor

from talkhead.engines.infinitetalk import routing


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_map(query: Tensor, key: Tensor, masks: Tensor) -> Tensor:
    scores = torch.einsum("bnhd,bmhd->bhnm", query, key) / query.shape[-1] ** 0.5
    share = torch.einsum("bhnm,bcm->bhcn", scores.softmax(-1), masks)
    return share.mean(1) / masks.sum(-1).clamp_min(1)[..., None]


@pytest.mark.parametrize("seed", range(3))
def test_the_map_is_that_of_its_definition(seed: int) -> None:
    query, key = random(2, 18, 4, 8, seed=seed), random(2, 6, 4, 8, seed=seed + 10)
    masks = (random(2, 3, 6, seed=seed + 20) > 0).float()
    found = routing.reference_map(query, key, masks)
    torch.testing.assert_close(found, naive_map(query, key, masks), atol=1e-6, rtol=1e-5)


def test_an_empty_mask_attracts_nobody() -> None:
    masks = torch.tensor([[[0.0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]])
    maps = routing.reference_map(random(1, 8, 2, 4), random(1, 4, 2, 4), masks)
    assert not maps.isnan().any()
    assert not maps[:, 0].any()
    positions = routing.query_positions(maps, 24, 4)
    assert not positions.isnan().any()
    assert bool((positions >= 12).all())  # nobody stands with person 1


def test_positions_of_persons_and_background() -> None:
    maps = torch.tensor([[[0.9, 0.5, 0.1, 0.2], [0.1, 0.2, 0.8, 0.4], [0.0, 0.1, 0.3, 0.6]]])
    positions = routing.query_positions(maps, 24, 4)[0]
    torch.testing.assert_close(positions, torch.tensor([4.0, 2.0, 24.0, 12.0]))


def test_of_equal_maps_the_first_counts() -> None:
    maps = torch.full((1, 3, 2), 0.5)
    assert routing.query_positions(maps, 24, 4).tolist() == [[0.0, 0.0]]
    maps[:, 0] = 0.4
    assert routing.query_positions(maps, 24, 4).tolist() == [[20.0, 20.0]]


def test_keys_stand_in_the_middle_of_each_persons_part() -> None:
    line = routing.key_positions(3, 24, 4, torch.device("cpu"))
    assert line.tolist() == [2, 2, 2, 22, 22, 22]


def test_masks_come_down_to_tokens_by_the_nearest_pixel() -> None:
    masks = torch.zeros(3, 4, 6)
    masks[0, 0, 0] = masks[1, 2, 4] = masks[2, 1, 1] = 0.2  # (1, 1) lies between tokens
    small = routing.classes(masks, 2, 3)
    assert small[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert small[1].tolist() == [0, 0, 0, 0, 0, 1]
    assert not small[2].any()


def test_more_classes_than_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="3 classes"):
        routing.reference_map(random(1, 4, 1, 2), random(1, 4, 1, 2), torch.ones(1, 3, 4))
