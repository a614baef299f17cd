"""Every route, the page's too, is behind the guard; who gets in by what."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from support.cards import card_settings
from talkhead.errors import TalkheadError
from talkhead.serve.server import application, guard, prepared
from talkhead.serve.server.guard import Bucket, Guard, session, session_holds
from talkhead.settings import Settings
from talkhead.settings.groups import Server

TOKEN = "0123456789abcdef"


def settings(folder: Path, **server: Any) -> Settings:
    return Settings(**card_settings(folder), server=Server(folder=folder / "server", **server))


def client(app: Any, **more: Any) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000", follow_redirects=False, **more)


def small(**server: Any) -> TestClient:
    """Return a client of a guard with one page behind it."""
    inner = Starlette(
        routes=[Route("/{rest:path}", lambda _: PlainTextResponse("in"), methods=["GET", "POST"])]
    )
    return client(Guard(inner, Server(**server)))


@pytest.fixture
def routes(tmp_path: Path) -> tuple[TestClient, list[tuple[str, str]]]:
    """Return a client of the whole server, and all methods and paths that it has."""
    page = Mount("/", app=lambda *_: None)
    app = application(prepared(settings(tmp_path, token=TOKEN)))
    fastapi: Any = app
    fastapi = fastapi._app
    fastapi.router.routes.append(page)
    found = [
        (method, getattr(route, "path", "/anything").replace("{key:path}", "x"))
        for route in _all(fastapi.router.routes)
        for method in sorted(getattr(route, "methods", None) or {"GET"})
    ]
    return client(app), found


def _all(routes: Any) -> Iterator[Any]:
    for route in routes:
        inner = getattr(route, "routes", None) if not isinstance(route, Mount) else None
        if inner:
            yield from _all(inner)
        elif not isinstance(route, Mount) and hasattr(route, "original_router"):
            yield from _all(route.original_router.routes)
        else:
            yield route


def test_every_route_asks_for_the_token(routes: tuple[TestClient, list[tuple[str, str]]]) -> None:
    caller, found = routes
    paths = {path for _, path in found}
    assert {"/run", "/status/{id}", "/metrics", "/files/x", "/uploads/{name}", ""} <= paths
    for method, path in [*found, ("GET", "/page/of/gradio"), ("GET", "/v2/x/health")]:
        wanted = 200 if path == "/ping" else 401
        assert caller.request(method, path or "/").status_code == wanted, (method, path)


def test_a_bearer_token_lets_in() -> None:
    caller = small(token=TOKEN)
    for header in (f"Bearer {TOKEN}", f"bearer {TOKEN}", TOKEN):  # RunPod's clients send it bare
        assert caller.get("/x", headers={"Authorization": header}).text == "in"
    for header in ("Bearer wrong", "Bearer", "", f"Basic {TOKEN}", "Bearer é"):
        raw = {b"Authorization": header.encode()}
        assert caller.get("/x", headers=raw).status_code == 401


def test_a_browser_logs_in_and_out() -> None:
    caller = small(token=TOKEN)
    assert caller.get("/x", headers={"Accept": "text/html"}).headers["location"] == "/login"
    page = caller.get("/login")
    assert "<label" in page.text
    assert "http" not in page.text.replace("<!doctype html>", "")  # nothing from elsewhere
    wrong = caller.post("/login", data={"token": "nonsense"})
    assert (wrong.status_code, "alert" in wrong.text) == (401, True)
    right = caller.post("/login", data={"token": TOKEN})
    cookie = right.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=strict", "max-age"))
    assert TOKEN not in cookie
    assert caller.get("/x").text == "in"
    caller.get("/logout")
    caller.cookies.clear()
    assert caller.get("/x").status_code == 401


def test_sessions_end_and_cannot_be_made_up() -> None:
    assert session_holds(session(TOKEN), TOKEN)
    assert not session_holds(session(TOKEN, now=0), TOKEN)
    assert not session_holds(session("another-token-16"), TOKEN)
    until = session(TOKEN).partition(".")[0]
    for forged in (
        "",
        ".",
        f"{until}.",
        f"{int(until) + 9}.{session(TOKEN).partition('.')[2]}",
        "².",
    ):
        assert not session_holds(forged, TOKEN)


def test_tries_to_log_in_are_few() -> None:
    caller = small(token=TOKEN)
    answers = [caller.post("/login", data={"token": "x"}).status_code for _ in range(12)]
    assert answers[:10] == [401] * 10
    assert answers[10:] == [429] * 2


def test_without_a_token_only_this_machine_gets_in() -> None:
    caller = small()
    assert caller.get("/").text == "in"
    for host in ("localhost:8000", "[::1]:8000"):
        assert caller.get("/", headers={"Host": host}).text == "in"
    for host in ("evil.example", "127.0.0.1.evil.example", "192.168.0.7:8000", ""):
        assert caller.get("/", headers={"Host": host}).status_code == 403


def test_pages_of_other_sites_get_no_answer() -> None:
    caller = small(origins=("https://studio.example",))
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9999"):
        assert caller.post("/run", headers={"Origin": origin}).status_code == 403
    for origin in ("http://127.0.0.1:8000", "https://studio.example"):
        assert caller.post("/run", headers={"Origin": origin}).text == "in"


def test_calls_beyond_the_rate_are_refused_for_a_while() -> None:
    caller = small(rate=0.5)
    answers = [caller.get("/") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].json()["error"]["code"] == "E_CAPACITY"


def test_a_bucket_fills_again_and_forgets_old_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    bucket = Bucket(1, 2)
    assert [bucket.wait("a") for _ in range(3)] == [0, 0, 1]
    now[0] = 1.0
    assert bucket.wait("a") == 0
    for number in range(guard.CALLERS + 5):
        bucket.wait(str(number))
    assert len(bucket.left) == guard.CALLERS


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "studio.local"])
def test_listening_for_others_needs_a_token(tmp_path: Path, host: str) -> None:
    with pytest.raises(TalkheadError, match="no token"):
        prepared(settings(tmp_path, host=host))
    assert prepared(settings(tmp_path, host=host, token=TOKEN))
