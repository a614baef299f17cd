"""`talkhead serve` and `talkhead ui`: a server of our own on this machine, until told to end."""

import asyncio
import gc
import signal
import socket
import sys

import uvicorn
from starlette.types import ASGIApp

from talkhead import registry, settings
from talkhead.serve import door, fitness, logs
from talkhead.serve.server import application, page_only, prepared
from talkhead.serve.ui import Site
from talkhead.settings import Settings
from talkhead.settings.groups import Server

LEAVE_S = 3  # for calls under way when the server is told to end


def serve(host: str | None, port: int | None, *, page: bool = True) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises where it cannot listen or would be open to others."""
    asked = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    found = settings.load(aliases=True)
    found = found.model_copy(update={"server": found.server.model_copy(update=asked)})
    fitness.refuse_unknown_families(found)
    if found.engine == "auto":
        _say("note: TALKHEAD_ENGINE is not set; here `engine: auto` is the draft engine")
        found = found.model_copy(update={"engine": "draft"})
    found = prepared(found)
    if page and (lack := registry.missing("ui")):
        _say(f"note: there is no web page without gradio: {registry.install(lack)}")
        page = False
    with door.listening(found.server.host, found.server.port) as sock:
        site = Site(address(sock), _token(found.server), same_origin=True) if page else None
        run(application(found, site), found, sock)


def show(endpoint: str, key: str | None, port: int) -> None:
    """Serve the page alone on this machine, for a server or endpoint elsewhere."""
    registry.need("ui")
    found = settings.load()
    with door.listening(Server().host, port) as sock:
        run(page_only(Site(endpoint, key, choose=True)), found, sock)


def run(app: ASGIApp, found: Settings, sock: socket.socket) -> None:
    """Serve an application on a socket that listens already."""
    logs.setup(found, sys.stderr)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LEAVE_S,
        proxy_headers=True,
    )
    _say(f"listening on {address(sock)}; Ctrl-C ends it, and what runs goes on next time")
    # uvicorn raises the signal that ended it once more, which then is to do nothing
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    gc.freeze()  # what is loaded stays, and is not looked through for garbage between two answers
    gc.enable()
    asyncio.run(uvicorn.Server(config).serve(sockets=[sock]))


def address(sock: socket.socket) -> str:
    """Return the URL under which this machine reaches a socket of its own."""
    any_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (compared, not listened on)
    host, port = sock.getsockname()[:2]
    host = any_host.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(server: Server) -> str | None:
    return server.token.get_secret_value() if server.token is not None else None


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
