"""The page beside the server: it loads aside, and nobody waits for it."""

import asyncio
import threading
from typing import Any

import pytest
from fastapi import FastAPI

from talkhead.serve import ui
from talkhead.serve.server import page
from talkhead.serve.ui import Site


def test_a_server_ends_without_its_page_that_still_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    loading, leave = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        loading.set()
        leave.wait(20)  # not for ever: where this fails, it ends

    async def serve_shortly() -> None:
        async with asyncio.timeout(10), page(FastAPI(), Site("http://127.0.0.1:1")):
            assert await asyncio.to_thread(loading.wait, 5)

    monkeypatch.setattr(ui, "LATER_S", 0)
    monkeypatch.setattr(ui, "_made", slow)
    try:
        asyncio.run(serve_shortly())
    finally:
        leave.set()
