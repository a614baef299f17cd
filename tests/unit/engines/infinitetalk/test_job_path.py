"""The engine under job.run: what runs out of memory midway, and what weights have to do with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support import installation
from support.harness import PORTRAITS, SPEECH, frames_digest
from support.tinytalk import TinyTalk
from talkhead import job
from talkhead.engines.infinitetalk import pipeline
from talkhead.errors import Code, TalkheadError
from talkhead.request import Talk
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.validation import parse


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    return installation.write(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def runtime(files: installation.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    settings = Settings(store={"root": tmp_path / "out"}, jobs=tmp_path / "jobs")
    made = Runtime(settings, local_paths=True)
    engine = TinyTalk(installation.supplies(files, tmp_path / "prompts"))
    monkeypatch.setattr(made, "engine", lambda _name: engine)
    return made


def asked(key: str) -> Talk:
    request = parse(
        {
            "portrait": str(PORTRAITS / "woman_frontal_closed.png"),
            "speakers": [{"audio": str(SPEECH / "librivox_0870.wav")}],
            "engine": "infinitetalk",
            "quality": "draft",
            "size": "256x256",
            "max_frames": 110,
            "options": {"window": 17, "motion_frames": 5},
            "sampling": {"seed": 4},
            "idempotency_key": key,
        }
    )
    assert isinstance(request, Talk)
    return request


def frames(result: Result) -> tuple[int, str]:
    assert result.video is not None
    assert result.video.url is not None
    return frames_digest(Path(result.video.url.removeprefix("file://")))


@pytest.fixture
def seventh_window_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run out of the GPU's memory once, when a segment is committed and another begun."""
    denoise, calls = pipeline.denoise, []

    def failing(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(*given)

    monkeypatch.setattr(pipeline, "denoise", failing)


@pytest.mark.usefixtures("seventh_window_fails")
def test_out_of_memory_midway_keeps_what_is_done(runtime: Runtime) -> None:
    with pytest.raises(TalkheadError) as caught:
        job.run(asked("again"), runtime)
    assert caught.value.code is Code.OOM
    assert caught.value.job_id == "again"
    again = job.run(asked("again"), runtime)
    assert again.segments is not None
    assert (again.segments.resumed, again.segments.total) == (1, 2)
    assert frames(again) == frames(job.run(asked("whole"), runtime))


@pytest.mark.usefixtures("seventh_window_fails")
def test_other_weights_start_the_job_over(runtime: Runtime) -> None:
    with pytest.raises(TalkheadError):
        job.run(asked("key"), runtime)
    engine: Any = runtime.engine("infinitetalk")
    engine.supplies = replace(engine.supplies, identity=lambda _files: "others")
    result = job.run(asked("key"), runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0
    assert any("the engine changed" in notice.message for notice in result.warnings)
