"""Errors by the body, not by the HTTP status; nothing half done, nothing told that is secret."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from support import testcard
from support.cards import asked, card_settings, plain_portrait, seven_seconds
from support.fake_supabase import FakeSupabase, jwt
from support.web import certified
from talkhead import job
from talkhead.errors import Code, TalkheadError
from talkhead.runtime import Runtime
from talkhead.settings import Settings, Supabase
from talkhead.stores import supabase
from talkhead.stores.supabase import SupabaseStore

KEY = "u/1/job/video one.mp4"


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supabase, "DELAY_S", 0.001)


@pytest.fixture
def it() -> Iterator[FakeSupabase]:
    with FakeSupabase() as fake:
        yield fake


def opened(it: FakeSupabase, key: str | None = None, **more: Any) -> SupabaseStore:
    more = {"url": it.url, "bucket": it.bucket, **more}
    return SupabaseStore(Supabase(kind="supabase", key=SecretStr(key or it.key), **more))


def put(store: SupabaseStore, folder: Path, content: bytes = b"video", **more: Any) -> bool:
    file = folder / "source"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return store.put(file, KEY, **{"mime": "video/mp4", "sha256": sha256, **more})
    finally:
        store.close()


def test_what_an_upload_brings(it: FakeSupabase, tmp_path: Path) -> None:
    content = b"0123456789" * 500_000
    assert put(opened(it, url=f"{it.url}/storage/v1/"), tmp_path, content)
    kept = it.objects[KEY]
    sha256 = hashlib.sha256(content).hexdigest()
    assert (kept.content, kept.mime, kept.cache) == (content, "video/mp4", "max-age=86400")
    assert kept.beside == {"talkhead-sha256": sha256}
    headers = next(headers for method, _, headers in it.seen if method == "POST")
    assert headers["content-length"] == str(len(content))  # one stream, no pieces in memory
    assert "transfer-encoding" not in headers
    put(opened(it), tmp_path, mime="application/json")
    assert it.objects[KEY].cache == "no-cache"


@pytest.mark.parametrize(
    ("change", "told", "hint"),
    [
        ({"limit": 4}, "413 EntityTooLarge", "file size limit"),
        ({"mimes": ("image/png",)}, "415 InvalidMimeType", "MIME"),
        ({"bucket": "other"}, "404 NoSuchBucket", "TALKHEAD_STORE__BUCKET"),
        ({"key": "anon"}, "403 AccessDenied", "row-level"),
        ({"key": "forged"}, "403 AccessDenied", "TALKHEAD_STORE__KEY is refused"),
    ],
)
def test_refusals(it: FakeSupabase, tmp_path: Path, change: Any, told: str, hint: str) -> None:
    keys = {"anon": it.anon, "forged": jwt({"role": "service_role"})[:-4] + "AAAA"}
    store = opened(it, keys.get(change.pop("key", "")))
    for name, value in change.items():
        setattr(it, name, value)
    with pytest.raises(TalkheadError, match=told) as caught:
        put(store, tmp_path)
    assert caught.value.code is Code.STORE
    assert hint in caught.value.hint
    assert "eyJ" not in str(caught.value.to_dict())
    assert it.count("POST") == 1  # asking again would change nothing


def test_a_large_file_refused_before_it_is_sent(it: FakeSupabase, tmp_path: Path) -> None:
    it.limit = 10**6
    with pytest.raises(TalkheadError, match="413"):
        put(opened(it), tmp_path, bytes(8 * 10**6))
    assert not it.objects


def test_a_missing_bucket_is_no_missing_object(it: FakeSupabase, tmp_path: Path) -> None:
    store = opened(it, bucket="none")
    for call in (
        lambda: store.read(KEY),
        lambda: store.get(KEY, tmp_path / "into", 9, lambda *_: None),
        lambda: store.delete(KEY),
        lambda: store.link(KEY, "signed", 9),
    ):
        with pytest.raises(TalkheadError, match="NoSuchBucket"):
            call()
    store.close()


def test_what_is_busy_is_asked_again(it: FakeSupabase, tmp_path: Path) -> None:
    it.fail(1, 503)
    it.busy(1)
    it.fail(1, 429)
    assert put(opened(it), tmp_path)
    assert it.count("POST") == 4
    it.outage = True
    with pytest.raises(TalkheadError, match="503") as caught:
        put(opened(it), tmp_path)
    assert caught.value.retryable
    assert "later" in caught.value.hint
    assert it.count("POST") == 4 + supabase.ATTEMPTS


def test_nobody_listens(tmp_path: Path) -> None:
    with FakeSupabase() as gone:
        store = opened(gone)
    with pytest.raises(TalkheadError, match="ConnectError") as caught:
        store.read(KEY)
    assert "TALKHEAD_STORE__URL" in caught.value.hint
    store.close()


def test_a_cut_upload_is_told(it: FakeSupabase, tmp_path: Path) -> None:
    it.cut()
    with pytest.raises(TalkheadError, match="Supabase Storage: ") as caught:
        put(opened(it), tmp_path, bytes(4 * 10**6))
    assert caught.value.code is Code.STORE
    assert not it.objects


def test_a_half_download_leaves_nothing(it: FakeSupabase, tmp_path: Path) -> None:
    put(opened(it), tmp_path)
    store, into = opened(it), tmp_path / "into"
    it.cut(after=1)  # the question for size and digest
    with pytest.raises(TalkheadError, match="RemoteProtocolError") as caught:
        store.get(KEY, into, 9, lambda *_: None)
    assert caught.value.code is Code.DOWNLOAD
    it.objects[KEY] = replace(it.objects[KEY], content=b"vidEo")
    with pytest.raises(TalkheadError, match="other ones"):
        store.get(KEY, into, 9, lambda *_: None)
    with pytest.raises(TalkheadError, match="over the limit") as caught:
        store.get(KEY, into, 4, lambda *_: None)
    assert caught.value.code is Code.INPUT
    assert not into.exists()
    assert not store.get("none", into, 9, lambda *_: None)
    store.close()


def test_read_is_for_small_objects(
    it: FakeSupabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(it), tmp_path)
    monkeypatch.setattr(supabase, "MAX_READ", 4)
    store = opened(it)
    with pytest.raises(TalkheadError, match="over the limit"):
        store.read(KEY)
    store.close()


def test_a_conflict_is_no_answer_where_none_was_asked_for(it: FakeSupabase, tmp_path: Path) -> None:
    it.fail(1, 409)
    with pytest.raises(TalkheadError, match="409"):
        put(opened(it), tmp_path)


def test_create_leaves_what_is_there(it: FakeSupabase, tmp_path: Path) -> None:
    assert put(opened(it), tmp_path, b"1", create=True)
    assert not put(opened(it), tmp_path, b"2", create=True)
    assert not put(opened(it), tmp_path, b"1", create=True)  # the same bytes, of somebody else
    assert it.objects[KEY].content == b"1"


@pytest.mark.parametrize("keeps", [True, False])
def test_a_lost_answer_to_a_creation(it: FakeSupabase, tmp_path: Path, keeps: bool) -> None:
    """Who created it is known by the digest; where none is kept, deliver compares the records."""
    it.keeps = keeps
    it.forget_answer()
    assert put(opened(it), tmp_path, create=True) is keeps
    assert it.objects[KEY].content == b"video"


def test_one_of_many_creates(it: FakeSupabase, tmp_path: Path) -> None:
    store = opened(it)
    files = [tmp_path / str(n) for n in range(4)]
    for file in files:
        file.write_bytes(file.name.encode())

    def create(file: Path) -> bool:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        return store.put(file, KEY, mime="video/mp4", sha256=sha256, create=True)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(create, files))
    store.close()
    assert made.count(True) == 1
    assert it.objects[KEY].content == files[made.index(True)].read_bytes()


@pytest.mark.parametrize("keeps", [True, False])
def test_a_short_object_is_noticed(it: FakeSupabase, tmp_path: Path, keeps: bool) -> None:
    it.keeps, it.lost = keeps, 1
    for create in (True, False):
        with pytest.raises(TalkheadError, match="something else"):
            put(opened(it), tmp_path, create=create)
        it.objects.clear()


def test_signed_links(it: FakeSupabase, tmp_path: Path) -> None:
    put(opened(it), tmp_path)
    store = opened(it)
    link = store.link(KEY, "signed", 60)
    assert link.expires_at is not None
    assert link.expires_at.microsecond == 0  # the service counts whole seconds
    assert 55 < (link.expires_at - datetime.now(UTC)).total_seconds() <= 60
    assert httpx.get(link.url).content == b"video"
    assert httpx.get(link.url, headers={"range": "bytes=1-2"}).content == b"id"
    assert httpx.get(link.url[:-2]).json()["error"] == "InvalidJWT"
    assert httpx.get(store.link(KEY, "signed", 0).url).json()["error"] == "InvalidJWT"
    with pytest.raises(TalkheadError, match="no longer") as caught:
        store.link("u/none.mp4", "signed", 60)
    assert caught.value.code is Code.STORE
    with pytest.raises(TalkheadError, match="no public"):
        store.link(KEY, "public", 60)
    store.close()


def test_many_are_signed_by_one_call(
    it: FakeSupabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened(it), tmp_path)
    store = opened(it)
    asked = len(it.seen)
    links = store.links([KEY] * 5, "signed", 60)
    assert [httpx.get(link.url).content for link in links] == [b"video"] * 5
    assert all(link.expires_at is not None for link in links)
    assert len(it.seen) - asked == 1 + len(links)
    with pytest.raises(TalkheadError, match=r"u/none.mp4 is no longer") as caught:
        store.links([KEY, "u/none.mp4"], "signed", 60)
    assert caught.value.code is Code.STORE
    monkeypatch.setattr(supabase, "AT_ONCE", 2)
    asked = len(it.seen)
    assert len(store.links([KEY] * 5, "signed", 60)) == 5
    assert len(it.seen) - asked == 3
    it.public = True
    public = opened(it, public=True)
    assert [link.expires_at for link in public.links([KEY, KEY], "public", 60)] == [None, None]
    public.close()
    store.close()


def test_a_signed_link_elsewhere_is_not_handed_on(
    it: FakeSupabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    it.fail(1, 200)
    monkeypatch.setattr(supabase, "_object", lambda answer: {"signedURL": "https://elsewhere"})
    store = opened(it)
    with pytest.raises(TalkheadError, match="no signed URL"):
        store.link(KEY, "signed", 60)
    store.close()


def test_public_links_are_tried_once(it: FakeSupabase, tmp_path: Path) -> None:
    put(opened(it), tmp_path)
    store = opened(it, public=True)
    assert store.offers == {"signed", "public"}
    with pytest.raises(TalkheadError, match="public link") as caught:
        store.link(KEY, "public", 60)
    assert "TALKHEAD_STORE__PUBLIC" in caught.value.hint
    it.public = True
    assert httpx.get(store.link(KEY, "public", 60).url).content == b"video"
    asked = len(it.seen)
    store.link(KEY, "public", 60)
    assert len(it.seen) == asked
    store.close()


@pytest.mark.parametrize("key", ["été.mp4", "a~b", "a#b", "日本/x.mp4"])
def test_keys_that_the_service_refuses(it: FakeSupabase, tmp_path: Path, key: str) -> None:
    with pytest.raises(TalkheadError, match="not a key that Supabase takes") as caught:
        opened(it).read(key)
    assert caught.value.code is Code.INPUT
    assert not it.seen


def test_a_key_that_is_none(it: FakeSupabase) -> None:
    with pytest.raises(TalkheadError, match="no key") as caught:
        opened(it, "clé\n").read(KEY)
    assert "clé" not in str(caught.value.to_dict())
    store = opened(it, f" {it.key}\n")  # as pasted
    assert store.read(KEY) is None
    store.close()


def test_logs_hold_neither_key_nor_signed_url(
    it: FakeSupabase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """httpx logs the URLs that it asks, httpcore the headers of answers."""
    with caplog.at_level(logging.INFO):
        put(opened(it), tmp_path)
        store = opened(it)
        store.link(KEY, "signed", 60)
        store.close()
    assert "object/sign" in caplog.text
    assert "eyJ" not in caplog.text


def test_a_page_in_place_of_an_answer(it: FakeSupabase, tmp_path: Path) -> None:
    put(opened(it), tmp_path)
    store = opened(it)
    for call in (lambda: store.link(KEY, "signed", 9), lambda: store.get(KEY, tmp_path, 9, print)):
        it.fail(1, 200)
        with pytest.raises(TalkheadError, match=r"no signed URL|no size") as caught:
            call()
        assert "TALKHEAD_STORE__URL" in caught.value.hint
    it.fail(1, 302)
    with pytest.raises(TalkheadError, match="302"):
        store.read(KEY)
    store.close()


def test_a_ca_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls, ca = certified(tmp_path, "127.0.0.1")
    with FakeSupabase(tls=tls) as it:
        with pytest.raises(TalkheadError, match="ConnectError"):
            put(opened(it), tmp_path)
        assert not it.seen
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert put(opened(it), tmp_path)


def test_an_outage_loses_no_render(it: FakeSupabase, tmp_path: Path) -> None:
    plain_portrait(tmp_path)
    seven_seconds(tmp_path)
    testcard.CALLS.clear()
    store = {"kind": "supabase", "url": it.url, "key": it.key, "bucket": it.bucket, "prefix": "p"}
    settings = Settings(**card_settings(tmp_path, store=store, volumes=(tmp_path,)))
    runtime = Runtime(settings, serving=True)
    request = asked("volume:portrait.png", "volume:speech.wav", max_frames=20, idempotency_key="k")
    it.fails_puts = True
    with pytest.raises(TalkheadError, match="503") as caught:
        job.run(request, runtime)
    assert caught.value.code is Code.STORE
    rendered = len(testcard.CALLS)
    it.fails_puts = False
    result = job.run(request, runtime)
    assert len(testcard.CALLS) == rendered
    assert result.video is not None
    assert httpx.get(result.video.url or "").content == it.objects["p/k/video.mp4"].content
    assert job.run(request, runtime).repeated
    runtime.shelf().store.close()
