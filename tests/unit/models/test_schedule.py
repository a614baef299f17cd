import numpy as np
import pytest
import torch

from talkhead.models import schedule


@pytest.mark.parametrize(("steps", "shift"), [(1, 7.0), (4, 11.0), (40, 1.0)])
def test_times_fall_from_a_thousand_to_nothing(steps: int, shift: float) -> None:
    times = schedule.timesteps(steps, shift)
    assert times.shape == (steps + 1,)
    assert times.dtype == torch.float32
    assert times[0] == 1000
    assert times[-1] == 0
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 2, 25, 50])
def test_even_times_are_the_official_ones(steps: int) -> None:
    times = schedule.even_timesteps(steps, 5.0)
    sigmas = np.linspace(1, 0, steps + 1)[:-1]
    wanted = 5 * sigmas / (1 + 4 * sigmas) * 1000
    np.testing.assert_allclose(times[:-1].numpy(), wanted, rtol=1e-6)
    assert times.dtype == torch.float32
    assert times[0] == 1000
    assert times[-1] == 0


def test_a_shift_spends_steps_on_noise() -> None:
    assert (schedule.timesteps(8, 7.0)[1:-1] > schedule.timesteps(8, 1.0)[1:-1]).all()


def test_the_prefix_is_kept() -> None:
    latents, prefix = torch.randn(2, 4, 5, 3, 3), torch.randn(2, 4, 2, 3, 3)
    kept = schedule.keep_prefix(latents, prefix)
    assert torch.equal(kept[:, :, :2], prefix)
    assert torch.equal(kept[:, :, 2:], latents[:, :, 2:])


@pytest.mark.parametrize("steps", [1, 3, 20])
def test_a_constant_velocity_leads_to_the_data(steps: int) -> None:
    data, noise = torch.randn(4, 5, 3, 3), torch.randn(4, 5, 3, 3)
    prefix = torch.randn(4, 1, 3, 3)
    times = schedule.timesteps(steps, 5.0)
    latents = schedule.keep_prefix(noise, prefix)
    for index in range(steps):
        latents = schedule.step(latents, noise - data, times, index, prefix)
        assert torch.equal(latents[:, :1], prefix)
    torch.testing.assert_close(latents[:, 1:], data[:, 1:])
