"""The self-hosted server: RunPod's paths in front of a durable queue and a pool of processes.

guard ── routes ──> dispatcher ──> queue   (order, ends)
                        └────────> pool    (one process for each GPU)
  └─ page (Gradio, loaded once the port is open)
"""

import asyncio
import gc
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.report import naming
from talkhead.serve import logs
from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.pool import Pool
from talkhead.serve.queue import Queue
from talkhead.serve.server import files, partial
from talkhead.serve.server.events import Streams
from talkhead.serve.server.guard import LOOPBACK, Guard
from talkhead.serve.server.metrics import Clock, Metrics
from talkhead.serve.server.refusals import Json, RefusedError, refused, reply, reply_error
from talkhead.serve.server.routes import Parts, router
from talkhead.serve.ui import Site, mounted
from talkhead.settings import Local, Settings
from talkhead.settings.groups import Server

LOOK_S = 300.0  # between two looks at old uploads and parts


def prepared(settings: Settings) -> Settings:
    """Return the settings of the server's processes: uploads may be named, results are served.

    Raises E_INPUT_VALIDATION where it would be open to others without a token.
    """
    server = settings.server
    if server.token is None and server.host not in LOOPBACK:
        raise TalkheadError(
            Code.INPUT,
            f"host {server.host} may be reached from outside, and no token is set",
            f"set TALKHEAD_SERVER__TOKEN, for example to {secrets.token_urlsafe(24)}",
        )
    uploads = files.Uploads(settings).root
    changed: dict[str, Any] = {"volumes": (*settings.volumes, uploads.absolute())}
    if isinstance(settings.store, Local) and settings.store.base is None:
        changed["store"] = settings.store.model_copy(
            update={"root": settings.store.root.absolute(), "base": "/files"}
        )
    return settings.model_copy(update=changed)


def application(settings: Settings, site: Site | None = None) -> ASGIApp:
    """Return the server for `prepared` settings; work begins and ends with its lifespan.

    `site` is what its web page needs to know; without one there is none.
    """
    metrics = Metrics()
    queue = Queue.open(_place(settings))
    pool = Pool(settings)

    dispatcher = Dispatcher(queue, pool, settings.server, metrics.end)
    uploads = files.Uploads(settings)
    parts = Parts(settings, dispatcher, uploads, metrics, Streams(dispatcher))

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await dispatcher.start()
        sweeping = asyncio.create_task(_sweeping(settings, uploads))
        try:
            async with page(app, site):
                yield
        finally:
            sweeping.cancel()
            await dispatcher.close()
            await asyncio.to_thread(queue.close)

    app = FastAPI(
        title="talkhead",
        version=__version__,
        openapi_url=None,  # the document is our own: see document.py
        default_response_class=Json,
        lifespan=life,
    )
    app.include_router(router(parts))
    _handle_errors(app)
    app.add_middleware(Clock, metrics=metrics)
    app.add_middleware(Guard, settings=settings.server)
    if settings.server.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.server.origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Endpoint(app)


class Endpoint:
    """ASGI middleware: /v2/ENDPOINT/… is the same as /…, since RunPod's clients put that before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, by its short path."""
        if scope["type"] == "http" and scope["path"].startswith("/v2/"):
            rest = scope["path"].split("/", 3)[3:]
            path = f"/{rest[0]}" if rest else "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)


def page_only(site: Site) -> ASGIApp:
    """Return an application that is the page alone, for a server or endpoint elsewhere."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with page(app, site):
            yield

    app = FastAPI(openapi_url=None, lifespan=life)
    app.add_middleware(Guard, settings=Server())
    return app


@asynccontextmanager
async def page(app: FastAPI, site: Site | None) -> AsyncIterator[None]:
    """Have the page there inside the block; it loads aside, as it takes seconds.

    A page that does not load is logged, and the server goes on without it.
    """
    if site is None:
        yield
        return
    there, over = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        try:
            with naming(None):
                async with mounted(app, site):
                    there.set()
                    gc.freeze()  # what it loaded stays too
                    logs.event("server.page")
                    await over.wait()
        except TalkheadError as error:
            logs.failure(error, name="server.page")

    task = asyncio.create_task(hold())
    try:
        yield
    finally:
        over.set()
        if not there.is_set():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _place(settings: Settings) -> str:
    """Return the URL of the queue's database."""
    if settings.server.queue is not None:
        return settings.server.queue.get_secret_value()
    root = files.folder(settings)
    root.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{(root / 'queue.sqlite').absolute()}"


async def _sweeping(settings: Settings, uploads: files.Uploads) -> None:
    while True:
        with suppress(OSError):
            await asyncio.to_thread(uploads.sweep)
            await asyncio.to_thread(partial.sweep, settings)
        await asyncio.sleep(LOOK_S)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(RefusedError)
    async def refusal(_request: Request, error: RefusedError) -> Response:
        return reply(error)

    @app.exception_handler(TalkheadError)
    async def named(_request: Request, error: TalkheadError) -> Response:
        return reply_error(error)

    @app.exception_handler(HTTPException)
    async def framework(_request: Request, error: HTTPException) -> Response:
        found = refused(error.status_code, str(error.detail), "GET /openapi.json lists all paths")
        found.headers.update(error.headers or {})
        return reply(found)

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, error: Exception) -> Response:
        told = TalkheadError(Code.INTERNAL, "the server failed", "its log has the reason")
        told.__cause__ = error
        logs.failure(told, name="server.failed")
        return reply_error(told)
