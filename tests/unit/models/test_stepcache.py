import numpy as np
import pytest
import torch

from talkhead.models import stepcache

COEFFICIENTS = stepcache.COEFFICIENTS[480]


def drifting(steps: int) -> torch.Tensor:
    """Return modulations (steps, 6, 8) that change at most in the middle."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(6, 8, generator=generator)
    moves = torch.randn(steps, 6, 8, generator=generator)
    speed = 0.05 * torch.sin(torch.linspace(0, 3.14, steps))
    return base + (moves * speed[:, None, None]).cumsum(0)


def official(modulations: torch.Tensor, threshold: float) -> list[bool]:
    """Decide as the official code does it, a step at a time."""
    poly, changed, decisions = np.poly1d(COEFFICIENTS), 0.0, []
    for index, now in enumerate(modulations):
        if index < 5:
            compute, changed = True, 0.0
        else:
            before = modulations[index - 1]
            changed += float(poly(((now - before).abs().mean() / before.abs().mean()).item()))
            compute = changed >= threshold
            changed = 0.0 if compute else changed
        decisions.append(compute)
    return decisions


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.5, 2.0])
def test_decisions_are_the_official_ones(threshold: float) -> None:
    modulations = drifting(40)
    made = stepcache.decide(modulations, COEFFICIENTS, threshold)
    assert list(made) == official(modulations, threshold)


def test_some_steps_are_left_out() -> None:
    made = stepcache.decide(drifting(40), COEFFICIENTS, 0.5)
    assert all(made[:5])
    assert 0 < sum(made[5:]) < 35


@pytest.mark.parametrize("size", sorted(stepcache.TEXT_TO_VIDEO))
@pytest.mark.parametrize("threshold", [0.01, 0.14, 0.5])
def test_the_first_and_the_last_step_count_for_nothing(size: str, threshold: float) -> None:
    """As OmniAvatar's official code decides, a step at a time."""
    coefficients = stepcache.TEXT_TO_VIDEO[size]
    modulations, poly, changed, wanted = drifting(40), np.poly1d(coefficients), 0.0, []
    for index, now in enumerate(modulations):
        compute = index in (0, 39)
        if not compute:
            before = modulations[index - 1]
            changed += float(poly(((now - before).abs().mean() / before.abs().mean()).item()))
            compute = changed >= threshold
        changed = 0.0 if compute else changed
        wanted.append(compute)
    made = stepcache.decide(modulations, coefficients, threshold, warm_up=1, tail=1)
    assert list(made) == wanted
    assert 2 < sum(made) < 40


def test_nothing_is_left_out_of_a_short_run() -> None:
    assert stepcache.decide(drifting(4), COEFFICIENTS, 1e9) == (True,) * 4


def test_first_and_last_steps_can_be_kept() -> None:
    assert stepcache.decide(drifting(6), COEFFICIENTS, 1e9, warm_up=0, tail=2) == (
        True,  # nothing is there yet that could be used again
        *(False,) * 3,
        *(True,) * 2,
    )
    assert stepcache.decide(drifting(1), COEFFICIENTS, 1e9) == (True,)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(448, 896, 480), (640, 640, 480), (448, 2048, 720), (960, 960, 720), (720, 1280, 720)],
)
def test_the_coefficients_go_by_the_size(height: int, width: int, size: int) -> None:
    assert stepcache.coefficients_for(height, width) == stepcache.COEFFICIENTS[size]
