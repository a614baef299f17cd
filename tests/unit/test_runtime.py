"""Settings, the registry and what a runtime chooses."""

from pathlib import Path

import pytest

from talkhead import registry
from talkhead.errors import Code, TalkheadError
from talkhead.job import run
from talkhead.runtime import Runtime
from talkhead.settings import Settings, load
from talkhead.validation import parse


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("TALKHEAD_STORE__ROOT", str(tmp_path))
    monkeypatch.setenv("TALKHEAD_KEEP_DAYS", "2.5")
    monkeypatch.setenv("TALKHEAD_ENGINES", '{"mine": "a.b:C"}')
    settings = load()
    assert settings.store.root == tmp_path
    assert settings.keep_days == 2.5
    assert settings.engines == {"mine": "a.b:C"}


@pytest.mark.parametrize(
    ("name", "value"), [("TALKHEAD_ENGIN", "draft"), ("TALKHEAD_KEEP_DAYS", "soon")]
)
def test_bad_settings_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TalkheadError, match=name) as caught:
        load()
    assert caught.value.code is Code.INPUT


def test_the_home_of_jobs_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TALKHEAD_JOBS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load().jobs == tmp_path / "talkhead" / "jobs"


def test_auto_says_why() -> None:
    name, reason = Runtime(Settings()).choose("auto")
    assert name == "draft"
    assert "infinitetalk cannot work here" in reason
    assert "talkhead weights pull infinitetalk" in reason
    mine = Runtime(Settings(engine="mine"))
    assert mine.choose("auto") == ("mine", "the operator's default")
    assert mine.choose("draft") == ("draft", "asked for by name")


def test_engines_are_built_once() -> None:
    runtime = Runtime(Settings())
    assert runtime.engine("draft") is runtime.engine("draft")


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.EXTRAS, "espeak", ("no_such_module", "espeak"))
    runtime = Runtime(Settings())
    with pytest.raises(TalkheadError) as caught:
        runtime.voice("espeak:fr")
    assert caught.value.code is Code.UNSUPPORTED
    assert 'pip install "talkhead[espeak]"' in caught.value.hint
    ability = runtime.ability().ability
    assert ability is not None
    assert [(voice.name, voice.ready) for voice in ability.voices] == [("espeak", False)]


def test_an_engine_that_does_not_import_is_a_load_error() -> None:
    runtime = Runtime(Settings(engines={"bad": "no_such_package.engine:Engine"}))
    with pytest.raises(TalkheadError) as caught:
        runtime.engine("bad")
    assert caught.value.code is Code.WEIGHTS


def test_options_are_the_engines_own() -> None:
    runtime = Runtime(Settings())
    assert runtime.options("draft", {"blinks": False}).blinks is False
    with pytest.raises(
        TalkheadError, match=r"options\.blink: unknown field, did you mean 'blinks'"
    ):
        runtime.options("draft", {"blink": False})
    with pytest.raises(TalkheadError, match=r"options\.head_motion"):
        runtime.options("draft", {"head_motion": 9})


def test_a_server_takes_no_engine_by_itself() -> None:
    with pytest.raises(TalkheadError, match="no default engine") as caught:
        Runtime(Settings(), serving=True).choose("auto")
    assert caught.value.code is Code.WEIGHTS
    assert Runtime(Settings(engine="draft"), serving=True).choose("auto")[0] == "draft"


def test_what_nothing_serves_is_not_offered() -> None:
    ability = Runtime(Settings()).ability().ability
    assert ability is not None
    assert ability.actions == ("talk", "speak", "batch", "health", "capabilities")
    runtime = Runtime(Settings())
    for payload in (
        {"action": "animate", "portrait": "library:a.png", "video": "library:b.mp4"},
        {"action": "animate", "engine": "wan-animate", "portrait": "data:,", "video": "data:,"},
        {"action": "portrait", "prompt": "a woman"},
    ):
        with pytest.raises(TalkheadError) as caught:
            run(parse(payload), runtime)
        assert caught.value.code is Code.UNSUPPORTED


def test_the_self_test_renders_and_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings(store={"root": tmp_path / "out"}, jobs=tmp_path / "jobs")
    result = run(parse({"action": "health", "self_test": True}), Runtime(settings))
    assert result.healthy
    assert result.seconds["render"] > 0
    assert list(tmp_path.iterdir()) == []
