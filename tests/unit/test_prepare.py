"""Texts that are spoken: the same job has the same video, whatever the process did before."""

import shutil
import threading
from pathlib import Path

import av
import pytest

from support.harness import frames_digest
from talkhead import job, report
from talkhead.errors import Code, TalkheadError
from talkhead.request import Talk
from talkhead.result import Progress
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.stores.local import LocalStore
from talkhead.validation import parse

TEXT = "Hello there, my good old friend, how are you today? I am fine, thanks."


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(report, "BEAT", 0)
    settings = Settings(jobs=tmp_path / "jobs", store={"root": tmp_path / "store"})
    return Runtime(settings, LocalStore(tmp_path / "store"))


def spoken(key: str, text: str = TEXT) -> Talk:
    request = parse(
        {
            "portrait": "library:astronaut.png",
            "speakers": [{"text": text, "voice": "espeak"}],
            "engine": "draft",
            "size": "256x256",
            "fit": "face",
            "sampling": {"seed": 1},
            "idempotency_key": key,
        }
    )
    assert isinstance(request, Talk)
    return request


def seen_and_heard(runtime: Runtime, key: str) -> tuple[object, bytes]:
    video = runtime.settings.jobs.with_name("store") / key / "video.mp4"
    with av.open(str(video)) as container:
        sound = [frame.to_ndarray().tobytes() for frame in container.decode(audio=0)]
    return frames_digest(video), b"".join(sound)


def cut_short(runtime: Runtime, key: str) -> Path:
    """Run the job until its first segment is there; return its folder."""
    cancel = threading.Event()
    folder: Path = runtime.settings.jobs / key

    def stop(step: Progress) -> None:
        if list(folder.glob("segment-*.mp4")):
            cancel.set()

    with pytest.raises(TalkheadError) as caught:
        job.run(spoken(key), runtime, stop, cancel=cancel)
    assert caught.value.code is Code.CANCELLED
    assert (folder / "voice-0.wav").exists()
    return folder


def test_a_spoken_job_is_the_same_whenever_it_runs(runtime: Runtime) -> None:
    job.run(spoken("whole"), runtime)
    whole = seen_and_heard(runtime, "whole")
    job.run(spoken("other", "Something else, she says."), runtime)
    assert seen_and_heard(runtime, "other") != whole

    cut_short(runtime, "cut")
    result = job.run(spoken("cut"), runtime)
    assert result.segments is not None
    assert result.segments.resumed >= 1
    assert seen_and_heard(runtime, "cut") == whole

    shutil.rmtree(cut_short(runtime, "lost"))
    job.run(spoken("lost"), runtime)
    assert seen_and_heard(runtime, "lost") == whole


def test_a_lost_voice_is_spoken_again_for_the_segments_that_are_there(runtime: Runtime) -> None:
    job.run(spoken("whole"), runtime)
    folder = cut_short(runtime, "k")
    (folder / "voice-0.wav").unlink()
    (folder / "prepared.npz").unlink()
    result = job.run(spoken("k"), runtime)
    assert result.segments is not None
    assert result.segments.resumed >= 1
    assert seen_and_heard(runtime, "k") == seen_and_heard(runtime, "whole")
