"""Who may call: one guard in front of every route, the page's own included.

With a token a caller shows it as `Authorization: Bearer`, a browser by the cookie that the login
page sets. Without one the server listens on loopback alone, and then only for programs and pages of
this machine: a foreign name in Host (DNS rebinding) or a foreign page in Origin is refused.
"""

import hashlib
import hmac
import html
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from talkhead.errors import Code
from talkhead.serve.server.refusals import RefusedError, refused, reply
from talkhead.settings.groups import Server

LOOPBACK = ("127.0.0.1", "::1", "localhost")
COOKIE = "talkhead"
SESSION_S = 7 * 86_400
OPEN = ("/login", "/ping")  # all that needs no token
BURST_S = 10  # for which calls are saved up
LOGINS = (0.1, 10)  # tries a second of one address, and at once
CALLERS = 4096  # addresses that are counted
FORM_BYTES = 4096


@dataclass(slots=True)
class Bucket:
    """Leave to call so many times a second, and so many at once."""

    rate: float
    most: float
    left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait(self, caller: str) -> float:
        """Take one call; return 0, or the seconds until there is one again."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        saved, at = self.left.pop(caller, (self.most, now))
        saved = min(self.most, saved + (now - at) * self.rate)
        granted = saved >= 1
        self.left[caller] = (saved - granted, now)
        while len(self.left) > CALLERS:
            self.left.popitem(last=False)
        return 0.0 if granted else (1 - saved) / self.rate


class Guard:
    """ASGI middleware: token, origin and rate, before anything else is looked at."""

    def __init__(self, app: ASGIApp, settings: Server) -> None:
        self._app = app
        secret = settings.token
        self._token = secret.get_secret_value() if secret is not None else None
        self._origins = frozenset(origin.rstrip("/") for origin in settings.origins)
        self._calls = Bucket(settings.rate, settings.rate * BURST_S)
        self._logins = Bucket(*LOGINS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = Request(scope) if scope["type"] == "http" else None
        headers, path = Headers(scope=scope), scope["path"]
        try:
            self._admit(scope, headers, path)
        except RefusedError as found:
            if request is None:
                await send({"type": "websocket.close", "code": 4401})
            elif found.status == 401 and "text/html" in headers.get("accept", ""):
                await RedirectResponse("/login", 303)(scope, receive, send)
            else:
                await reply(found)(scope, receive, send)
            return
        if request is not None and path in ("/login", "/logout"):
            answer = await self._session(Request(scope, receive))
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope, headers: Headers, path: str) -> None:
        """Raise RefusedError for a call that is not to be served."""
        caller = (scope.get("client") or ("", 0))[0]
        bucket = self._logins if path == "/login" and scope["method"] == "POST" else self._calls
        if wait := bucket.wait(caller):
            found = refused(429, "too many requests", "call less often", code=Code.CAPACITY)
            found.headers["Retry-After"] = str(max(1, round(wait)))
            raise found
        _same_origin(headers, self._origins)
        if self._token is None:
            _of_this_machine(headers)
        elif path not in OPEN and scope.get("method") != "OPTIONS" and not self._shown(headers):
            found = refused(401, "no token, or a wrong one", "send Authorization: Bearer TOKEN")
            found.headers["WWW-Authenticate"] = "Bearer"
            raise found

    def _shown(self, headers: Headers) -> bool:
        """Return whether a call shows the token, or a session that it began."""
        token = self._token or ""
        kind, _, given = headers.get("authorization", "").partition(" ")
        # RunPod's own clients send the key alone or after Bearer
        given = given if kind.lower() == "bearer" else headers.get("authorization", "")
        if given and hmac.compare_digest(given.strip().encode(), token.encode()):
            return True
        return session_holds(_cookie(headers), token)

    async def _session(self, request: Request) -> Response:
        """Answer the login page: show it, begin a session, end one."""
        if request.url.path == "/logout":
            gone = RedirectResponse("/login", 303)
            gone.delete_cookie(COOKIE)
            return gone
        if self._token is None:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return _login_page("")
        form = parse_qs((await _body(request)).decode("utf-8", "replace"))
        given = form.get("token", [""])[0].strip()
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return _login_page("That is not the token of this server.", 401)
        begun = RedirectResponse("/", 303)
        begun.set_cookie(
            COOKIE,
            session(self._token),
            max_age=SESSION_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return begun


def session(token: str, now: float | None = None) -> str:
    """Return a cookie that stands for the token until it is too old."""
    until = str(int((time.time() if now is None else now) + SESSION_S))
    return f"{until}.{_signed(until, token)}"


def session_holds(cookie: str, token: str) -> bool:
    """Return whether a cookie was made with the token and is not too old."""
    until, _, signature = cookie.partition(".")
    if not until.isascii() or not until.isdigit() or float(until) < time.time():
        return False
    return hmac.compare_digest(signature.encode(), _signed(until, token).encode())


def _signed(text: str, token: str) -> str:
    return hmac.new(token.encode(), f"talkhead session {text}".encode(), hashlib.sha256).hexdigest()


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _same_origin(headers: Headers, allowed: Iterable[str]) -> None:
    """Raise RefusedError for a page of another site that is not allowed."""
    origin = headers.get("origin")
    if origin is None or origin in allowed:
        return
    if urlsplit(origin).netloc != headers.get("host", ""):
        raise refused(
            403,
            f"a page of {origin[:100]} may not call this server",
            "the operator can allow it: TALKHEAD_SERVER__ORIGINS",
        )


def _of_this_machine(headers: Headers) -> None:
    """Raise RefusedError where the name that was called is not one of loopback."""
    host = urlsplit(f"//{headers.get('host', '')}").hostname
    if host not in LOOPBACK:
        raise refused(
            403,
            "without a token this server answers on 127.0.0.1 and localhost only",
            "set TALKHEAD_SERVER__TOKEN to let others in",
        )


async def _body(request: Request) -> bytes:
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > FORM_BYTES:
            return b""
    return data


def _login_page(problem: str, status: int = 200) -> HTMLResponse:
    told = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    return HTMLResponse(
        LOGIN.replace("<!-- problem -->", told),
        status_code=status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "form-action 'self'; frame-ancestors 'none'",
        },
    )


LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>talkhead: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; min-height: 90vh; place-content: center; margin: 0 1.5rem;
  background: light-dark(#f5f7f6, #111615); color: light-dark(#1c2321, #eef2f0); }
form { display: grid; gap: .75rem; width: min(20rem, 85vw); }
h1 { margin: 0; }
input, button { font: inherit; padding: .6rem .8rem; border-radius: .6rem; }
input { border: 1px solid #7d8985; background: light-dark(#fff, #141a19);
  color: inherit; }
button { background: light-dark(#0b6b61, #4fd1bd); color: light-dark(#fff, #06201c); border: 0;
  cursor: pointer; font-weight: 600; }
:focus-visible { outline: 3px solid light-dark(#0b6b61, #4fd1bd); outline-offset: 2px; }
p { margin: 0; color: light-dark(#a3271c, #ff9f92); }
</style></head>
<body><main><form method="post" action="/login"><h1>talkhead</h1><!-- problem -->
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button></form></main></body></html>
"""
