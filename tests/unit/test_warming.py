"""Warming up: after it the first job finds its networks loaded."""

from pathlib import Path
from typing import Any

import pytest

from support import installation
from talkhead.engines.infinitetalk import checkpoint
from talkhead.errors import Code, TalkheadError
from talkhead.runtime import Runtime
from talkhead.settings import Settings, load
from talkhead.validation import parse
from talkhead.warming import warm_up


def settings_of(folder: Path, engine: str) -> Settings:
    return Settings(
        engine=engine,
        engines={"infinitetalk": "support.tinytalk:TinyTalk"},
        weights=folder / "weights",
        weights_also=(),
        weights_manifest=folder / "weights" / "tiny.toml",
        hf_cache=folder / "none",
        device="cpu",
    )


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that grows each time networks are loaded."""
    seen: list[Any] = []
    own = checkpoint.load_models

    def load_models(files: Any, choice: Any, *rest: Any) -> Any:
        seen.append(choice)
        return own(files, choice, *rest)

    monkeypatch.setattr(checkpoint, "load_models", load_models)
    return seen


def test_the_first_job_loads_nothing(tmp_path: Path, loads: list[Any]) -> None:
    installation.install(tmp_path / "weights", pickles=False)
    runtime = Runtime(settings_of(tmp_path, "infinitetalk"), serving=True)
    assert warm_up(runtime, "64x64") > 0
    (choice,) = loads
    assert choice.lora == "rank64"  # the default quality's
    from talkhead import job

    request = parse({
        "action": "talk",
        "engine": "infinitetalk",
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": "library:librivox.flac"}],
        "size": "256x256",
        "max_frames": 5,
        "sampling": {"steps": 1},
        "options": {"window": 5, "motion_frames": 1},
    })  # fmt: skip
    assert job.run(request, runtime, lambda _: None).video is not None
    assert len(loads) == 1


def test_an_engine_without_weights_has_nothing_to_warm(tmp_path: Path) -> None:
    assert warm_up(Runtime(settings_of(tmp_path, "draft"), serving=True), "640x640") == 0


def test_missing_weights_are_told_before_the_first_job(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    settings = settings_of(tmp_path, "infinitetalk").model_copy(update={"weights_manifest": None})
    with pytest.raises(TalkheadError) as caught:
        warm_up(Runtime(settings, serving=True), "64x32")
    assert caught.value.code is Code.WEIGHTS
    assert "weights pull" in caught.value.hint


def test_a_child_that_warms_up_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().worker.ready_s == 120
    monkeypatch.setenv("TALKHEAD_WORKER__WARM_UP", "640x640")
    assert load().worker.ready_s == 120 + 900
    monkeypatch.setenv("TALKHEAD_WORKER__WARM_UP", "large")
    with pytest.raises(TalkheadError, match="TALKHEAD_WORKER__WARM_UP"):
        load()
