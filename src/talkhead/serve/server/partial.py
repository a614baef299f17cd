"""The part of a video that is safe already, to be watched while the rest is made."""

import asyncio
from pathlib import Path

from starlette.responses import FileResponse, Response

from talkhead.errors import TalkheadError
from talkhead.serve.answering import safe_key
from talkhead.serve.queue import FINAL, Entry
from talkhead.serve.server import files
from talkhead.serve.server.refusals import refused
from talkhead.settings import Settings


async def answer(settings: Settings, entry: Entry) -> Response:
    """Return the video so far of a job that has not ended, or raise RefusedError."""
    if entry.status in FINAL:
        raise refused(404, f"job {entry.id!r} has ended", "its result has the whole video")
    found = await asyncio.to_thread(_made, settings, entry)
    return FileResponse(found, media_type="video/mp4", headers={"Cache-Control": "no-store"})


def forget(settings: Settings, entry: Entry) -> None:
    """Delete the parts of a job that has ended."""
    for file in _folder(settings).glob(f"{safe_key(entry.id)}-*.mp4"):
        file.unlink(missing_ok=True)


def _made(settings: Settings, entry: Entry) -> Path:
    """Return a file with all segments so far; one is made for each number of them."""
    from talkhead.rendering import so_far  # noqa: PLC0415 (heavy: the port opens without it)

    folder = settings.jobs / safe_key(str(entry.facts.get("key") or entry.id))
    count = sum(1 for _ in folder.glob("segment-*.mp4"))
    root = _folder(settings)
    out = root / f"{safe_key(entry.id)}-{count}.mp4"
    if out.exists():
        return out
    root.mkdir(parents=True, exist_ok=True)
    try:
        frames = so_far(folder, out)
    except (OSError, TalkheadError) as error:  # the job ended while we looked
        raise _nothing(entry) from error
    if not frames:
        raise _nothing(entry)
    for older in root.glob(f"{safe_key(entry.id)}-*.mp4"):
        if older != out:
            older.unlink(missing_ok=True)
    return out


def _nothing(entry: Entry) -> Exception:
    return refused(404, f"nothing of job {entry.id!r} can be watched yet", "ask again later")


def _folder(settings: Settings) -> Path:
    return files.folder(settings) / "parts"
