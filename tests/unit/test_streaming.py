"""A stream beside a job on the test card: order, failures, ends, and going on."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from support import testcard
from support.cards import asked, card_settings
from support.fake_s3 import FakeS3
from support.harness import frames_digest
from talkhead import job, playlists, report, streaming
from talkhead.errors import Code, TalkheadError
from talkhead.request import Job, Output
from talkhead.result import Progress, Result
from talkhead.runtime import Runtime
from talkhead.settings import S3, Settings
from talkhead.stores.local import LocalStore
from talkhead.stores.mimes import mime_of
from talkhead.validation import parse

BASE = "http://store.example"
STREAM = {"stream": True}
ENDED = "#EXT-X-ENDLIST\n"


class Watched(LocalStore):
    """A folder that sees to it that no playlist names what is not there, and fails when told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, BASE)
        self.playlists: list[str] = []
        self.stored: list[str] = []
        self.published = threading.Event()
        self.fails: dict[str, int] = {}  # ending of a key to how often

    def put(self, file: Path, key: str, **more: Any) -> bool:
        ending = key.rpartition(".")[2]
        if self.fails.get(ending):
            self.fails[ending] -= 1
            raise TalkheadError(Code.STORE, "the store is away", "wait")
        assert more["mime"] == mime_of(key)
        done = super().put(file, key, **more)
        if ending == "m3u8":
            self.playlists.append(file.read_text())
            for name in playlists.names(self.playlists[-1]):
                assert self.path(key).with_name(name).is_file()
            self.published.set()
        self.stored.append(key.rpartition("/")[2])
        return done


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting, and tell every tick."""
    monkeypatch.setattr(streaming, "FIRST_S", 0.01)
    monkeypatch.setattr(streaming, "LAST_S", 0.01)
    monkeypatch.setattr(streaming, "GAP_S", 0.0)
    monkeypatch.setattr(report, "BEAT", 0)
    testcard.CALLS.clear()


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "store")


def runtime_of(store: LocalStore, folder: Path) -> Runtime:
    return Runtime(Settings(**card_settings(folder)), store, local_paths=True)


def streamed(portrait: Path, speech: Path, key: str = "k", **more: Any) -> Job:
    """Return a request of three parts, or with `frames=100` of two."""
    more.setdefault("max_frames", more.pop("frames", 175))
    return asked(portrait, speech, engine="testcard", idempotency_key=key, output=STREAM, **more)


def cancelled(request: Job, runtime: Runtime, store: Watched) -> TalkheadError:
    """Run a job and cancel it when its first part is out; the engine is held until then."""
    cancel = threading.Event()
    store.published.clear()

    def stop(step: Progress) -> None:
        if step.stage == "render" and step.done >= 80:
            assert store.published.wait(30)
            cancel.set()

    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, stop, cancel=cancel)
    return caught.value


def stream_of(result: Result) -> Any:
    return next((made for made in result.outputs if made.kind == "stream"), None)


def test_parts_come_before_the_playlist_that_names_them(portrait, speech, tmp_path, store) -> None:
    seen: list[Progress] = []
    runtime = runtime_of(store, tmp_path)
    result = job.run(streamed(portrait, speech), runtime, seen.append)
    assert [made.kind for made in result.outputs] == ["video", "thumbnail", "stream"]
    made = stream_of(result)
    assert made.key == "k/stream/index.m3u8"
    assert made.url == f"{BASE}/k/stream/index.m3u8"
    assert (made.mime, made.bytes) == ("application/vnd.apple.mpegurl", len(store.read(made.key)))
    assert made.facts == {"parts": 3, "frames": 175, "seconds": 7.0}
    assert store.playlists[-1].endswith(ENDED)
    assert not any(ENDED in text for text in store.playlists[:-1])
    for sooner, later in pairwise(store.playlists):
        assert later.startswith(sooner)
    told = [(step.stream_url, step.stream_s) for step in seen if step.stream_url is not None]
    assert {url for url, _ in told} == {made.url}
    assert [seconds for _, seconds in told] == sorted(seconds for _, seconds in told)
    assert told[-1][1] == 7.0
    assert not list((tmp_path / "jobs").glob("k"))
    again = job.run(streamed(portrait, speech), runtime)
    assert again.repeated
    assert again.outputs == result.outputs


def test_without_it_nothing_is_published(portrait, speech, tmp_path, store) -> None:
    runtime = runtime_of(store, tmp_path)
    request = streamed(portrait, speech, frames=20)
    plain = request.model_copy(update={"output": Output()})
    assert stream_of(job.run(plain, runtime)) is None
    assert not list((tmp_path / "store").rglob("stream"))
    again = job.run(request, runtime)
    assert [notice.message for notice in again.warnings if notice.code == "W_KNOWN"] == [
        "answered from the finished job, which was made without stream"
    ]


def test_a_cancelled_job_ends_its_stream_and_goes_on(portrait, speech, tmp_path, store) -> None:
    runtime = runtime_of(store, tmp_path)
    job.run(streamed(portrait, speech, "whole"), runtime)
    whole = playlists.names(store.playlists[-1])
    request = streamed(portrait, speech)
    assert cancelled(request, runtime, store).code is Code.CANCELLED
    stopped = store.playlists[-1]
    assert stopped.endswith(ENDED)
    assert playlists.names(stopped) == whole[:2]
    store.stored.clear()
    job.run(request, runtime)
    assert testcard.CALLS[-1] != "generate from 0"
    assert ENDED not in store.playlists[-2]
    assert playlists.names(store.playlists[-1]) == whole
    parts = [name for name in store.stored if name.endswith("m4s")]
    assert parts == whole[2:], "what was there is not stored again"


def test_a_job_that_may_go_on_leaves_its_stream_open(portrait, speech, tmp_path, store) -> None:
    request = streamed(portrait, speech, options={"fault": "memory"})
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime_of(store, tmp_path))
    assert caught.value.code is Code.OOM
    assert not any(ENDED in text for text in store.playlists)


def test_a_job_without_its_folder_takes_nothing_back(portrait, speech, tmp_path, store) -> None:
    """Another host makes it anew: the playlist never becomes shorter."""
    request = streamed(portrait, speech, frames=100)
    job.run(request, runtime_of(store, tmp_path))
    whole = playlists.names(store.playlists[-1])
    for name in ("result.json", "job.json"):
        store.path(f"k/{name}").unlink(missing_ok=True)
    store.playlists.clear()
    store.stored.clear()
    job.run(request, runtime_of(store, tmp_path))
    assert {tuple(playlists.names(text)) for text in store.playlists} == {tuple(whole)}
    assert not [name for name in store.stored if name.endswith("m4s")]


def test_parts_of_other_frames_are_replaced(portrait, speech, tmp_path, store) -> None:
    request = streamed(portrait, speech, frames=100)
    job.run(request, runtime_of(store, tmp_path))
    before = {path.name for path in store.path("k/stream").iterdir()}
    part = store.path(f"k/stream/{playlists.names(store.playlists[-1])[2]}")
    other = part.with_name("part-00001-00000000.m4s")
    part.rename(other)
    index = store.path("k/stream/index.m3u8")
    index.write_text(index.read_text().replace(part.name, other.name))
    store.path("k/result.json").unlink()
    job.run(request, runtime_of(store, tmp_path))
    assert {path.name for path in store.path("k/stream").iterdir()} == before


@pytest.mark.parametrize("ending", ["m4s", "m3u8"])
def test_a_store_that_comes_back(portrait, speech, tmp_path, store, ending: str) -> None:
    store.fails[ending] = 3
    result = job.run(streamed(portrait, speech, frames=100), runtime_of(store, tmp_path))
    assert stream_of(result) is not None
    assert store.playlists[-1].endswith(ENDED)
    assert not [notice for notice in result.warnings if notice.code == "W_STREAM"]


@pytest.mark.parametrize("ending", ["m4s", "m3u8"])
def test_a_store_that_stays_away_costs_the_stream_alone(
    portrait, speech, tmp_path, store, ending: str
) -> None:
    store.fails[ending] = 10**9
    result = job.run(streamed(portrait, speech, frames=100), runtime_of(store, tmp_path))
    assert [made.kind for made in result.outputs] == ["video", "thumbnail"]
    assert frames_digest(store.path("k/video.mp4"))[0] == 100
    notice = next(notice for notice in result.warnings if notice.code == "W_STREAM")
    assert notice.message == "the stream stopped after 0 s: the store is away"
    assert notice.field == "output.stream"


def test_what_cannot_be_foreseen_costs_the_stream_alone(
    portrait, speech, tmp_path, store, monkeypatch
) -> None:
    def broken(*_: object) -> bytes:
        raise ZeroDivisionError("of a part")

    monkeypatch.setattr(streaming, "media_part", broken)
    result = job.run(streamed(portrait, speech, frames=20), runtime_of(store, tmp_path))
    notice = next(notice for notice in result.warnings if notice.code == "W_STREAM")
    assert "ZeroDivisionError" in notice.message
    assert result.video is not None


def test_a_deadline_holds_while_the_store_is_away(portrait, speech, tmp_path, store) -> None:
    store.fails["m4s"] = 10**9
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.stage == "store":
            cancel.set()

    with pytest.raises(TalkheadError) as caught:
        request = streamed(portrait, speech, frames=20)
        job.run(request, runtime_of(store, tmp_path), stop, cancel=cancel)
    assert caught.value.code is Code.CANCELLED
    assert not [thread for thread in threading.enumerate() if thread.name == "stream"]


def test_another_jobs_keys_are_left_alone(portrait, speech, tmp_path, store) -> None:
    """They are seen to be another's before the first part replaces anything."""
    path = store.path("k/job.json")
    path.parent.mkdir(parents=True)
    path.write_text('{"request_digest": "other"}')
    runtime = Runtime(
        Settings(**card_settings(tmp_path, volumes=[str(portrait.parent)])), store, serving=True
    )
    request = streamed(Path("volume:portrait.png"), Path("volume:speech.wav"))
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    assert caught.value.fields == ("idempotency_key",)
    assert store.stored == []
    assert not [call for call in testcard.CALLS if call.startswith("generate")]


def test_signed_entries(portrait, speech, tmp_path) -> None:
    """Every entry leads to a part while it is made, and anew when the job is answered again."""
    with FakeS3() as fake:
        keys: dict[str, Any] = {
            "access_key": SecretStr(fake.access_key),
            "secret_key": SecretStr(fake.secret_key),
        }
        s3 = S3(kind="s3", bucket=fake.bucket, endpoint=fake.url, prefix="p", **keys)
        settings = Settings(**card_settings(tmp_path, store=s3))
        runtime = Runtime(settings, local_paths=True)
        seen: dict[str, int] = {}

        def look(step: Progress) -> None:
            if step.stream_url is not None and step.stream_url not in seen:
                seen[step.stream_url] = len(fetched(step.stream_url))

        request = streamed(portrait, speech, frames=100)
        result = job.run(request, runtime, look)
        made = stream_of(result)
        assert made.key == "p/k/stream/index.m3u8"
        assert fetched(made.url) == fetched(next(reversed(seen)))
        assert len(fetched(made.url)) == 3
        assert made.expires_at is not None
        first = httpx.get(made.url).text
        again = job.run(request, runtime)
        assert again.repeated
        later = stream_of(again)
        second = httpx.get(later.url)
        assert second.headers["cache-control"] == "private, no-cache"
        assert (later.bytes, later.mime) == (len(second.content), second.headers["content-type"])
        assert playlists.names(second.text) == playlists.names(first)
        part = httpx.get(entries(second.text)[1])
        assert part.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert part.headers["content-type"] == "video/iso.segment"
        runtime.shelf().store.close()


def entries(text: str) -> list[str]:
    """Return a playlist's URLs, the init segment's first."""
    init = text.partition('URI="')[2].partition('"')[0]
    return [init, *(line for line in text.splitlines() if line and not line.startswith("#"))]


def fetched(url: str) -> list[bytes]:
    """Return all that a playlist leads to."""
    found = [httpx.get(entry) for entry in entries(httpx.get(url).raise_for_status().text)]
    return [reply.raise_for_status().content for reply in found]


@pytest.mark.parametrize(
    ("payload", "base", "why"),
    [
        ({"action": "speak", "text": "hi"}, BASE, "speak makes no video in parts"),
        ({"action": "portrait", "prompt": "a man"}, BASE, "portrait makes no video in parts"),
        ({}, None, "makes no URLs that a player could open"),
        ({"output": {"url": "none"}}, BASE, "a player needs links"),
    ],
)
def test_what_cannot_be_streamed_is_refused(
    portrait, speech, tmp_path, payload: dict[str, Any], base: str | None, why: str
) -> None:
    output = {**STREAM, **payload.pop("output", {})}
    request = (
        parse({**payload, "output": output}) if payload else asked(portrait, speech, output=output)
    )
    store = LocalStore(tmp_path / "store", base)
    with pytest.raises(TalkheadError, match=why) as caught:
        job.run(request, runtime_of(store, tmp_path))
    assert caught.value.code is Code.UNSUPPORTED
    assert caught.value.fields == ("output.stream",)
    assert caught.value.hint
    assert testcard.CALLS == []
