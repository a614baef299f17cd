"""A job goes on from its copy in the store when its own disk is gone."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from support import testcard
from support.cards import asked, card_runtime
from support.harness import frames_digest
from talkhead import job, report
from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress
from talkhead.stores.local import LocalStore


@pytest.fixture(autouse=True)
def _every_tick_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "BEAT", 0)
    testcard.CALLS.clear()


def cancelled_after(request, runtime, frames: int) -> None:
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.stage == "render" and frames <= step.done < step.total:
            cancel.set()

    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, stop, cancel=cancel)
    assert caught.value.code is Code.CANCELLED


def test_a_job_goes_on_where_its_disk_is_gone(portrait, speech, tmp_path: Path) -> None:
    testcard.CALLS.clear()
    whole = job.run(asked(portrait, speech, idempotency_key="a"), card_runtime(tmp_path))
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="b")
    cancelled_after(request, runtime, 80)
    copies = {file.name for file in (tmp_path / "store" / ".jobs" / "b").iterdir()}
    assert {"index.json", "segment-00000.mp4", "prepared.npz"} <= copies
    shutil.rmtree(tmp_path / "jobs")
    testcard.CALLS.clear()
    result = job.run(request, runtime)
    assert testcard.CALLS[-1] == "generate from 80"
    assert "prepare" not in testcard.CALLS
    assert result.segments is not None
    assert result.segments.resumed == 1
    store = tmp_path / "store"
    assert frames_digest(store / "b/video.mp4") == frames_digest(store / "a/video.mp4")
    assert whole.video is not None
    assert not (store / ".jobs").exists()


def test_large_arrays_are_copied_too(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    more = {"engine": "testcard", "options": {"features_mb": 5}}
    request = asked(portrait, speech, idempotency_key="b", **more)
    cancelled_after(request, runtime, 80)
    names = {file.name for file in (tmp_path / "jobs" / "b").iterdir()}
    assert "prepared.features.npy" in names
    assert not [name for name in names if name.startswith(".") and name.endswith(".npy")]
    assert (tmp_path / "store/.jobs/b/prepared.features.npy").exists()
    shutil.rmtree(tmp_path / "jobs")
    testcard.CALLS.clear()
    result = job.run(request, runtime)
    assert testcard.CALLS == ["generate from 80"]
    assert not [notice for notice in result.warnings if notice.code == "W_RESUMED"]
    assert not (tmp_path / "store" / ".jobs").exists()


def test_a_store_that_fails_does_not_stop_the_job(
    portrait, speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put

    def refuse(self, file, key, **more):
        if ".jobs" in key:
            raise TalkheadError(Code.STORE, "the store is away")
        return put(self, file, key, **more)

    monkeypatch.setattr(LocalStore, "put", refuse)
    result = job.run(asked(portrait, speech), card_runtime(tmp_path, mirror=True))
    told = [notice.message for notice in result.warnings if notice.code == "W_RESUMED"]
    assert told == ["the copy in the store could not be kept up to date: the store is away"]


def test_a_copy_that_lost_a_file_is_started_over(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="c")
    cancelled_after(request, runtime, 80)
    shutil.rmtree(tmp_path / "jobs")
    (tmp_path / "store/.jobs/c/segment-00000.mp4").unlink()
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0
    assert any("started over" in notice.message for notice in result.warnings)


def test_the_disk_wins_where_it_holds_as_much(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="d")
    cancelled_after(request, runtime, 80)
    (tmp_path / "store/.jobs/d/segment-00000.mp4").unlink()
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == 1


def test_only_what_a_job_makes_is_brought_back(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="e")
    cancelled_after(request, runtime, 80)
    home = tmp_path / "store/.jobs/e"
    index = json.loads((home / "index.json").read_text())
    index["files"] |= {"../../../planted.mp4": "0", "planted.sh": "0"}
    (home / "index.json").write_text(json.dumps(index))
    (home / "planted.sh").write_text("x")
    (tmp_path / "store/planted.mp4").write_text("x")
    (home / "prepared.npz").write_bytes(b"not what the index says")
    shutil.rmtree(tmp_path / "jobs")
    stop = threading.Event()
    brought: set[str] = set()

    def look(step: Progress) -> None:
        if step.stage == "prepare":
            brought.update(file.name for file in (tmp_path / "jobs/e").iterdir())

    result = job.run(request, runtime, look, cancel=stop)
    assert "segment-00000.mp4" in brought
    assert not {"planted.sh", "planted.mp4"} & brought
    assert result.segments is not None
    assert result.segments.resumed == 1
    assert testcard.CALLS.count("prepare") == 2  # the tampered preparation was not believed
    assert not (tmp_path / "planted.mp4").exists()


def test_the_copy_lies_in_the_operators_store(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True, store={"root": tmp_path / "operator"})
    cancelled_after(asked(portrait, speech, idempotency_key="f"), runtime, 80)
    assert (tmp_path / "operator/.jobs/f/index.json").is_file()
    assert not (tmp_path / "store").exists()
    request = tmp_path / "jobs/f/request.json"
    assert request.stat().st_mode & 0o077 == 0


def test_a_damaged_index_is_no_copy(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="g")
    cancelled_after(request, runtime, 80)
    shutil.rmtree(tmp_path / "jobs")
    (tmp_path / "store/.jobs/g/index.json").write_text("[")
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0


def test_a_copy_by_another_version_is_started_over(portrait, speech, tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, mirror=True)
    request = asked(portrait, speech, idempotency_key="h")
    cancelled_after(request, runtime, 80)
    shutil.rmtree(tmp_path / "jobs")
    index = tmp_path / "store/.jobs/h/index.json"
    copy = json.loads(index.read_text())
    first, rest = copy["manifest"].split("\n", 1)
    entry = json.loads(first)
    entry["job"]["engine"] = "testcard of last year"
    index.write_text(json.dumps({**copy, "manifest": f"{json.dumps(entry)}\n{rest}"}))
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0
    assert any("the engine changed" in notice.message for notice in result.warnings)
    assert testcard.CALLS.count("prepare") == 2  # nor was the older preparation believed
    assert not (tmp_path / "store/.jobs").exists()
