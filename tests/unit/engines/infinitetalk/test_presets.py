import pytest

from talkhead.engines.infinitetalk.options import Options
from talkhead.engines.infinitetalk.presets import (
    LORAS,
    RECIPES,
    Recipe,
    load_of,
    recipe,
    settled,
    windows_of,
)
from talkhead.weights import manifest


@pytest.mark.parametrize(("size", "shift"), [((832, 448), 7), ((1280, 720), 11)])
def test_the_undistilled_network_has_a_shift_for_its_larger_size(
    size: tuple[int, int], shift: float
) -> None:
    assert recipe("best", {}, "auto", *size) == Recipe(40, 5.0, 4.0, None, shift)
    assert recipe("fast", {}, "auto", *size).shift == 7
    assert recipe("fast", {}, "none", *size).shift == shift


def test_what_is_given_comes_first() -> None:
    given = {"steps": 6, "text_guidance": 2.0, "audio_guidance": 3.0, "shift": 2.0, "seed": 9}
    assert recipe("best", given, "fusionx", 640, 640) == Recipe(6, 2.0, 3.0, "fusionx", 2.0)


def test_many_steps_mean_the_network_as_it_was_trained() -> None:
    assert recipe("balanced", {"steps": 40}, "auto", 640, 640) == RECIPES["best"]
    assert recipe("balanced", {"steps": 40}, "rank64", 640, 640).lora == "rank64"
    assert recipe("balanced", {"steps": 12}, "auto", 640, 640).lora == "rank64"


def test_loras_are_in_the_manifest() -> None:
    assert set(LORAS.values()) <= set(manifest().files)
    assert {own.lora for own in RECIPES.values()} - {None} <= set(LORAS)


def test_the_load_follows_from_the_settings() -> None:
    options = Options(window=17, motion_frames=5, teacache_threshold=0.2, apg=True)
    asked = settled(options.model_dump(), "best", {}, 640, 640)
    load = load_of(asked, 40, (640, 640), 2)
    assert (load.steps, load.passes, load.cached_steps, load.sound) == (40, 3, True, 64)
    assert load.windows == (17, 17, 17)
    assert [window.fresh for window in windows_of(asked, 40)] == [17, 12, 11]
    fast = load_of(settled(Options().model_dump(), "fast", {}, 640, 640), 81, (640, 640), 1)
    assert (fast.steps, fast.passes) == (4, 1)
