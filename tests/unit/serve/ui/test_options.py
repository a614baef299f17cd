"""An engine's options schema as fields of a form."""

import pytest

from talkhead import registry
from talkhead.serve.ui import choices, options
from talkhead.validation import validate

SCHEMAS = {name: registry.options_of(target) for name, target in registry.ENGINES.items()}


@pytest.mark.parametrize("engine", SCHEMAS)
def test_every_option_of_every_engine_has_a_field(engine: str) -> None:
    model = SCHEMAS[engine]
    found = options.options(model.model_json_schema())
    assert [option.name for option in found] == list(model.model_fields)
    assert all(option.label and option.help for option in found)


def test_kinds_and_words() -> None:
    found = {o.name: o for o in options.options(SCHEMAS["infinitetalk"].model_json_schema())}
    assert found["lora"].kind == "choice"
    assert "fusionx" in found["lora"].choices
    assert (found["window"].kind, found["window"].default) == ("whole", "81")
    assert (found["apg"].kind, found["apg"].default) == ("switch", "no")
    assert found["vae_tiling"].default == ""  # unset is its default
    assert found["color_strength"].help.endswith("0 to 1")
    assert found["teacache_threshold"].kind == "number"


def test_what_no_form_can_hold_is_left_out() -> None:
    assert options.options({"properties": {"inner": {"type": "object"}}}) == []
    assert options.options(None) == []


@pytest.mark.parametrize(
    ("name", "typed", "held"),
    [
        ("window", "81", 81),
        ("color_strength", "0,5", 0.5),
        ("apg", "yes", True),
        ("apg", "no", False),
        ("lora", "none", "none"),
        ("base", "wan-base", "wan-base"),
        ("window", "", None),
        ("apg", "", None),
        ("lora", None, None),
        ("window", "many", "many"),  # the server says what is wrong with it
    ],
)
def test_values_there_and_back(name: str, typed: str | None, held: object) -> None:
    found = {o.name: o for o in options.options(SCHEMAS["infinitetalk"].model_json_schema())}
    assert options.value(found[name], typed) == held
    if held is not None:
        assert options.value(found[name], options.shown(found[name], held)) == held
    else:
        assert options.shown(found[name], None) == ""


def test_what_a_form_gives_the_engine_takes() -> None:
    found = {o.name: o for o in options.options(SCHEMAS["draft"].model_json_schema())}
    given = {"head_motion": "0.5", "mouth": "1", "blinks": "no"}
    values = {name: options.value(found[name], typed) for name, typed in given.items()}
    assert validate(SCHEMAS["draft"], values).blinks is False


ABILITY = {
    "ours": True,
    "engine": "draft",
    "engines": [
        {"name": "draft", "ready": True, "sizes": {}, "qualities": [], "max_speakers": 8},
        {
            "name": "infinitetalk", "ready": True, "accepts_video": True, "max_speakers": 2,
            "sizes": {"720": [[960, 960]], "480": [[640, 640], [832, 448]]},
            "qualities": ["draft", "fast", "balanced", "best"],
        },
        {"name": "omniavatar", "ready": False, "max_speakers": 1},
    ],
    "voices": [{"name": "espeak", "ready": True}, {"name": "kokoro", "ready": False}],
}  # fmt: skip


def test_engines_to_choose_from() -> None:
    found = choices.engines(ABILITY)
    assert [value for _, value in found] == ["auto", "draft", "infinitetalk"]
    assert found[0][0] == "Automatic (draft)"
    assert choices.first(found) == "auto"
    none_set = choices.engines({**ABILITY, "engine": None})
    assert choices.first(none_set) == "infinitetalk"  # `auto` would be refused there
    assert choices.first(choices.engines({**ABILITY, "engine": None, "ours": False})) == "auto"


def test_sizes_qualities_and_what_else_an_engine_decides() -> None:
    large, draft = choices.engine(ABILITY, "infinitetalk"), choices.engine(ABILITY, "auto")
    assert draft["name"] == "draft"
    assert [v for _, v in choices.sizes(large)] == [
        "",
        "480p",
        "720p",
        "640x640",
        "832x448",
        "960x960",
    ]
    assert [v for _, v in choices.sizes(draft)][:2] == ["", "512x512"]
    assert [v for _, v in choices.qualities(large)] == ["draft", "fast", "balanced", "best"]
    assert choices.qualities(draft) == []
    assert choices.takes_video(ABILITY)
    assert not choices.takes_two(choices.engine(ABILITY, "omniavatar"))
    assert choices.takes_two({})
    assert choices.voices(ABILITY) == [("espeak", "espeak")]
