"""The client against a transport in memory."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve import client as module
from talkhead.serve.client import sync as _sync  # noqa
from talkhead.serve.client import INLINE_BYTES, Client

BASE = "https://host.example/v2/abc"
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def waited_for(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(module.sync, "sleep", waited.append)
    return waited


def client(answer: Answer, token: str | None = "key", **more: Any) -> Client:
    return Client(BASE, token, transport=httpx.MockTransport(answer), **more)


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


def test_run_sends_the_request_and_the_key() -> None:
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


def test_runsync_returns_the_result_and_waits_where_it_takes_longer() -> None:
    done = {"id": "j", "status": "COMPLETED", "output": {"result": {"action": "talk"}}}
    answer = replies({"id": "j", "status": "IN_PROGRESS"}, {"id": "j", "status": "IN_QUEUE"}, done)
    assert client(answer).runsync({})["action"] == "talk"


def test_a_failed_job_is_its_own_error() -> None:
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
        ({"status": "FAILED", "error": "Traceback: it broke"}, Code.INTERNAL),
        ({"status": "FAILED", "error": json.dumps({"code": "E_FUTURE"})}, Code.INTERNAL),
        ({"status": "FAILED"}, Code.INTERNAL),
        ({"status": "COMPLETED", "output": "a picture of a cat"}, Code.UNSUPPORTED),
    ],
)
def test_every_other_end_is_named(body: dict[str, Any], code: Code) -> None:
    assert raised(lambda: client(replies(body)).runsync({})).code is code


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
def test_refusals_without_a_body_of_ours(status: int, code: Code, retryable: bool) -> None:
    opened = client(lambda _: httpx.Response(status, text="<html>"), patience_s=0)
    error = raised(opened.health)
    assert (error.code, error.retryable) == (code, retryable)
    assert error.hint


def test_a_refusal_of_ours_keeps_its_words() -> None:
    wire = {"code": "E_MEDIA_UNSAFE", "message": "a playlist", "hint": "send the video itself"}
    error = raised(client(replies({"error": wire}, status=400)).health)
    assert (error.code, error.message, error.hint) == (Code.MEDIA, wire["message"], wire["hint"])


def test_429_is_waited_for_as_long_as_it_says(waited_for: list[float]) -> None:
    busy = httpx.Response(429, headers={"Retry-After": "0.2"})
    assert client(replies(busy, busy, {"jobs": {}})).health() == {"jobs": {}}
    assert waited_for == [0.2, 0.2]
    late = httpx.Response(429, headers={"Retry-After": "3600"})
    assert raised(client(replies(late)).health).retryable


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ReadTimeout])
def test_the_network_fails(kind: type[httpx.TransportError]) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise kind("no")

    error = raised(client(answer).health)
    assert (error.code, error.retryable) == (Code.CAPACITY, True)
    assert BASE in error.message


def test_an_address_that_is_none() -> None:
    assert raised(Client("not a url").health).code is Code.INPUT


def test_something_else_answers() -> None:
    assert (
        raised(client(lambda _: httpx.Response(200, text="hello")).health).code is Code.UNSUPPORTED
    )


def test_events_from_a_stream() -> None:
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


def test_events_by_polling_with_longer_and_longer_pauses(waited_for: list[float]) -> None:
    going, done = {"id": "j", "status": "IN_PROGRESS"}, {"id": "j", "status": "COMPLETED"}
    plain = {"status": "IN_PROGRESS", "stream": []}
    assert list(client(replies(plain, going, going, going, done)).events("j")) == [going, done]
    assert waited_for == pytest.approx([0.5, 0.75, 1.125])


def test_a_stream_that_breaks_goes_on_by_polling() -> None:
    cut = httpx.Response(
        200, text='event: progress\ndata: {"pct": 1}\n\n',
        headers={"content-type": "text/event-stream"},
    )  # fmt: skip
    done = {"id": "j", "status": "COMPLETED"}
    assert list(client(replies(cut, done)).events("j"))[-1] == done


def test_upload(tmp_path: Path) -> None:
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


def test_upload_to_a_plain_endpoint_is_the_file_itself(tmp_path: Path) -> None:
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


def test_capabilities_of_both_kinds_of_server() -> None:
    assert client(replies({"engines": []})).capabilities() == {"engines": [], "ours": True}
    ability = {"engines": [{"name": "draft"}]}
    result = {"action": "capabilities", "version": "9", "ability": ability}
    plain = replies(
        httpx.Response(404), {"id": "j", "status": "COMPLETED", "output": {"result": result}}
    )
    assert client(plain).capabilities() == {**ability, "version": "9", "ours": False}


def test_jobs() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"jobs": []})

    opened = client(answer)
    assert opened.jobs(5, status="FAILED") == {"jobs": []}
    opened.forget("j")
    assert dict(seen[0].url.params) == {"limit": "5", "status": "FAILED"}
    assert (seen[1].method, seen[1].url.path) == ("DELETE", "/v2/abc/jobs/j")


def test_a_download_is_whole_or_not_there_and_shows_no_key_to_strangers(tmp_path: Path) -> None:
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


def test_the_partial_video(tmp_path: Path) -> None:
    target = tmp_path / "p.mp4"
    assert client(lambda _: httpx.Response(200, content=b"v")).partial("j", target)
    assert not client(lambda _: httpx.Response(404)).partial("j", tmp_path / "q.mp4")
    with pytest.raises(TalkheadError):
        client(lambda _: httpx.Response(500)).partial("j", tmp_path / "q.mp4")
