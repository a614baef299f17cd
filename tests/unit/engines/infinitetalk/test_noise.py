import pytest
import torch

from talkhead.engines.infinitetalk.noise import official_noise
from talkhead.engines.infinitetalk.windows import plan_windows

SHAPE = (16, 4, 6)
WINDOWS = plan_windows(40, 17, 5)


def test_noise_does_not_come_from_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    official_noise(3, 1, WINDOWS, SHAPE, 4)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("steps", [1, 4])
def test_official_noise_comes_from_one_generator(steps: int) -> None:
    generator = torch.Generator().manual_seed(42)
    for index, window in enumerate(WINDOWS):
        wanted = torch.randn(16, 5, 4, 6, generator=generator)
        assert torch.equal(official_noise(42, index, WINDOWS, SHAPE, steps), wanted)
        for _ in range(steps + 1 if window.seen else 0):
            torch.randn(16, 2, 4, 6, generator=generator)
