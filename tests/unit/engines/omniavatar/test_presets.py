from typing import Any, get_args

import pytest

from talkhead.engines import Quality
from talkhead.engines.omniavatar.options import Options
from talkhead.engines.omniavatar.presets import RECIPES, recipe, settled, windows_of
from talkhead.errors import Code, TalkheadError


def asked(**options: Any) -> dict[str, Any]:
    return settled(Options(**options).model_dump(), "balanced", {})


def test_better_qualities_take_more_steps() -> None:
    assert tuple(RECIPES) == get_args(Quality)
    steps = [own.steps for own in RECIPES.values()]
    assert steps == sorted(set(steps))
    assert RECIPES["best"].steps == 50  # the official default


@pytest.mark.parametrize(
    ("given", "guidance"),
    [
        ({}, (4.5, 4.5)),
        ({"text_guidance": 6.0}, (6.0, 6.0)),
        ({"audio_guidance": 3.0}, (4.5, 3.0)),
        ({"text_guidance": 1.0, "audio_guidance": 2.0}, (1.0, 2.0)),
    ],
)
def test_audio_is_followed_as_text_is_unless_asked(
    given: dict[str, Any], guidance: tuple[float, float]
) -> None:
    made = recipe("balanced", given)
    assert (made["text_guidance"], made["audio_guidance"]) == guidance


def test_what_is_given_comes_first() -> None:
    made = recipe("best", {"steps": 7, "shift": 3.0, "seed": 9})
    assert (made["steps"], made["shift"]) == (7, 3.0)
    assert "seed" not in made


@pytest.mark.parametrize(("given", "wanted"), [(None, None), (0.1, 0.1), (0, None)])
def test_steps_are_reused_where_asked(given: float | None, wanted: float | None) -> None:
    assert asked(teacache_threshold=given)["teacache_threshold"] == wanted


@pytest.mark.parametrize("official", [False, True])
def test_times_are_rounded_unless_asked(official: bool) -> None:
    assert asked(official=official)["timestep_rounding"] == "model_dtype"
    exact = asked(official=official, timestep_rounding="none")
    assert exact["timestep_rounding"] == "none"


def test_all_settings_are_in_one_table() -> None:
    fields = {"steps", "text_guidance", "audio_guidance", "shift"}
    assert asked().keys() == Options.model_fields.keys() | fields


def test_chunks_follow_from_the_settings() -> None:
    windows = windows_of(asked(), 250, 720, 400)
    assert [window.fresh for window in windows] == [104, 92, 54]
    windows = windows_of(asked(official=True, overlap=1), 250, 400, 720)
    assert [window.fresh for window in windows] == [105, 104, 41]  # the first is the still


def test_chunks_that_never_get_on_are_refused() -> None:
    tight = asked(overlap=33)
    with pytest.raises(TalkheadError) as caught:
        windows_of(tight, 100, 1280, 720)
    assert caught.value.code is Code.INPUT
    assert caught.value.fields == ("options.max_tokens", "options.overlap")
    assert caught.value.hint == "at least 33300 at this size"
    windows = windows_of({**tight, "max_tokens": 33_300}, 100, 1280, 720)
    assert {window.size for window in windows} == {37}
