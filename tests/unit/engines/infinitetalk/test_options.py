import json
from pathlib import Path
from typing import Any

import pytest

from talkhead.aliases.document import OPTIONS
from talkhead.engines.infinitetalk.options import Options
from talkhead.errors import Code, TalkheadError
from talkhead.validation import validate

ANSWERS = sorted(Path(__file__).parents[3].glob("goldens/aliases/*.json"))


def sent(value: Any) -> list[dict[str, Any]]:
    """Return the `options` of every request for infinitetalk that a file of aliases ends in."""
    if isinstance(value, list):
        return [options for part in value for options in sent(part)]
    if not isinstance(value, dict):
        return []
    found = [options for part in value.values() for options in sent(part)]
    if value.get("engine") == "infinitetalk" and isinstance(value.get("options"), dict):
        found.append(value["options"])
    return found


def test_the_names_are_those_of_older_payloads() -> None:
    assert set(Options.model_fields) >= set(OPTIONS["infinitetalk"])
    assert all(field.description for field in Options.model_fields.values())


def test_what_older_payloads_send_is_taken() -> None:
    given = [options for file in ANSWERS for options in sent(json.loads(file.read_text()))]
    assert len(given) >= 8
    for options in given:
        assert validate(Options, options).model_dump(exclude_unset=True) == options


@pytest.mark.parametrize(
    ("given", "field", "hint"),
    [
        ({"motion_frames": 8}, "options.motion_frames", "such as 9"),
        ({"motion_frames": 0}, "options.motion_frames", ""),
        ({"window": 80}, "options.window", "such as 81"),
        ({"window": 1}, "options.window", "5"),
        ({"window": 9, "motion_frames": 9}, "options", "longer than"),
        ({"color_strength": 1.1}, "options.color_strength", ""),
        ({"audio_scale": -0.1}, "options.audio_scale", ""),
        ({"teacache_threshold": -1}, "options.teacache_threshold", ""),
        ({"apg_norm_threshold": 0}, "options.apg_norm_threshold", ""),
        ({"apg_momentun": 0.1}, "options.apg_momentun", "apg_momentum"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], field: str, hint: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        validate(Options, given, "options")
    assert caught.value.code == Code.INPUT
    assert caught.value.fields == (field,)
    assert hint in caught.value.message
