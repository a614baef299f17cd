"""The part of a video that is safe already, to be watched while the rest is made."""

import asyncio
import time
from pathlib import Path

from starlette.responses import FileResponse, RedirectResponse, Response

from talkhead.errors import TalkheadError
from talkhead.serve.answering import safe_key
from talkhead.serve.dispatch import Dispatcher
from talkhead.serve.queue import FINAL, Entry
from talkhead.serve.server import files
from talkhead.serve.server.refusals import refused
from talkhead.settings import Settings

KEPT_S = 600.0  # that a part stays, however its job goes on
FRESH = {"Cache-Control": "no-store"}
ENDING_S = 3.0  # for a job whose folder is gone already to be known as ended


async def answer(settings: Settings, dispatcher: Dispatcher, entry: Entry) -> Response:
    """Return the video so far, or of a job that completed the way to the whole; raise otherwise."""
    if entry.status not in FINAL:
        found = await asyncio.to_thread(_made, settings, entry)
        if found is not None:
            return FileResponse(
                found, media_type="video/mp4", headers={"Cache-Control": "no-store"}
            )
        ended = await dispatcher.over(entry.id, ENDING_S) if entry.began is not None else None
        entry = ended or entry
    outputs = ((entry.output or {}).get("result") or {}).get("outputs") or ()
    whole = next((made.get("url") for made in outputs if made["kind"] == "video"), None)
    if whole is None:
        raise refused(404, f"nothing of job {entry.id!r} can be watched", "its status says more")
    return RedirectResponse(whole, 303)


def sweep(settings: Settings) -> None:
    """Delete parts that nobody can be reading any more; what is wanted again is made again."""
    for file in _folder(settings).glob("*.mp4"):
        if time.time() - file.stat().st_mtime > KEPT_S:
            file.unlink(missing_ok=True)


def _made(settings: Settings, entry: Entry) -> Path | None:
    """Return a file with all segments so far, the last one that there was, or None.

    One is made for each number of segments.
    """
    from talkhead.rendering import so_far  # noqa: PLC0415 (heavy: the port opens without it)

    folder = settings.jobs / safe_key(str(entry.facts.get("key") or entry.id))
    count = sum(1 for _ in folder.glob("segment-*.mp4"))
    older = _parts(settings, entry)
    out = _folder(settings) / f"{safe_key(entry.id)}-{count}.mp4"
    if out in older:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        frames = so_far(folder, out)
    except (OSError, TalkheadError):  # the job ended while we looked
        frames = 0
    if not frames:
        return older[-1] if older else None
    for file in older[:-1]:  # the last one may be on its way to somebody
        file.unlink(missing_ok=True)
    return out


def _parts(settings: Settings, entry: Entry) -> list[Path]:
    found = _folder(settings).glob(f"{safe_key(entry.id)}-*.mp4")
    return sorted(found, key=lambda file: int(file.stem.rpartition("-")[2]))


def _folder(settings: Settings) -> Path:
    return files.folder(settings) / "parts"
