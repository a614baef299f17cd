import pytest

from talkhead.engines.infinitetalk.estimates import cost, pass_flops
from talkhead.engines.infinitetalk.windows import plan_windows


@pytest.mark.parametrize(
    ("width", "height", "teraflops"),
    [(832, 448, 1649), (832, 480, 1825), (640, 640, 1895), (1280, 704, 6606), (1280, 720, 6860)],
)
def test_operations_of_a_pass(width: int, height: int, teraflops: float) -> None:
    """The figures of the official network at 81 frames, counted by hand."""
    tokens = 21 * width * height / 256
    assert pass_flops(tokens) / 1e12 == pytest.approx(teraflops, rel=0.01)


def test_cost_grows_with_windows_steps_and_passes() -> None:
    one, three = plan_windows(81), plan_windows(225)
    small = cost(one, 832, 480, 4, 1)
    assert cost(one, 832, 480, 8, 1).seconds > small.seconds
    assert cost(one, 832, 480, 4, 2).seconds > small.seconds
    assert cost(three, 832, 480, 4, 1).seconds > small.seconds
    assert cost(three, 832, 480, 4, 1).memory_bytes == small.memory_bytes
    assert cost(one, 1280, 720, 4, 1).memory_bytes > small.memory_bytes > 38e9
