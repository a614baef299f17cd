from dataclasses import replace

import pytest

from talkhead.engines.infinitetalk.published import NETWORK, load_for
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.errors import Code, TalkheadError
from talkhead.models.estimates import Layout
from talkhead.models.fitting import Machine, Offload, choose, told

LOAD = load_for(plan_windows(225), (1280, 720), 8, 2)


def machine(gb: float, host: float = 64) -> Machine:
    return Machine("cuda", 2, int(gb * 1e9), int(host * 1e9))


def chosen(
    gb: float, offload: Offload = "auto", tiles: bool | None = None, host: float = 64
) -> Layout:
    return choose(LOAD, NETWORK, offload, tiles, machine(gb, host))


def refused(*given: object, **more: object) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        chosen(*given, **more)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("gb", "layout"),
    [(80, Layout()), (24, Layout(offload=True)), (12.5, Layout(offload=True, tiles=True))],
)
def test_the_fastest_layout_that_fits(gb: float, layout: Layout) -> None:
    brief = load_for(plan_windows(225, 33), (1280, 720), 8, 2)  # where decoding is the peak
    assert choose(brief, NETWORK, "auto", None, machine(gb)) == layout


def test_what_is_asked_for_is_kept() -> None:
    assert chosen(80, "block") == Layout(offload=True)
    assert chosen(80, tiles=True) == Layout(tiles=True)
    assert not chosen(24, tiles=False).tiles


def test_refused_with_what_would_fit_in_order() -> None:
    error = refused(24, "none")
    assert error.code == Code.CAPACITY
    assert "1280x720 needs about" in error.message
    assert "24.0 GB are free" in error.message
    first, *_ = error.hint.removeprefix("what would fit: ").split("; or ")
    assert first.startswith("memory.offload=block (")
    assert chosen(24, "block")
    small = refused(13)
    assert "size=" in small.hint
    size = small.hint.split("size=")[1].split(" ")[0]
    width, height = map(int, size.split("x"))
    assert choose(replace(LOAD, width=width, height=height), NETWORK, "auto", None, machine(13))


def test_blocks_need_main_memory_to_wait_in() -> None:
    error = refused(24, host=20)
    assert error.code == Code.CAPACITY
    assert "main memory" in error.message


def test_on_the_host_all_is_one_memory() -> None:
    host = Machine("cpu", 4, int(64e9), int(64e9))
    with pytest.raises(TalkheadError, match="main memory"):
        choose(LOAD, NETWORK, "auto", None, host)
    assert choose(LOAD, NETWORK, "auto", None, replace(host, free=int(200e9))) == Layout()


def test_nothing_fits() -> None:
    assert "more memory" in refused(4).hint


def test_quantised_weights_are_offered_after_blocks_that_wait_and_tiles() -> None:
    error = refused(40, "none")
    hints = error.hint.removeprefix("what would fit: ").split("; or ")
    assert hints[0].startswith("memory.offload=block (")
    assert hints[-1].startswith("memory.quant=fp8 (")
    quantised = NETWORK.quantised(2)
    assert choose(LOAD, quantised, "none", None, machine(40)) == Layout()
    with pytest.raises(TalkheadError) as caught:
        choose(LOAD, quantised, "none", None, machine(20))
    assert "memory.quant" not in caught.value.hint


def test_what_was_chosen_is_told() -> None:
    both = Layout(offload=True, tiles=True)
    (text,) = told(both, "auto", None)
    assert "memory.offload=block" in text
    assert "vae_tiling" in text
    assert not told(both, "block", True)
    assert not told(Layout(), "auto", None)
