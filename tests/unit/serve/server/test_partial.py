"""Parts of a video stay whole under those who watch them, whatever else asks or sweeps."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.responses import FileResponse

from support.cards import card_settings
from talkhead import rendering
from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.queue import Entry
from talkhead.serve.server import partial
from talkhead.settings import Settings

NOBODY = cast("Dispatcher", None)  # asked only where there is nothing to show
BYTES = 300_000  # more than one piece of a file on its way


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(**card_settings(tmp_path))


@pytest.fixture
def commit(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what commits one more segment of the job; a part is its number, again and again."""
    folder = settings.jobs / "job"
    folder.mkdir(parents=True)

    def count() -> int:
        return len(list(folder.glob("segment-*.mp4")))

    def so_far(_folder: Path, out: Path) -> int:
        out.write_bytes(part(count()))
        return count()

    def more() -> None:
        (folder / f"segment-{count()}.mp4").touch()

    monkeypatch.setattr(rendering, "so_far", so_far)
    return more


def part(segments: int) -> bytes:
    return bytes([segments]) * BYTES


def entry(status: Any = "IN_PROGRESS") -> Entry:
    return Entry("job", "render", status, 0, 1, 1, 1, 0.0, 1.0, None, None, None, None, {})


def asked(settings: Settings) -> FileResponse:
    response = asyncio.run(partial.answer(settings, NOBODY, entry()))
    assert isinstance(response, FileResponse)
    return response


def sent(response: FileResponse, meanwhile: Callable[[], object] = lambda: None) -> bytes:
    """Send a response as a server does, something else happening after its first piece."""
    pieces: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            pieces.append(message["body"])
            if len(pieces) == 1:
                meanwhile()

    scope = {"type": "http", "method": "GET", "headers": [], "asgi": {"spec_version": "2.4"}}

    async def whole() -> None:
        await response(scope, cast("Any", None), send)

    asyncio.run(whole())
    assert len(pieces) > 2
    return b"".join(pieces)


def parts(settings: Settings) -> list[Path]:
    return sorted(partial._folder(settings).glob("*.mp4"))


def swept_late(settings: Settings) -> None:
    """Sweep as if everything had lain there for long."""
    for file in parts(settings):
        os.utime(file, (0, time.time() - partial.KEPT_S - 1))
    partial.sweep(settings)


def test_a_part_outlives_the_next_one_until_it_is_sent(
    settings: Settings, commit: Callable[[], None]
) -> None:
    commit()
    slow = asked(settings)  # found, and not opened yet
    commit()
    assert sent(asked(settings)) == part(2)
    partial.sweep(settings)
    assert sent(slow) == part(1)
    commit()
    assert sent(asked(settings)) == part(3)
    assert [file.name for file in parts(settings)] == ["job-2.mp4", "job-3.mp4"]


def test_a_part_on_its_way_arrives_whole(settings: Settings, commit: Callable[[], None]) -> None:
    commit()

    def others() -> None:
        for _ in range(3):
            commit()
            partial._made(settings, entry())
        swept_late(settings)

    assert sent(asked(settings), others) == part(1)
    assert parts(settings) == []


def test_a_part_that_was_swept_is_made_again(
    settings: Settings, commit: Callable[[], None]
) -> None:
    commit()
    assert sent(asked(settings)) == part(1)
    swept_late(settings)
    assert parts(settings) == []
    assert sent(asked(settings)) == part(1)


def test_where_no_new_part_can_be_made_the_last_one_is_shown(
    settings: Settings, commit: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit()
    asked(settings)
    commit()
    monkeypatch.setattr(rendering, "so_far", lambda *_: 0)
    assert sent(asked(settings)) == part(1)
