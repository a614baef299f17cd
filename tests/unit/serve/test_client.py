"""Both clients through one suite, against a transport in memory."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.client import INLINE_BYTES, AsyncClient, Client, asynchronous, sync

BASE = "https://host.example/v2/abc"
Answer = Callable[[httpx.Request], httpx.Response]
Opened = Callable[..., Any]


class Awaited:
    """The client that is awaited, as if it were the one that waits."""

    def __init__(self, made: AsyncClient, runner: asyncio.Runner) -> None:
        self._made, self._runner = made, runner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._made.aclose())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._made, name)
        return self._blocking(found) if callable(found) else found

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            made = method(*arguments, **named)
            if inspect.isasyncgen(made):
                return self._each(made)
            return self._runner.run(made) if inspect.isawaitable(made) else made

        return call

    def _each(self, made: Any) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(made, None)

        while (item := self._runner.run(following())) is not None:
            yield item


@pytest.fixture
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(sync, "sleep", waited.append)
    monkeypatch.setattr(asynchronous, "sleep", wait)
    return waited


@pytest.fixture(params=["sync", "async"])
def client(request: pytest.FixtureRequest, waited_for: list[float]) -> Iterator[Opened]:
    with asyncio.Runner() as runner:

        def opened(
            answer: Answer | None, token: str | None = "key", base: str = BASE, **more: Any
        ) -> Any:
            transport = httpx.MockTransport(answer) if answer else None
            if request.param == "sync":
                return Client(base, token, transport=transport, **more)
            made = AsyncClient(base, token, transport=transport, **more)
            return Awaited(made, runner)

        yield opened


def replies(*bodies: Any, status: int = 200) -> Answer:
    """Answer with each of these in turn, then with the last again."""
    left = list(bodies)

    def answer(_: httpx.Request) -> httpx.Response:
        body = left.pop(0) if len(left) > 1 else left[0]
        return body if isinstance(body, httpx.Response) else httpx.Response(status, json=body)

    return answer


def raised(call: Callable[[], Any]) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        call()
    return caught.value


def test_run_sends_the_request_and_the_key(client: Opened) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "j1", "status": "IN_QUEUE"})

    with client(answer) as opened:
        assert opened.run({"action": "talk"}, webhook="https://me.example")["id"] == "j1"
        opened.put("a/b", {"action": "talk"})
    assert str(seen[0].url) == f"{BASE}/run"
    assert seen[0].headers["authorization"] == "Bearer key"
    assert json.loads(seen[0].content) == {
        "input": {"action": "talk"},
        "webhook": "https://me.example",
    }
    assert (seen[1].method, seen[1].url.raw_path) == ("PUT", b"/v2/abc/run/a%2Fb")


def test_runsync_returns_the_result_and_waits_where_it_takes_longer(client: Opened) -> None:
    done = {"id": "j", "status": "COMPLETED", "output": {"result": {"action": "talk"}}}
    answer = replies({"id": "j", "status": "IN_PROGRESS"}, {"id": "j", "status": "IN_QUEUE"}, done)
    assert client(answer).runsync({})["action"] == "talk"


def test_a_failed_job_is_its_own_error(client: Opened) -> None:
    wire = {
        "code": "E_NO_FACE", "message": "no face", "hint": "another picture", "retryable": False,
        "stage": "probe", "fields": ["portrait"], "job_id": "x",
    }  # fmt: skip
    error = raised(
        lambda: client(replies({"status": "FAILED", "error": json.dumps(wire)})).runsync({})
    )
    assert error.to_dict() == wire


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"status": "CANCELLED"}, Code.CANCELLED),
        ({"status": "TIMED_OUT"}, Code.TIMEOUT),
        ({"status": "TIMED_OUT", "error": "executionTimeout exceeded"}, Code.TIMEOUT),
        ({"status": "TIMED_OUT", "error": '{"error_type": "X"}'}, Code.TIMEOUT),
        ({"status": "CANCELLED", "error": '{"code": "E_CAPACITY"}'}, Code.CAPACITY),
        ({"status": "FAILED", "error": "Traceback: it broke"}, Code.INTERNAL),
        ({"status": "FAILED", "error": json.dumps({"code": "E_FUTURE"})}, Code.INTERNAL),
        ({"status": "FAILED"}, Code.INTERNAL),
        ({"status": "COMPLETED", "output": "a picture of a cat"}, Code.UNSUPPORTED),
    ],
)
def test_every_other_end_is_named(client: Opened, body: dict[str, Any], code: Code) -> None:
    assert raised(lambda: client(replies(body)).runsync({})).code is code


def test_what_a_server_says_of_a_job_that_ended_in_time_trouble_is_kept(client: Opened) -> None:
    wire = {"code": "E_TIMEOUT", "message": "about 90 s of work", "retryable": False}
    body = {"status": "TIMED_OUT", "error": json.dumps(wire)}
    error = raised(lambda: client(replies(body)).runsync({}))
    assert (error.code, error.message, error.retryable) == (Code.TIMEOUT, wire["message"], False)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (401, Code.INPUT, False),
        (403, Code.INPUT, False),
        (404, Code.INPUT, False),
        (413, Code.INPUT, False),
        (429, Code.CAPACITY, True),
        (502, Code.CAPACITY, True),
        (418, Code.INTERNAL, False),
    ],
)
def test_refusals_without_a_body_of_ours(
    client: Opened, status: int, code: Code, retryable: bool
) -> None:
    opened = client(lambda _: httpx.Response(status, text="<html>"), patience_s=0)
    error = raised(opened.health)
    assert (error.code, error.retryable) == (code, retryable)
    assert error.hint


def test_a_refusal_of_ours_keeps_its_words(client: Opened) -> None:
    wire = {"code": "E_MEDIA_UNSAFE", "message": "a playlist", "hint": "send the video itself"}
    error = raised(client(replies({"error": wire}, status=400)).health)
    assert (error.code, error.message, error.hint) == (Code.MEDIA, wire["message"], wire["hint"])


def test_429_is_waited_for_as_long_as_it_says(client: Opened, waited_for: list[float]) -> None:
    busy = httpx.Response(429, headers={"Retry-After": "0.2"})
    assert client(replies(busy, busy, {"jobs": {}})).health() == {"jobs": {}}
    assert waited_for == [0.2, 0.2]
    late = httpx.Response(429, headers={"Retry-After": "3600"})
    assert raised(client(replies(late)).health).retryable


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadTimeout])
def test_the_network_fails(client: Opened, kind: type[httpx.TransportError]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise kind("no")

    error = raised(client(answer).health)
    assert (error.code, error.retryable) == (Code.CAPACITY, True)
    assert BASE in error.message


def test_an_address_that_is_none(client: Opened) -> None:
    assert raised(client(None, base="not a url").health).code is Code.INPUT


def test_something_else_answers(client: Opened) -> None:
    assert (
        raised(client(lambda _: httpx.Response(200, text="hello")).health).code is Code.UNSUPPORTED
    )


def test_events_from_a_stream(client: Opened) -> None:
    end = {"id": "j", "status": "COMPLETED", "output": {}}
    text = (
        'event: progress\ndata: {"stage": "render", "pct": 10}\n\n: ping\n\n'
        f"event: end\ndata: {json.dumps(end)}\n\n"
    )
    opened = client(
        lambda _: httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})
    )
    first, last = opened.events("j")
    assert first["output"]["pct"] == 10
    assert last == end


def test_events_by_polling_with_longer_and_longer_pauses(
    client: Opened, waited_for: list[float]
) -> None:
    going, done = {"id": "j", "status": "IN_PROGRESS"}, {"id": "j", "status": "COMPLETED"}
    plain = {"status": "IN_PROGRESS", "stream": []}
    assert list(client(replies(plain, going, going, going, done)).events("j")) == [going, done]
    assert waited_for == pytest.approx([0.5, 0.75, 1.125])


def test_a_stream_that_breaks_goes_on_by_polling(client: Opened) -> None:
    cut = httpx.Response(
        200, text='event: progress\ndata: {"pct": 1}\n\n',
        headers={"content-type": "text/event-stream"},
    )  # fmt: skip
    done = {"id": "j", "status": "COMPLETED"}
    assert list(client(replies(cut, done)).events("j"))[-1] == done


def test_upload(client: Opened, tmp_path: Path) -> None:
    file = tmp_path / "me and you.png"
    file.write_bytes(b"picture")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request)
        return httpx.Response(201, json={"reference": "volume:uploads/1.png", "bytes": 7})

    assert client(answer).upload(file) == "volume:uploads/1.png"
    assert seen[0].url.raw_path == b"/v2/abc/uploads/me%20and%20you.png"
    assert seen[0].content == b"picture"


def test_upload_to_a_plain_endpoint_is_the_file_itself(client: Opened, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"picture")
    opened = client(lambda _: httpx.Response(404))
    assert opened.upload(file) == "data:application/octet-stream;base64,cGljdHVyZQ=="
    with file.open("wb") as large:
        large.truncate(INLINE_BYTES + 1)
    error = raised(lambda: opened.upload(file, "holiday.png"))
    assert error.code is Code.UNSUPPORTED
    assert "holiday.png" in error.message
    assert raised(lambda: opened.upload(tmp_path / "gone.png")).code is Code.INPUT


def test_capabilities_of_both_kinds_of_server(client: Opened) -> None:
    assert client(replies({"engines": []})).capabilities() == {"engines": [], "ours": True}
    ability = {"engines": [{"name": "draft"}]}
    result = {"action": "capabilities", "version": "9", "ability": ability}
    plain = replies(
        httpx.Response(404), {"id": "j", "status": "COMPLETED", "output": {"result": result}}
    )
    assert client(plain).capabilities() == {**ability, "version": "9", "ours": False}


def test_jobs(client: Opened) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"jobs": []})

    opened = client(answer)
    assert opened.jobs(5, status="FAILED") == {"jobs": []}
    opened.forget("j")
    assert dict(seen[0].url.params) == {"limit": "5", "status": "FAILED"}
    assert (seen[1].method, seen[1].url.path) == ("DELETE", "/v2/abc/jobs/j")


def test_a_download_is_whole_or_not_there_and_shows_no_key_to_strangers(
    client: Opened, tmp_path: Path
) -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.host] = request.headers.get("authorization")
        if request.url.path == "/gone":
            return httpx.Response(404)
        return httpx.Response(200, content=b"video")

    opened = client(answer)
    assert opened.download("/files/a.mp4", tmp_path / "a.mp4").read_bytes() == b"video"
    opened.download("https://bucket.example/b.mp4?sig=1", tmp_path / "b.mp4")
    assert seen == {"host.example": "Bearer key", "bucket.example": None}
    assert raised(lambda: opened.download("/gone", tmp_path / "c.mp4")).code is Code.INPUT
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_the_partial_video(client: Opened, tmp_path: Path) -> None:
    target = tmp_path / "p.mp4"
    assert client(lambda _: httpx.Response(200, content=b"v")).partial("j", target)
    assert not client(lambda _: httpx.Response(404)).partial("j", tmp_path / "q.mp4")
    with pytest.raises(TalkheadError):
        client(lambda _: httpx.Response(500)).partial("j", tmp_path / "q.mp4")


def test_both_have_the_same_methods() -> None:
    def named(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in vars(kind).items()
            if callable(method) and not name.startswith("_")
        }

    waits, awaited = named(Client), named(AsyncClient)
    assert waits.pop("close") == awaited.pop("aclose")
    assert waits == awaited


class Cut:
    """Loses answers, or never gets through, so many times; then answers."""

    def __init__(self, times: int, error: type[httpx.TransportError] = httpx.ReadError) -> None:
        self.times, self.error = times, error
        self.calls = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error("cut")
        return httpx.Response(200, json={"id": "j", "status": "IN_QUEUE"})


def test_what_may_be_repeated_is_sent_again_with_growing_pauses(
    client: Opened, waited_for: list[float]
) -> None:
    assert client(Cut(3)).status("j")["id"] == "j"
    assert waited_for == pytest.approx([1, 1.5, 2.25])
    assert client(Cut(1)).put("mine", {"action": "talk"})["id"] == "j"
    assert client(Cut(1)).cancel("j")["id"] == "j"
    assert client(Cut(1)).run({"action": "talk", "idempotency_key": "k"})["id"] == "j"
    answer = replies(httpx.Response(503), httpx.Response(502), {"jobs": {}})
    assert client(answer).health() == {"jobs": {}}


def test_what_may_have_been_done_is_not_sent_again(client: Opened) -> None:
    for call in (
        lambda it: it.run({"action": "talk"}),
        lambda it: it.runsync({"action": "health"}),
        lambda it: it.retry("j"),
    ):
        lost = Cut(1)
        assert raised(lambda call=call, lost=lost: call(client(lost))).retryable
        assert lost.calls == 1
    never_sent = Cut(2, httpx.ConnectError)
    assert client(never_sent).run({"action": "talk"})["id"] == "j"
    assert never_sent.calls == 3


def test_patience_ends(client: Opened, waited_for: list[float]) -> None:
    away = Cut(10**6)
    assert raised(lambda: client(away, patience_s=10).status("j")).code is Code.CAPACITY
    assert sum(waited_for) <= 10
    assert waited_for == sorted(waited_for)
    assert 4 <= away.calls < 8
    for told in ("nothing", "0.0.0", ""):
        busy = httpx.Response(429, headers={"Retry-After": told})
        waited_for.clear()
        assert client(replies(busy, busy, {"jobs": {}})).health() == {"jobs": {}}
        assert waited_for == pytest.approx([1, 1.5])


def test_a_time_to_come_back_may_be_a_date(client: Opened, waited_for: list[float]) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=9), usegmt=True)
    busy = httpx.Response(429, headers={"Retry-After": at})
    client(replies(busy, {"jobs": {}})).health()
    assert 5 < waited_for[0] <= 9


def test_a_page_tells_at_once_what_failed(client: Opened, waited_for: list[float]) -> None:
    for error in (httpx.ReadError, httpx.ConnectError):
        away = Cut(1, error)
        assert raised(lambda away=away: client(away, repeats=False).status("j")).retryable
        assert away.calls == 1
    busy = httpx.Response(429, headers={"Retry-After": "1"})
    assert client(replies(busy, {"jobs": {}}), repeats=False).health() == {"jobs": {}}


def test_pauses_are_told_of_with_their_reason(client: Opened) -> None:
    told: list[tuple[float, str]] = []

    def hear(seconds: float, why: TalkheadError) -> None:
        told.append((seconds, why.message))

    busy = httpx.Response(429, headers={"Retry-After": "2"})
    client(replies(busy, httpx.Response(503), {"jobs": {}}), on_wait=hear).health()
    assert [seconds for seconds, _ in told] == [2, 1.5]
    assert "too much to do" in told[0][1]
    assert "503" in told[1][1]


class Torn(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off in the middle."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self.content
        raise httpx.ReadError("cut")

    async def __aiter__(self) -> Any:
        yield self.content
        raise httpx.ReadError("cut")


def test_watching_survives_a_cut_stream_and_cut_looks(
    client: Opened, waited_for: list[float]
) -> None:
    looks = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if "/stream/" in request.url.path:
            text = 'event: status\ndata: {"id":"j","status":"IN_QUEUE","position":2}\n\n'
            headers = {"content-type": "text/event-stream"}
            return httpx.Response(200, stream=Torn(text.encode()), headers=headers)
        looks += 1
        if looks in (1, 2, 4):
            raise httpx.ReadError("cut")
        state = "IN_PROGRESS" if looks < 5 else "COMPLETED"
        return httpx.Response(200, json={"id": "j", "status": state})

    seen = list(client(answer).events("j", patience_s=60))
    assert [body["status"] for body in seen] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert seen[0]["position"] == 2
    assert looks == 5


def test_watching_gives_up_where_patience_ends(client: Opened) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("away")

    assert raised(lambda: list(client(answer).events("j", patience_s=3))).retryable


def test_runpod_is_not_asked_for_paths_of_ours(client: Opened, tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(f"{request.method} {request.url.path}")
        return httpx.Response(200, json={"id": "j", "status": "COMPLETED"})

    opened = client(answer, base="https://api.runpod.ai/v2/abc/")
    assert not opened.is_ours()
    list(opened.events("j"))
    small = tmp_path / "a.wav"
    small.write_bytes(b"sound")
    assert opened.upload(small).startswith("data:")
    assert seen == ["GET /v2/abc/status/j"]


def test_a_large_file_goes_where_the_endpoint_says(client: Opened, tmp_path: Path) -> None:
    large = tmp_path / "clip.mp4"
    large.write_bytes(b"7" * (INLINE_BYTES + 1))
    seen: list[tuple[str, str | None, int]] = []
    place = {
        "reference": "store:uploads/x/clip.mp4",
        "url": "https://bucket.example/uploads/x/clip.mp4?sig=1",
        "headers": {"Content-Type": "application/octet-stream"},
    }

    def answer(request: httpx.Request) -> httpx.Response:
        key = request.headers.get("authorization")
        seen.append((f"{request.method} {request.url.host}", key, len(request.content)))
        if request.url.path.endswith("/runsync"):
            asked = json.loads(request.content)["input"]
            wanted = [{"name": "clip.mp4", "bytes": INLINE_BYTES + 1}]
            assert asked == {"action": "uploads", "files": wanted}
            result = {"result": {"action": "uploads", "uploads": [place]}}
            return httpx.Response(200, json={"id": "j", "status": "COMPLETED", "output": result})
        return httpx.Response(404 if request.url.host == "host.example" else 200)

    assert client(answer).upload(large) == "store:uploads/x/clip.mp4"
    assert seen[-1] == ("PUT bucket.example", None, INLINE_BYTES + 1)
    assert [what for what, _, _ in seen[:2]] == ["GET host.example", "POST host.example"]
    for bad in ("http://bucket.example/x", "file:///etc/x", ""):
        place["url"] = bad
        assert raised(lambda: client(answer).upload(large)).code is Code.UNSUPPORTED


def test_a_download_is_compared_with_the_result(client: Opened, tmp_path: Path) -> None:
    opened = client(lambda _: httpx.Response(200, content=b"video"))
    target = tmp_path / "v.mp4"
    digest = "5d1f0c0a"
    for wrong in ({"sha256": digest * 8}, {"size": 4}, {"size": 6}):
        error = raised(lambda wrong=wrong: opened.download("/v.mp4", target, **wrong))
        assert error.code is Code.DOWNLOAD
        assert list(tmp_path.iterdir()) == []
    assert opened.download("/v.mp4", target, size=5).read_bytes() == b"video"


def test_a_download_that_breaks_off_begins_again(client: Opened, tmp_path: Path) -> None:
    answer = replies(httpx.Response(200, stream=Torn(b"vi")), httpx.Response(200, content=b"video"))
    target = tmp_path / "v.mp4"
    assert client(answer).download("/v.mp4", target, size=5).read_bytes() == b"video"
    assert list(tmp_path.iterdir()) == [target]


def test_a_redirect_to_another_host_gets_no_key(client: Opened, tmp_path: Path) -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.host] = request.headers.get("authorization")
        if request.url.host == "host.example":
            return httpx.Response(302, headers={"location": "https://bucket.example/v?sig=1"})
        return httpx.Response(200, content=b"video")

    client(answer).download("/files/v.mp4", tmp_path / "v.mp4")
    assert seen == {"host.example": "Bearer key", "bucket.example": None}


def test_a_signed_link_is_in_no_message(client: Opened, tmp_path: Path) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    opened = client(answer, repeats=False)
    link = "https://bucket.example/v.mp4?X-Amz-Signature=canary"
    error = raised(lambda: opened.download(link, tmp_path / "v.mp4"))
    assert "bucket.example" in error.message
    assert "canary" not in f"{error.message}{error.hint}"


def test_a_request_that_is_no_json_is_not_sent(client: Opened) -> None:
    opened = client(lambda _: httpx.Response(500))
    for payload in ({"x": float("nan")}, {"x": {1, 2}}):
        assert raised(lambda payload=payload: opened.run(payload)).code is Code.INPUT
