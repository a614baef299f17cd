"""Several requests as one job, on the test card: what is shared, what is not, and what goes on."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support import testcard
from support.cards import card_runtime
from support.harness import frames_digest
from talkhead import batch, job, jobs, report
from talkhead.errors import Code, TalkheadError
from talkhead.request import Batch
from talkhead.result import Progress, Result
from talkhead.runtime import Runtime
from talkhead.validation import parse

SHORT = {"max_frames": 10}


@pytest.fixture
def item(portrait: Path, speech: Path) -> dict[str, Any]:
    """Return a request for 100 frames, in two segments."""
    talk = {"portrait": str(portrait), "speakers": [{"audio": str(speech)}]}
    return {**talk, "size": "256x256", "engine": "testcard", "max_frames": 100}


def several(*items: dict[str, Any], **more: Any) -> Batch:
    found = parse({"action": "batch", "items": items, "idempotency_key": "b", **more})
    assert isinstance(found, Batch)
    return found


def serving(folder: Path, **more: Any) -> Runtime:
    """Return a runtime that answers a repeat without a look at its inputs, as servers do."""
    runtime = card_runtime(folder, volumes=(folder,), **more)
    runtime.local_paths = False
    return runtime


def by_volume(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    named = {"portrait": "volume:portrait.png", "speakers": [{"audio": "volume:speech.wav"}]}
    return {**item, **named, **more}


def outcomes(result: Result) -> list[str]:
    return [end.error.code if end.error else "good" for end in result.items]


def test_items_are_apart_and_their_errors_are_their_own(item, runtime, tmp_path) -> None:
    fault = {**item, "max_frames": 120, "options": {"fault": "memory"}}
    request = several(
        {**item, "output": {"name": "mine"}},
        {**item, **SHORT, "portrait": "nowhere.png"},
        fault,
        {**item, **SHORT, "output": {"thumbnail": True}},
        {"action": "animate", "portrait": item["portrait"], "video": "a.mp4"},
        {**item, **SHORT},
        output={"prefix": "p", "thumbnail": False},
    )
    seen: list[Progress] = []
    result = job.run(request, runtime, seen.append)
    assert outcomes(result) == [
        "good",
        Code.INPUT,
        Code.OOM,
        "good",
        Code.UNSUPPORTED,
        "good",
    ]
    keys = {
        path.relative_to(tmp_path / "store").as_posix()
        for path in (tmp_path / "store").rglob("*")
        if path.is_file()
    }
    assert keys == {
        *(f"p/b/{name}" for name in ("0/mine.mp4", "0/result.json", "3/video.mp4")),
        *(f"p/b/{name}" for name in ("3/thumbnail.jpg", "3/result.json", "5/video.mp4")),
        *(f"p/b/{name}" for name in ("5/result.json", "result.json")),
    }
    lost = result.items[1].error
    assert lost is not None
    assert lost.fields == ("items.1.portrait",)
    assert lost.message.startswith("items.1.portrait: ")
    seeds = [end.result.seed for end in result.items if end.result]
    assert len(set(seeds)) == 3  # items that are alike differ
    assert result.total is not None
    assert (result.total.items, result.total.failed, result.total.frames) == (6, 3, 120)
    record = json.loads((tmp_path / "store/p/b/result.json").read_text())
    assert record["items"][0]["result"]["outputs"][0]["key"] == "p/b/0/mine.mp4"
    assert record["items"][0]["result"]["outputs"][0]["url"] is None
    assert [step.pct for step in seen] == sorted(step.pct for step in seen)
    assert seen[-1].pct == 100
    assert {(step.item, step.items) for step in seen if step.stage == "render"} == {
        (1, 6),
        (3, 6),
        (4, 6),
        (6, 6),
    }
    begun = next(step for step in seen if step.stage == "render" and step.item == 3)
    planned = 100 + 120 + 10 + batch.FRAMES + 10
    assert begun.pct >= 3 + 97 * 100 / planned  # the first item's frames, of all that are planned
    # the item that ran out of memory keeps its segments for the next try; nothing else is left
    assert [path.name for path in (runtime.settings.jobs / "b").iterdir() if path.is_dir()] == ["2"]
    assert not list(runtime.settings.jobs.glob(".scratch-*"))


def test_a_repeat_is_answered_and_failed_items_are_tried_again(item, tmp_path) -> None:
    runtime = serving(tmp_path)
    late = by_volume(item, **SHORT, portrait="volume:later.png")
    request = several(by_volume(item, **SHORT), late)
    first = job.run(request, runtime)
    assert outcomes(first) == ["good", Code.INPUT]
    (tmp_path / "portrait.png").rename(tmp_path / "later.png")  # the first item's input is gone
    testcard.CALLS.clear()
    second = job.run(request, runtime)
    assert outcomes(second) == ["good", "good"]
    assert testcard.CALLS == ["prepare", "generate from 0"]
    assert [end.result and end.result.repeated for end in second.items] == [True, False]
    assert not second.repeated
    testcard.CALLS.clear()
    third = job.run(request, runtime)
    assert third.repeated
    assert testcard.CALLS == []
    assert jobs.kept(runtime.settings.jobs) == []
    with pytest.raises(TalkheadError, match="already used"):
        job.run(several(by_volume(item, **SHORT, fit="pad"), late), runtime)
    with pytest.raises(TalkheadError, match="already used"):
        job.run(parse(by_volume(item, **SHORT, portrait="volume:later.png", idempotency_key="b")),
                runtime)  # fmt: skip


def test_a_batch_that_is_cancelled_goes_on_where_it_was(
    item, runtime, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(report, "BEAT", 0)
    items = ({**item, **SHORT}, {**item, "max_frames": 175}, {**item, **SHORT})
    job.run(several(*items, output={"prefix": "whole"}), runtime)
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.item == 2 and step.stage == "render" and 80 <= step.done < step.total:
            cancel.set()

    request = several(*items)
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, stop, cancel=cancel)
    assert (caught.value.code, caught.value.job_id) == (Code.CANCELLED, "b")
    (kept,) = jobs.kept(runtime.settings.jobs)
    assert (kept.id, kept.batch, kept.done, kept.total) == ("b", True, 1, 3)
    assert kept.to_dict()["items_done"] == 1
    testcard.CALLS.clear()
    result = job.run(request, runtime)
    assert testcard.CALLS[0] != "generate from 0"
    assert testcard.CALLS[1:] == ["prepare", "generate from 0"]
    resumed = [end.result.segments for end in result.items if end.result and end.result.segments]
    assert [each.resumed > 0 for each in resumed] == [False, True, False]
    for index in range(3):
        whole, again = (tmp_path / f"store/{at}/{index}/video.mp4" for at in ("whole/b", "b"))
        assert frames_digest(whole) == frames_digest(again)
    assert jobs.kept(runtime.settings.jobs) == []


def test_a_batch_without_a_key_goes_on_by_its_id(item, runtime, monkeypatch) -> None:
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.item == 2 and step.stage == "render":
            cancel.set()

    request = several({**item, **SHORT}, {**item, **SHORT}, idempotency_key=None)
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, stop, cancel=cancel)
    name = caught.value.job_id
    assert name is not None
    saved = jobs.saved_request(runtime.settings.jobs, name)
    result = job.run(parse(saved), runtime, resume=name)
    assert result.items[0].result is not None
    assert result.items[0].result.repeated
    with pytest.raises(TalkheadError, match="no unfinished job"):
        job.run(request, runtime, resume=name)


def test_deadline_and_full_disk_end_the_batch(item, runtime, monkeypatch) -> None:
    with pytest.raises(TalkheadError) as caught:
        job.run(several(item, item, deadline_s=1e-4), runtime)
    assert caught.value.code is Code.TIMEOUT
    assert batch.ends_all(TalkheadError(Code.CAPACITY, "full"))
    assert not batch.ends_all(TalkheadError(Code.CAPACITY, "too large", retryable=False))
    assert not batch.ends_all(TalkheadError(Code.STORE, "away"))


def test_an_item_that_kills_every_process_is_given_up(item, runtime, monkeypatch) -> None:
    """What a kill leaves is a beginning without an end; `MemoryError` would be an answer."""
    killed = KeyboardInterrupt
    monkeypatch.setattr(
        testcard.TestCard, "prepare", lambda *_: (_ for _ in ()).throw(killed), raising=True
    )
    note = batch.Folder.note

    def only_begins(self: Any, **entry: Any) -> None:
        if not (entry.get("left") and entry.get("phase") == "render"):
            note(self, **entry)

    request = several({**item, **SHORT}, {"action": "speak", "text": "Hi", "voice": "espeak"})
    with monkeypatch.context() as patched:
        patched.setattr(batch.Folder, "note", only_begins)
        for _ in range(batch.DEATHS):
            with pytest.raises(killed):
                job.run(request, runtime)
    result = job.run(request, runtime)
    assert outcomes(result) == [Code.GENERATION, "good"]
    with pytest.raises(killed):  # counted anew
        job.run(request, runtime)


def test_a_plan_of_a_batch_has_each_plan_and_the_sums(item, runtime, tmp_path) -> None:
    request = several(
        item,
        {**item, **SHORT},
        {"action": "speak", "text": "Hi"},
        {**item, "portrait": "nowhere.png"},
        dry_run=True,
        deadline_s=1,
    )
    testcard.CALLS.clear()
    result = job.run(request, runtime)
    assert outcomes(result) == ["good", "good", "good", Code.INPUT]
    assert testcard.CALLS == []
    assert not (tmp_path / "store").exists()
    assert result.total is not None
    assert result.total.model_dump() == {
        "items": 4,
        "failed": 1,
        "frames": 110,
        "seconds": 4.4,
        "estimated": False,
        "estimated_seconds": pytest.approx(1.1, abs=0.11),
        "estimated_memory_mb": 1,
    }
    assert [notice.code for notice in result.warnings] == ["W_DEADLINE"]


def test_inputs_are_fetched_once_unless_they_are_too_many(item, runtime, monkeypatch) -> None:
    fetched: list[tuple[str, ...]] = []
    fetch = batch.intake.fetch.fetch_all

    def counted(wanted: Any, *rest: Any) -> Any:
        fetched.append(tuple(wanted))
        return fetch(wanted, *rest)

    monkeypatch.setattr(batch.intake.fetch, "fetch_all", counted)
    job.run(several({**item, **SHORT}), runtime)
    assert [bool(each) for each in fetched] == [True, False]
    fetched.clear()
    monkeypatch.setattr(batch, "KEPT_BYTES", -1)
    job.run(several({**item, **SHORT}, idempotency_key="c"), runtime)
    assert [bool(each) for each in fetched] == [True, True]


def test_files_inside_the_answer_share_its_room(item, tmp_path) -> None:
    bare = {**item, **SHORT, "output": {"thumbnail": False}}
    inline = {"output": {"inline": True}}
    one = job.run(several(bare, **inline), card_runtime(tmp_path)).items[0].result
    assert one is not None
    assert one.video is not None
    request = several(bare, bare, idempotency_key="c", **inline)
    small = card_runtime(tmp_path, inline_mb=1.5 * one.video.bytes / 1e6)
    first, second = (end.result for end in job.run(request, small).items)
    assert first is not None
    assert second is not None
    assert (first.outputs[0].data is None, second.outputs[0].data is None) == (False, True)
    assert "W_NOT_INLINE" in [notice.code for notice in second.warnings]


def test_the_time_left_is_that_of_all_items() -> None:
    def part(index: int, **more: Any) -> batch.Part:
        return batch.Part(index, None, None, frames=100, seconds=10, **more)  # type: ignore[arg-type]

    parts = [part(0, took=30), part(1), part(2)]
    parts[0].end = batch.ItemEnd(index=0)
    course = batch.Course(parts, None)  # type: ignore[arg-type]
    step = Progress("render", 1, 2, pct=50, eta_s=5.0)
    shown = course._seen(parts[1], "render", step)
    assert shown.eta_s == 5 + 30  # the last item's plan, at the pace of the first
    assert shown.pct == pytest.approx(3 + 97 * 1.5 / 3)
    assert course._seen(parts[1], "plan", step).pct == 1


def test_a_batch_that_would_end_too_late_is_told_or_refused(item, tmp_path, monkeypatch) -> None:
    plan = testcard.TestCard.plan
    monkeypatch.setattr(
        testcard.TestCard, "plan", lambda self, probe: replace(plan(self, probe), seconds=500)
    )
    runtime = card_runtime(tmp_path, price_per_hour=3600)
    short, seen = {**item, **SHORT}, list[Progress]()
    result = job.run(several(short, short, deadline_s=900), runtime, seen.append)
    assert [notice.code for notice in result.warnings] == ["W_DEADLINE"]
    assert "about 1000.0 s of work" in result.warnings[0].message
    assert seen[-1].late == result.warnings[0].message
    assert result.cost is not None
    assert result.cost.amount == pytest.approx(result.cost.seconds, abs=1e-3)
    late = {"deadline_s": 900, "late": "refuse", "idempotency_key": "c"}
    with pytest.raises(TalkheadError) as refused:
        job.run(several(short, short, **late), runtime)
    assert refused.value.code is Code.TIMEOUT
    assert not (tmp_path / "store/c/0").exists()
    assert job.run(several(short, **late), runtime).warnings == ()
