"""Both engines on Wan 2.1 under job.run: memory that is let go, or short, and changed weights."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch

from support import installation, omni_installation
from support.harness import PORTRAITS, SPEECH, frames_digest
from support.tinyavatar import TinyAvatar
from support.tinytalk import TinyTalk
from talkhead import job
from talkhead.engines.infinitetalk import pipeline as talking
from talkhead.engines.omniavatar import pipeline as moving
from talkhead.errors import Code, TalkheadError
from talkhead.request import Talk
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.validation import parse


class Tiny(NamedTuple):
    """An engine of a tiny size, at which windows have 17 frames, 5 of them the last one's."""

    engine: type
    installation: ModuleType
    options: dict[str, int]
    pipeline: ModuleType


TINY = {
    "infinitetalk": Tiny(TinyTalk, installation, {"window": 17, "motion_frames": 5}, talking),
    "omniavatar": Tiny(TinyAvatar, omni_installation, {"max_tokens": 17, "overlap": 5}, moving),
}


@pytest.fixture(scope="module", params=TINY)
def name(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture(scope="module")
def files(name: str, tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    written: installation.Files = TINY[name].installation.write(tmp_path_factory.mktemp("weights"))
    return written


@pytest.fixture
def runtime(
    name: str, files: installation.Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Runtime:
    settings = Settings(store={"root": tmp_path / "out"}, jobs=tmp_path / "jobs")
    made = Runtime(settings, local_paths=True)
    engine = TINY[name].engine(installation.supplies(files, tmp_path / "prompts"))
    monkeypatch.setattr(made, "engine", lambda _name: engine)
    return made


def asked(name: str, key: str) -> Talk:
    request = parse(
        {
            "portrait": str(PORTRAITS / "woman_frontal_closed.png"),
            "speakers": [{"audio": str(SPEECH / "librivox_0870.flac")}],
            "engine": name,
            "quality": "draft",
            "size": "256x256",
            "max_frames": 110,
            "options": TINY[name].options,
            "sampling": {"seed": 4, "steps": 2},
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
def seventh_window_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run out of the GPU's memory once, when a segment is committed and another begun."""
    pipeline = TINY[name].pipeline
    denoise, calls = pipeline.denoise, []

    def failing(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(*given)

    monkeypatch.setattr(pipeline, "denoise", failing)


@pytest.mark.usefixtures("seventh_window_fails")
def test_out_of_memory_midway_keeps_what_is_done(name: str, runtime: Runtime) -> None:
    with pytest.raises(TalkheadError) as caught:
        job.run(asked(name, "again"), runtime)
    assert caught.value.code is Code.OOM
    assert caught.value.job_id == "again"
    again = job.run(asked(name, "again"), runtime)
    assert again.segments is not None
    assert (again.segments.resumed, again.segments.total) == (1, 2)
    assert frames(again) == frames(job.run(asked(name, "whole"), runtime))


@pytest.mark.usefixtures("seventh_window_fails")
def test_other_weights_start_the_job_over(name: str, runtime: Runtime) -> None:
    with pytest.raises(TalkheadError):
        job.run(asked(name, "key"), runtime)
    engine: Any = runtime.engine(name)
    engine.supplies = replace(engine.supplies, identity=lambda _files: "others")
    result = job.run(asked(name, "key"), runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0
    assert any("the engine changed" in notice.message for notice in result.warnings)


def test_the_decoder_is_gone_before_frames_are_encoded_again(
    name: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It carries gigabytes; closing it is not enough in Python 3.12.3."""
    pipeline, decoders, encoded = TINY[name].pipeline, [], []
    shown, encode = pipeline.shown, pipeline.wan_vae.encode

    def noted(*given: Any) -> Iterator[torch.Tensor]:
        made = shown(*given)
        decoders.append(weakref.ref(made))
        return made

    def checked(*given: Any, **more: Any) -> torch.Tensor:
        encoded.append([decoder() for decoder in decoders])
        return encode(*given, **more)

    monkeypatch.setattr(pipeline, "shown", noted)
    monkeypatch.setattr(pipeline.wan_vae, "encode", checked)
    job.run(asked(name, "once"), runtime)
    handed_over = [held for held in encoded if held]
    assert len(handed_over) >= 2
    assert not any(any(held) for held in handed_over)
