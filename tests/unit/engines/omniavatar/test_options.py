from typing import Any

import pytest

from talkhead.engines.omniavatar.options import Options
from talkhead.errors import Code, TalkheadError
from talkhead.validation import validate


def test_defaults_are_those_of_the_official_code() -> None:
    made = Options()
    assert (made.max_tokens, made.overlap) == (30_000, 13)
    assert made.model_dump(exclude_unset=True) == {}
    assert all(field.description for field in Options.model_fields.values())


@pytest.mark.parametrize("frames", [1, 5, 13, 77])
def test_overlaps_of_whole_latents_are_taken(frames: int) -> None:
    assert validate(Options, {"overlap": frames}).overlap == frames


@pytest.mark.parametrize(
    ("given", "field", "hint"),
    [
        ({"overlap": 12}, "options.overlap", "such as 13"),
        ({"overlap": 0}, "options.overlap", ""),
        ({"overlap": 81}, "options.overlap", "77"),
        ({"max_tokens": 0}, "options.max_tokens", ""),
        ({"max_tokens": 80_001}, "options.max_tokens", "80000"),
        ({"teacache_threshold": -0.1}, "options.teacache_threshold", ""),
        ({"model": "14b"}, "options.model", "14B"),
        ({"timestep_rounding": True}, "options.timestep_rounding", "model_dtype"),
        ({"max_token": 1}, "options.max_token", "max_tokens"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        validate(Options, given, "options")
    assert caught.value.code == Code.INPUT
    assert caught.value.fields == (field,)
    assert hint in caught.value.message
