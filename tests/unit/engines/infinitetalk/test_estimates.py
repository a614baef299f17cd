from dataclasses import replace

import pytest

from talkhead.engines.infinitetalk.published import NETWORK, SOUND, load_for
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models.estimates import (
    OVERHEAD,
    Held,
    Layout,
    Load,
    Network,
    _stream,
    peak,
    seconds,
    smaller,
)

COMPILED = replace(NETWORK, encoder=0, compiled=True)
FP8 = Held(19_200_000_000, 18_570_000_000, 352_000_000)
LOAD = load_for(plan_windows(81), (832, 480), 4, 1)
LONG = tuple(window.size for window in plan_windows(225))
TWO = {"sound": 2 * SOUND, "folded": False}


@pytest.mark.parametrize(
    ("width", "height", "teraflops"),
    [(832, 448, 1649), (832, 480, 1825), (640, 640, 1895), (1280, 704, 6606), (1280, 720, 6860)],
)
def test_operations_of_a_pass(width: int, height: int, teraflops: float) -> None:
    """The figures of the official network at 81 frames, counted by hand."""
    tokens = replace(LOAD, width=width, height=height).tokens(81)
    assert NETWORK.pass_flops(tokens, LOAD.others) / 1e12 == pytest.approx(teraflops, rel=0.01)


def test_work_grows_with_windows_steps_and_passes() -> None:
    def taken(**more: object) -> float:
        return seconds(replace(LOAD, **more), NETWORK, "cuda", 2)

    for more in ({"steps": 8}, {"passes": 2}, {"windows": LONG}):
        assert taken(**more) > taken()
    assert seconds(LOAD, NETWORK, "cpu", 4) > taken()


def test_memory_goes_down_with_offload_and_tiles() -> None:
    def taken(load: Load = LOAD, **layout: bool) -> float:
        return peak(load, NETWORK, Layout(**layout), 2).device / 1e9

    assert 40 < taken() < 50
    large = replace(LOAD, width=1280, height=720)
    assert taken(large) > taken()
    assert taken(replace(LOAD, windows=LONG)) == taken()
    assert taken(large, offload=True) < 24
    brief = replace(large, windows=(33,) * 8)  # where decoding is the peak
    assert taken(brief, offload=True, tiles=True) < taken(brief, offload=True)
    assert peak(LOAD, NETWORK, Layout(offload=True), 2).host == pytest.approx(37e9, rel=0.02)
    assert peak(LOAD, NETWORK, Layout(), 2).host == 0


@pytest.mark.parametrize(
    ("size", "layout", "network", "measured"),
    [
        ((640, 640), Layout(), COMPILED, 44.2),
        ((1280, 720), Layout(), COMPILED, 49.63),
        ((640, 640), Layout(offload=True), COMPILED, 6.87),
        ((640, 640), Layout(), replace(COMPILED, held=FP8), 25.46),
    ],
)
def test_predicted_peaks_are_those_of_an_h200(
    size: tuple[int, int], layout: Layout, network: Network, measured: float
) -> None:
    """Measured by benchmarks/infinitetalk_h200.py, without what CUDA takes for itself."""
    load = replace(LOAD, width=size[0], height=size[1])
    predicted = peak(load, network, layout, 2).device - OVERHEAD
    assert predicted / 1e9 == pytest.approx(measured, rel=0.03)


def test_compiled_blocks_hold_less() -> None:
    eager = replace(COMPILED, compiled=False)
    waiting = Layout(offload=True)
    assert peak(LOAD, COMPILED, waiting, 2).device < peak(LOAD, eager, waiting, 2).device


def test_keys_of_sound_count_where_a_picture_is_small() -> None:
    """One speaker's are made for every head, as wide as the network; two speakers' are not."""
    small, wide = replace(LOAD, width=256, height=256), replace(LOAD, width=1280, height=720)
    folded = 2 * 21 * 32 * 40 * 5120  # twice, latent frames, tokens, heads, channels
    assert _stream(small, COMPILED) > max(folded, _stream(replace(small, **TWO), COMPILED))
    assert _stream(wide, COMPILED) == _stream(replace(wide, **TWO), COMPILED)


def test_the_encoder_of_text_is_the_peak_of_small_cards() -> None:
    waiting = replace(LOAD, width=640, height=640)
    whole = peak(waiting, NETWORK, Layout(offload=True), 2).device
    assert whole == OVERHEAD + NETWORK.encoder * 2


def test_smaller_sizes_keep_the_aspect() -> None:
    found = smaller(1280, 720, 16, 256)
    assert found[0] == (1152, 656)
    assert all(w % 16 == h % 16 == 0 and min(w, h) >= 256 for w, h in found)
    assert [w * h for w, h in found] == sorted((w * h for w, h in found), reverse=True)
    assert not smaller(256, 256, 16, 256)
