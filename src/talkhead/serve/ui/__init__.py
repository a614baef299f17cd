"""The web page. Gradio loads for seconds: nothing here imports it before `mounted` is entered."""

import asyncio
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from talkhead import registry
from talkhead.serve.ui.site import Site
from talkhead.settings import gradio_files

__all__ = ["Site", "mounted"]

LATER_S = 0.5  # loading takes the processor from whoever calls: the first are answered before it
WAITING = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
    '<meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark">'
    '<link rel="icon" href="data:,">'
    '<title>talkhead</title><body style="font:18px system-ui,sans-serif;display:grid;'
    'place-items:center;min-height:90vh"><p>The page is loading …</p></body></html>'
)


@asynccontextmanager
async def mounted(app: Any, site: Site) -> AsyncIterator[None]:
    """Mount the page at / of an app that may be serving already; it works inside the block.

    Loading takes seconds, in a thread; until then / says so, and who is cancelled does not wait.
    All files of the page lie in one folder, which goes with the block. Enter it after every other
    route is there: / takes the rest.
    """
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.responses import HTMLResponse  # noqa: PLC0415
    from starlette.routing import Mount, Route  # noqa: PLC0415

    waiting = Mount("/", Starlette(routes=[Route("/", lambda _: HTMLResponse(WAITING))]))
    app.router.routes.append(waiting)
    with tempfile.TemporaryDirectory(prefix="talkhead-page-") as folder:
        place = replace(site, folder=Path(folder) / "fetched", uploaded={})
        place.folder.mkdir()
        await asyncio.sleep(LATER_S)
        inner = await _aside(_made, place, Path(folder))
        app.router.routes.remove(waiting)
        app.mount("/", inner)
        async with inner.router.lifespan_context(inner):
            blocks = inner.get_blocks()
            blocks.run_startup_events()  # mounted late: the outer lifespan has begun without it
            await blocks.run_extra_startup_events()
            try:
                yield
            finally:
                blocks.close(verbose=False)


def _aside(work: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
    """Return what work will return in a thread that no end of this process waits for."""
    found: Future[Any] = Future()
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(work(*args))
        except Exception as error:  # noqa: BLE001 (raised where it is awaited)
            found.set_exception(error)

    threading.Thread(target=run, name="page", daemon=True).start()
    return asyncio.wrap_future(found)


def _made(site: Site, folder: Path) -> Any:
    """Load Gradio and return the page as an ASGI app of its own."""
    gradio_files(folder / "gradio")
    registry.need("ui")
    import gradio as gr  # noqa: PLC0415 (takes seconds, and only here)
    from fastapi import FastAPI  # noqa: PLC0415
    from starlette.routing import Mount  # noqa: PLC0415

    from talkhead.serve.ui import page  # noqa: PLC0415

    host = FastAPI()
    gr.mount_gradio_app(host, page.build(site), path="/", **page.look(site))
    return next(route.app for route in host.router.routes if isinstance(route, Mount))
