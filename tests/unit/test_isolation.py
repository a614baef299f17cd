"""Voices are freed of music for the engine's ears alone, once, where an isolator is registered."""

import threading
from pathlib import Path

import numpy as np
import pytest

from support import isolating
from support.cards import card_runtime
from support.harness import read_sound, write_wav
from support.media import decoded_sound, levels, tone, write_video
from support.testcard import ClipCard
from talkhead import job, report
from talkhead.errors import Code, TalkheadError
from talkhead.media.isolation import write_voice
from talkhead.request import Talk
from talkhead.result import Progress
from talkhead.runtime import Runtime
from talkhead.validation import parse

HALVER = {"halver": "support.isolating:Halver"}


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    isolating.CALLS.clear()


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """Return 6 s of a tone of half of full scale."""
    return write_wav(tmp_path / "sound.wav", tone(6, 16_000)[0])


def asked(portrait: Path, *sounds: Path, isolate: object = True) -> Talk:
    request = parse(
        {
            "portrait": str(portrait),
            "speakers": [{"audio": str(sound), "isolate_vocals": isolate} for sound in sounds],
            "sampling": {"seed": 1},
            "idempotency_key": "k",
        }
    )
    assert isinstance(request, Talk)
    return request


def heard_peaks(runtime: Runtime) -> list[float]:
    engine = runtime.engine("clipcard")
    assert isinstance(engine, ClipCard)
    assert engine.inputs is not None
    return [float(np.abs(s.speech).max()) for s in engine.inputs.speakers]


def test_the_engine_hears_the_voice_and_the_video_keeps_the_sound(
    tmp_path, portrait, sound
) -> None:
    runtime = card_runtime(tmp_path, engine="clipcard", isolators=HALVER)
    result = job.run(asked(portrait, sound, sound, isolate="auto"), runtime)
    assert heard_peaks(runtime) == pytest.approx([0.25, 0.25], abs=0.02)
    assert [(44_100, 2, f".vocals-{index}.sound.wav") for index in (0, 1)] == isolating.CALLS
    assert not [notice for notice in result.warnings if notice.code == "W_NOT_ISOLATED"]
    assert result.video is not None
    kept = decoded_sound(tmp_path / "store" / result.video.key)
    assert np.abs(kept).max() > 0.7  # both speakers' own sound
    assert runtime.isolator() is runtime.isolator()


def test_nothing_is_isolated_that_nobody_asked_for(tmp_path, portrait, sound) -> None:
    runtime = card_runtime(tmp_path, engine="clipcard", isolators=HALVER)
    job.run(asked(portrait, sound, isolate=False), runtime)
    assert (heard_peaks(runtime), isolating.CALLS) == ([pytest.approx(0.5, abs=0.02)], [])


@pytest.mark.parametrize("mirror", [False, True])
def test_a_voice_is_taken_out_once(tmp_path, portrait, sound, monkeypatch, mirror) -> None:
    monkeypatch.setattr(report, "BEAT", 0)
    runtime = card_runtime(tmp_path, engine="clipcard", isolators=HALVER, mirror=mirror)
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.stage == "render" and step.done >= 80:
            cancel.set()

    with pytest.raises(TalkheadError):
        job.run(asked(portrait, sound), runtime, stop, cancel=cancel)
    folder = tmp_path / "jobs" / "k"
    assert (folder / "vocals-0.wav").exists()
    assert not list(folder.glob(".vocals*"))
    (folder / "prepared.npz").unlink()
    if mirror:
        assert (tmp_path / "store/.jobs/k/vocals-0.wav").exists()
    job.run(asked(portrait, sound), runtime)
    assert len(isolating.CALLS) == 1


def test_without_an_isolator_it_is_refused_or_told(tmp_path, portrait, sound) -> None:
    runtime = card_runtime(tmp_path, engine="clipcard")
    assert runtime.isolator() is None
    with pytest.raises(TalkheadError, match="vocal isolation is not installed") as caught:
        job.run(asked(portrait, sound), runtime)
    assert (caught.value.code, caught.value.fields) == (Code.UNSUPPORTED, ("speakers",))
    assert "docs/contract.md" in caught.value.hint
    result = job.run(asked(portrait, sound, isolate="auto"), runtime)
    assert [n.field for n in result.warnings if n.code == "W_NOT_ISOLATED"] == ["speakers"]


def test_an_isolator_that_writes_nothing_is_named(tmp_path, portrait, sound) -> None:
    isolators = {"bad": "support.isolating:Forgetful"}
    runtime = card_runtime(tmp_path, engine="clipcard", isolators=isolators)
    with pytest.raises(TalkheadError, match="Forgetful wrote no voice") as caught:
        job.run(asked(portrait, sound), runtime)
    assert caught.value.code is Code.GENERATION


def test_a_videos_late_sound_stays_late(tmp_path: Path) -> None:
    """The isolator gets the sound from the start of the picture, whatever holds it."""
    video = write_video(tmp_path / "a.mp4", levels(25), tone(1, 48_000), late=0.5)
    write_voice(isolating.Halver(), video, tmp_path / "vocals-0.wav", lambda *_: None)
    voice = read_sound(tmp_path / "vocals-0.wav").reshape(-1, 2)
    assert np.abs(voice[: int(0.45 * 44_100)]).max() < 0.01
    assert np.std(voice[26_000:48_000]) == pytest.approx(0.25 / 2**0.5, abs=0.02)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "vocals-0.wav"]
