"""What a job leaves on the disk: all that a retry can use, and nothing that it cannot."""

import json
import os
import threading
from pathlib import Path

import pytest

from support import testcard
from support.cards import Painter, asked, card_runtime, card_settings
from talkhead import job, jobs, lease, report
from talkhead.errors import Code, TalkheadError
from talkhead.result import Progress
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.stores.local import LocalStore
from talkhead.validation import parse


class Away(LocalStore):
    """A store that takes nothing until it is back."""

    back = False

    def put(self, file: Path, key: str, **more) -> bool:
        if not self.back:
            raise TalkheadError(Code.STORE, "the store is away")
        return super().put(file, key, **more)


def away(folder: Path, **more: object) -> tuple[Runtime, Away]:
    store = Away(folder / "store")
    return Runtime(Settings(**card_settings(folder, **more)), store), store


def served(folder: Path, root: Path, **more: object) -> Runtime:
    """Return a worker's runtime, which reads its files from the volume `root`."""
    settings = Settings(**card_settings(folder, volumes=(root,), **more))
    return Runtime(settings, LocalStore(folder / "store"), serving=True)


def kept(runtime: Runtime) -> list[str]:
    return [job.id for job in jobs.kept(runtime.settings.jobs)]


@pytest.mark.parametrize(
    "asks",
    [
        {"action": "portrait", "prompt": "a man"},
        {"action": "speak", "text": "Hi", "voice": "espeak"},
    ],
    ids=["portrait", "speak"],
)
def test_what_is_made_waits_for_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: dict
) -> None:
    runtime, store = away(tmp_path)
    request = parse({**asks, "idempotency_key": "k"})
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    assert (caught.value.code, caught.value.job_id, kept(runtime)) == (Code.STORE, "k", ["k"])

    def never(*_: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(Painter, "make", never)
    monkeypatch.setattr("talkhead.prepare._speak", never)
    store.back = True
    result = job.run(request, runtime)
    assert len(result.outputs) == 1
    assert store.path(result.outputs[0].key).stat().st_size == result.outputs[0].bytes
    assert kept(runtime) == []


def test_files_for_another_output_are_made_again(tmp_path: Path) -> None:
    runtime, store = away(tmp_path)
    asks = {"action": "portrait", "prompt": "a man", "idempotency_key": "k"}
    with pytest.raises(TalkheadError):
        job.run(parse(asks), runtime)
    store.back = True
    (tmp_path / "jobs/k/picture.png").write_bytes(b"spoilt")
    result = job.run(parse({**asks, "output": {"prefix": "there"}}), runtime)
    assert store.path("there/k/picture.png").stat().st_size == result.outputs[0].bytes > 6


def test_a_job_that_made_nothing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise TalkheadError(Code.CAPACITY, "no room")

    monkeypatch.setattr(Painter, "make", no_room)
    runtime = card_runtime(tmp_path)
    with pytest.raises(TalkheadError, match="no room"):
        job.run(parse({"action": "portrait", "prompt": "a man"}), runtime)
    assert kept(runtime) == []


def test_what_a_run_gives_up_outlives_its_own_clean_up(portrait, speech, tmp_path: Path) -> None:
    runtime, store = away(tmp_path, keep_gb=1e-9, volumes=(tmp_path,))
    request = asked(f"volume:{portrait.name}", f"volume:{speech.name}", idempotency_key="k")
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    assert (caught.value.code, caught.value.job_id) == (Code.STORE, "k")
    assert kept(runtime) == ["k"]
    store.back = True
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == result.segments.total


def test_an_upgrade_starts_a_job_over_with_a_notice(
    portrait, speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, request, folder = interrupted(portrait, speech, tmp_path, monkeypatch)
    manifest = folder / "manifest.jsonl"
    first, rest = manifest.read_text().split("\n", 1)
    entry = json.loads(first)
    entry["job"]["engine"] = "testcard of last year"
    manifest.write_text(json.dumps(entry) + "\n" + rest)
    result = job.run(request, runtime)
    assert result.segments is not None
    assert result.segments.resumed == 0
    told = [notice.message for notice in result.warnings if notice.code == "W_RESUMED"]
    assert told == ["the engine changed; the job was started over"]


def interrupted(portrait, speech, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a runtime, a request that was cancelled in the middle, and its job folder."""
    monkeypatch.setattr(report, "BEAT", 0)
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.stage == "render" and 80 <= step.done < step.total:
            cancel.set()

    runtime = served(folder, folder, mirror=True)
    request = asked(f"volume:{portrait.name}", f"volume:{speech.name}", idempotency_key="k")
    with pytest.raises(TalkheadError):
        job.run(request, runtime, stop, cancel=cancel)
    return runtime, request, runtime.settings.jobs / "k"


def test_a_repeat_deletes_what_a_kill_left(
    portrait, speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, request, folder = interrupted(portrait, speech, tmp_path, monkeypatch)
    copy = tmp_path / "store/.jobs/k"
    folder.rename(tmp_path / "left")
    copy.rename(tmp_path / "left-copy")
    job.run(request, runtime)
    (tmp_path / "left").rename(folder)
    copy.parent.mkdir(exist_ok=True)
    (tmp_path / "left-copy").rename(copy)
    with lease.lock(folder):
        assert job.run(request, runtime).repeated
        assert copy.exists()
    assert folder.exists()
    assert job.run(request, runtime).repeated
    assert not folder.exists()
    assert not copy.exists()


def test_a_repeat_leaves_another_jobs_folder(
    portrait, speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, _, folder = interrupted(portrait, speech, tmp_path, monkeypatch)
    assert not jobs.forget(runtime.settings.jobs, "k", "another digest")
    assert folder.exists()


def test_a_worker_waits_for_a_lost_workers_lease(portrait, speech, tmp_path: Path) -> None:
    runtime = served(tmp_path, tmp_path)
    lock = tmp_path / "jobs/k/lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("a-worker-that-was-killed")
    waits: list[Progress] = []

    def runs_out(step: Progress) -> None:
        if step.stage == "prepare" and not waits:
            waits.append(step)
            os.utime(lock, (1, 1))

    request = asked(f"volume:{portrait.name}", f"volume:{speech.name}", idempotency_key="k")
    assert job.run(request, runtime, runs_out).video is not None
    assert len(waits) == 1


def test_a_job_that_ended_while_it_was_waited_for_is_not_done_again(
    portrait, speech, tmp_path: Path
) -> None:
    runtime = served(tmp_path, tmp_path)
    request = asked(f"volume:{portrait.name}", f"volume:{speech.name}", idempotency_key="k")
    job.run(request, runtime)
    record = (tmp_path / "store/k/result.json").rename(tmp_path / "record")
    lock = tmp_path / "jobs/k/lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("another-worker")
    testcard.CALLS.clear()

    def ends(step: Progress) -> None:
        if step.stage == "prepare" and record.exists():
            record.rename(tmp_path / "store/k/result.json")
            os.utime(lock, (1, 1))

    assert job.run(request, runtime, ends).repeated
    assert "prepare" not in testcard.CALLS
    assert kept(runtime) == []


def test_a_deadline_ends_the_wait(portrait, speech, tmp_path: Path) -> None:
    runtime = served(tmp_path, tmp_path)
    request = asked(
        f"volume:{portrait.name}", f"volume:{speech.name}", idempotency_key="k", deadline_s=1
    )
    with lease.lock(tmp_path / "jobs/k"), pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    assert (caught.value.code, caught.value.stage) == (Code.TIMEOUT, "prepare")


def test_a_long_job_renews_both_its_leases(
    portrait, speech, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RENEW", 0)
    monkeypatch.setattr(report, "BEAT", 0)
    ages: list[list[float]] = []

    def look(step: Progress) -> None:
        if step.stage == "render" and 0 < step.done < step.total:  # a tick, not a stage's end
            locks = list((tmp_path / "jobs").glob("*/lock"))
            ages.append([lock.stat().st_mtime for lock in locks])
            for lock in locks:
                os.utime(lock, (1, 1))

    job.run(asked(portrait, speech, idempotency_key="k"), card_runtime(tmp_path), look)
    assert {len(both) for both in ages} == {2}
    assert all(min(both) > 1 for both in ages)
