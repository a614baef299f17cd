"""The engine under job.run: what it refuses before any work, and that the worker can warm it up."""

from pathlib import Path
from typing import Any

import pytest

from support import installation, omni_installation
from support.harness import PORTRAITS, SPEECH
from support.media import levels, write_clip
from support.tinyavatar import TinyAvatar
from talkhead import job
from talkhead.engines.omniavatar import checkpoint
from talkhead.engines.omniavatar.options import Options
from talkhead.errors import Code, TalkheadError
from talkhead.request import Talk
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.validation import parse
from talkhead.warming import warm_up

VOICE = {"audio": str(SPEECH / "librivox_0870.flac")}


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    settings = Settings(
        engine="omniavatar", store={"root": tmp_path / "out"}, jobs=tmp_path / "jobs"
    )
    made = Runtime(settings, local_paths=True)
    files = omni_installation.write(tmp_path)
    engine = TinyAvatar(installation.supplies(files, tmp_path / "prompts"))
    monkeypatch.setattr(made, "engine", lambda _name: engine)
    return made


def asked(**more: Any) -> Talk:
    fields = {
        "portrait": str(PORTRAITS / "woman_frontal_closed.png"),
        "speakers": [VOICE],
        "engine": "omniavatar",
        "quality": "draft",
        "size": "256x256",
        "max_frames": 20,
        "options": {"max_tokens": 17, "overlap": 5},
        "sampling": {"seed": 4, "steps": 1},
        **more,
    }
    request = parse({name: value for name, value in fields.items() if value is not None})
    assert isinstance(request, Talk)
    return request


def refused(request: Talk, runtime: Runtime) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    return caught.value


def test_one_speaker_in_a_still_and_no_more(runtime: Runtime, tmp_path: Path) -> None:
    boxes = (10, 20, 110, 200), (140, 30, 250, 220)
    two = refused(asked(speakers=[{**VOICE, "box": box} for box in boxes]), runtime)
    assert (two.code, two.fields) == (Code.UNSUPPORTED, ("speakers",))
    source = write_clip(tmp_path / "source.mp4", levels(30, 256, 256))
    video = refused(asked(portrait=None, video=str(source)), runtime)
    assert (video.code, video.fields) == (Code.UNSUPPORTED, ("video",))
    assert not list((tmp_path / "out").rglob("*.mp4"))


def test_other_settings_than_its_own_are_named(runtime: Runtime) -> None:
    error = refused(asked(options={"window": 17}), runtime)
    assert error.code == Code.INPUT
    assert "options.window" in error.fields
    short = refused(asked(options={"max_tokens": 1}), runtime)
    assert "options.max_tokens" in short.fields


def test_the_first_job_of_a_warm_worker_loads_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    own = checkpoint.load_models

    def load_models(*given: Any) -> Any:
        loads.append(given[1])
        return own(*given)

    monkeypatch.setattr(checkpoint, "load_models", load_models)
    with monkeypatch.context() as small:  # chunks of the default length are slow on a CPU
        small.setattr(runtime, "options", lambda *_: Options(max_tokens=17))
        assert warm_up(runtime, "32x32") > 0
    assert len(loads) == 1
    assert job.run(asked(), runtime).video is not None
    assert len(loads) == 1
