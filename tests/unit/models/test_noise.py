import torch

from talkhead.models.noise import window_noise

SHAPE = (16, 4, 6)


def test_a_window_has_noise_of_its_own() -> None:
    drawn = {
        (seed, index): window_noise(seed, index, 17, SHAPE)
        for seed in (0, 1, 2**63 - 1)
        for index in range(3)
    }
    assert {noise.shape for noise in drawn.values()} == {(16, 5, 4, 6)}
    assert len({float(noise[0, 0, 0, 0]) for noise in drawn.values()}) == len(drawn)
    again = window_noise(1, 2, 17, SHAPE)
    assert torch.equal(again, drawn[1, 2])


def test_noise_does_not_come_from_the_global_generator() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    window_noise(3, 0, 17, SHAPE)
    assert torch.equal(torch.random.get_rng_state(), before)
