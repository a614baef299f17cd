"""What is stored, and what a request that comes again is answered with."""

import base64
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from support import testcard
from support.cards import asked, card_runtime, card_settings, plain_portrait, seven_seconds
from talkhead import job
from talkhead.errors import Code, TalkheadError
from talkhead.folder import file_digest
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.stores import Link
from talkhead.stores.local import LocalStore
from talkhead.validation import parse


@pytest.fixture
def served(tmp_path: Path) -> Runtime:
    """Return a runtime as servers have it, its inputs on a volume."""
    testcard.CALLS.clear()
    volume = tmp_path / "volume"
    volume.mkdir()
    seven_seconds(volume)
    plain_portrait(volume)
    store = {"root": tmp_path / "store", "prefix": "renders"}
    settings = Settings(**card_settings(tmp_path, store=store, volumes=(volume,)))
    return Runtime(settings, serving=True)


def request(**more: object):
    return asked("volume:portrait.png", "volume:speech.wav", max_frames=20, **more)


def test_keys_begin_with_the_operators_prefix(served, tmp_path: Path) -> None:
    result = job.run(request(idempotency_key="k", output={"prefix": "u/1"}), served)
    assert [made.key for made in result.outputs] == [
        "renders/u/1/k/video.mp4",
        "renders/u/1/k/thumbnail.jpg",
    ]
    assert (tmp_path / "store/renders/u/1/k/result.json").is_file()


def test_a_request_that_comes_again_needs_no_inputs(served, tmp_path: Path) -> None:
    first = job.run(request(idempotency_key="k"), served)
    shutil.rmtree(tmp_path / "volume")
    testcard.CALLS.clear()
    again = job.run(request(idempotency_key="k"), served)
    assert testcard.CALLS == []
    assert again.outputs == first.outputs
    assert (first.repeated, again.repeated) == (False, True)


def test_another_request_under_the_key_is_looked_at(served, tmp_path: Path) -> None:
    job.run(request(idempotency_key="k"), served)
    with pytest.raises(TalkheadError, match="already used") as caught:
        job.run(request(idempotency_key="k", fit="pad"), served)
    assert caught.value.code is Code.INPUT
    # the same bytes under another name are the same job
    (tmp_path / "volume/other.png").write_bytes((tmp_path / "volume/portrait.png").read_bytes())
    other = asked("volume:other.png", "volume:speech.wav", max_frames=20, idempotency_key="k")
    assert job.run(other, served).repeated


def test_the_quicker_of_two_runs_is_the_answer(served, monkeypatch, tmp_path: Path) -> None:
    """Two hosts finish the same job: the record of the first stays."""
    put = LocalStore.put
    raced: list[str] = []

    def race(self, file, key, **more):
        if key.endswith("result.json") and not raced:
            raced.append(key)
            other = file.with_name("other.json")
            other.write_text(file.read_text().replace('"seed": 1', '"seed": 2'))
            put(self, other, key, **more)
        return put(self, file, key, **more)

    monkeypatch.setattr(LocalStore, "put", race)
    result = job.run(request(idempotency_key="k"), served)
    assert raced == ["renders/k/result.json"]
    assert result.seed == 2
    assert result.repeated


@pytest.mark.parametrize("last", ["job.json", "video.mp4", "result.json"])
def test_two_jobs_under_one_key_never_mix(served, monkeypatch, tmp_path: Path, last: str) -> None:
    """Two hosts, one key, two requests: the second comes when the first is about to put `last`."""
    put, told = LocalStore.put, []
    elsewhere = Runtime(served.settings.model_copy(update={"jobs": tmp_path / "2"}), serving=True)

    def race(self, file, key, **more):
        if key.endswith(last) and not told:
            told.append("begun")
            try:
                told.append(job.run(request(idempotency_key="k"), elsewhere).video.sha256)
            except TalkheadError as error:
                told.append(error.message)
        return put(self, file, key, **more)

    monkeypatch.setattr(LocalStore, "put", race)
    try:
        told.append(job.run(request(idempotency_key="k", fit="pad"), served).video.sha256)
    except TalkheadError as error:
        told.append(error.message)
    refused = [answer for answer in told[1:] if "already used" in answer]
    assert len(refused) == 1
    record = json.loads((tmp_path / "store/renders/k/result.json").read_text())
    stored = file_digest(tmp_path / "store/renders/k/video.mp4")
    assert record["outputs"][0]["sha256"] == stored
    assert stored in told


def test_a_record_of_a_newer_version_is_read(served, tmp_path: Path) -> None:
    job.run(request(idempotency_key="k"), served)
    record = tmp_path / "store/renders/k/result.json"
    newer = json.loads(record.read_text())
    newer["tomorrow"] = newer["outputs"][0]["tomorrow"] = 1
    record.write_text(json.dumps(newer))
    assert job.run(request(idempotency_key="k"), served).repeated


def test_an_upgrade_does_not_lose_a_finished_job(served, monkeypatch, tmp_path: Path) -> None:
    job.run(request(idempotency_key="k"), served)
    newer = dataclasses.replace(testcard.TestCard.spec, version="2")
    monkeypatch.setattr(testcard.TestCard, "spec", newer)
    (tmp_path / "volume/moved.png").write_bytes((tmp_path / "volume/portrait.png").read_bytes())
    moved = asked("volume:moved.png", "volume:speech.wav", max_frames=20, idempotency_key="k")
    assert job.run(moved, served).repeated


@pytest.mark.parametrize("harm", ["torn", "empty", "video gone"])
def test_what_was_lost_in_the_store_is_made_again(served, tmp_path: Path, harm: str) -> None:
    home = tmp_path / "store/renders/k"
    job.run(request(idempotency_key="k"), served)
    if harm == "video gone":
        (home / "video.mp4").unlink()
    else:
        (home / "result.json").write_text("{" if harm == "torn" else "")
    again = job.run(request(idempotency_key="k"), served)
    assert testcard.CALLS.count("generate from 0") == 2
    assert (home / "video.mp4").stat().st_size == again.outputs[0].bytes
    assert job.run(request(idempotency_key="k"), served).repeated


def test_small_files_come_inside_the_answer(served, tmp_path: Path) -> None:
    for key in ("k", "k"):  # the second time from the store
        result = job.run(request(idempotency_key=key, output={"inline": True}), served)
        assert result.video is not None
        content = base64.b64decode(result.video.data or "")
        assert content == (tmp_path / "store/renders/k/video.mp4").read_bytes()
        assert result.video.url
    assert "data" not in (tmp_path / "store/renders/k/result.json").read_text().replace(
        '"data": null', ""
    )


def test_an_inline_store_sends_the_bytes_once(tmp_path: Path) -> None:
    kept = {"kind": "inline", "root": tmp_path / "kept"}
    settings = Settings(**card_settings(tmp_path, store=kept))
    runtime = Runtime(settings, local_paths=True)
    files = plain_portrait(tmp_path), seven_seconds(tmp_path)
    video = job.run(asked(*files), runtime).video
    assert video is not None
    assert (video.url or "").startswith("data:video/mp4;base64,")
    assert video.data is None
    inline = job.run(asked(*files, output={"inline": True}), runtime).video
    assert inline is not None
    assert (inline.url, inline.data) == (video.url, None)


def test_a_large_file_comes_as_a_url_with_a_warning(tmp_path: Path) -> None:
    runtime = card_runtime(tmp_path, inline_mb=0.001)
    made = asked(plain_portrait(tmp_path), seven_seconds(tmp_path), output={"inline": True})
    result = job.run(made, runtime)
    assert result.video is not None
    assert result.video.data is None
    assert result.video.url
    assert "W_NOT_INLINE" in {notice.code for notice in result.warnings}


def test_links_say_when_they_expire(served, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    until = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    monkeypatch.setattr(LocalStore, "link", lambda *_: Link("https://x/y", until))
    result = job.run(request(idempotency_key="k"), served)
    assert result.video is not None
    assert result.video.expires_at == "2026-11-22T12:00:00+00:00"


def test_auto_links_are_public_where_the_store_makes_them(served, monkeypatch) -> None:
    kinds: list[str] = []
    monkeypatch.setattr(LocalStore, "link", lambda _, key, kind, s: kinds.append(kind) or Link(key))
    job.run(request(idempotency_key="k", output={"url": "auto"}), served)
    monkeypatch.setattr(LocalStore, "offers", frozenset({"signed", "public"}))
    job.run(request(idempotency_key="k", output={"url": "auto"}), served)
    assert kinds == ["signed"] * 2 + ["public"] * 2


def test_named_stores(served, tmp_path: Path) -> None:
    stores = {"archive": {"root": tmp_path / "archive"}}
    settings = Settings(**{**dict(served.settings), "stores": stores})
    runtime = Runtime(settings, serving=True)
    result = job.run(request(idempotency_key="k", output={"store": "archive"}), runtime)
    assert (tmp_path / "archive/k/video.mp4").is_file()
    assert result.video is not None
    with pytest.raises(TalkheadError, match="no store 'r2'") as caught:
        job.run(request(output={"store": "r2"}), runtime)
    assert caught.value.code is Code.UNSUPPORTED


def test_pictures_can_be_kept_in_the_library(served, tmp_path: Path) -> None:
    asked_for = parse({"action": "portrait", "prompt": "a woman", "save_as": "anna"})
    with pytest.raises(TalkheadError, match="save_as") as caught:
        job.run(asked_for, served)
    assert caught.value.code is Code.UNSUPPORTED
    settings = Settings(**{**dict(served.settings), "library": tmp_path / "library"})
    runtime = Runtime(settings)
    assert job.run(asked_for, runtime).outputs[0].kind == "image"
    assert (tmp_path / "library/avatars/anna.png").is_file()
    with pytest.raises(TalkheadError, match="taken") as caught:
        job.run(parse({**asked_for.model_dump(), "prompt": "another"}), runtime)
    assert caught.value.code is Code.INPUT


def test_no_maker_is_told_before_no_library(served) -> None:
    asked_for = parse({"action": "portrait", "prompt": "a woman", "save_as": "anna"})
    bare = Runtime(Settings(**{**dict(served.settings), "portraits": {}}))
    with pytest.raises(TalkheadError, match="no portrait maker") as caught:
        job.run(asked_for, bare)
    assert caught.value.code is Code.UNSUPPORTED


def test_keys_are_plain_whatever_the_caller_calls_things(served) -> None:
    output = {"prefix": "Zoë/u1", "name": "mein schönes video"}
    key = job.run(request(idempotency_key="k", output=output), served).outputs[0].key
    assert key.isascii()
    prefix, *rest = key.removeprefix("renders/").split("/")
    assert prefix.startswith("Zoe-")
    assert rest == ["u1", "k", "mein-schones-video.mp4"]
    other = {"prefix": "Zoe/u1"}  # another tenant, who must not share the first one's folder
    assert "/Zoe/u1/" in job.run(request(idempotency_key="k", output=other), served).outputs[0].key
