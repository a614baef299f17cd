"""Files of the server: what callers send, and results of a store that is a folder."""

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from talkhead.errors import Code, TalkheadError
from talkhead.media.sniff import Kind, sniff
from talkhead.serve.server.refusals import refused
from talkhead.settings import Local, Settings
from talkhead.stores.local import LocalStore
from talkhead.stores.mimes import REPEATED, mime_of

NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9-]{1,20}")
KEPT_S = 3600.0  # that an upload stays at the least, however full the folder is
PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}


def folder(settings: Settings) -> Path:
    """Return where the server keeps its queue and what callers sent."""
    return settings.server.folder or settings.jobs.parent / "server"


class Uploads:
    """Files that callers sent, by digest, for requests to name as volume:NAME."""

    def __init__(self, settings: Settings) -> None:
        self.root = folder(settings) / "uploads"
        self.root.mkdir(parents=True, exist_ok=True)
        fetch = settings.fetch
        self._most = {
            family: round(1e6 * mb)
            for family, mb in (
                ("image", fetch.image_mb),
                ("audio", fetch.audio_mb),
                ("video", fetch.video_mb),
            )
        }
        self._room = round(1e9 * settings.server.upload_gb)
        self._keep_s = 86_400 * settings.server.keep_days

    async def take(self, request: Request) -> dict[str, object]:
        """Keep a request's body; return its reference, kind and size, or raise RefusedError.

        It is judged by its first bytes, whatever name or type it comes with, and appears whole or
        not at all.
        """
        partial = self.root / f".{secrets.token_hex(8)}.partial"
        try:
            digest, size = await self._written(request, partial)
            kind = await asyncio.to_thread(_kind, partial)
            if size > self._most[kind.family]:
                raise _too_large(self._most[kind.family])
            name = f"{digest[:32]}.{_ending(kind)}"
            await asyncio.to_thread(self._keep, partial, name)
        finally:
            partial.unlink(missing_ok=True)
        return {"reference": f"volume:{name}", "bytes": size, "mime": kind.mime}

    def answer(self, name: str) -> Response:
        """Return a file that was sent, by the name of its reference, or raise RefusedError."""
        path = self.root / name
        if not NAME.fullmatch(name) or not _is_file(path):
            raise refused(
                404, f"no upload {name[:200]!r}", "it may have been deleted: send it again"
            )
        return FileResponse(path, headers=PLAIN)

    def sweep(self) -> None:
        """Delete the oldest while there is too much, and what is older than it may be."""
        found = sorted(self._files(), key=lambda each: each[0])
        total, now = sum(size for _, size, _ in found), time.time()
        for at, size, file in found:
            old = now - at > self._keep_s
            if old or (total > self._room and now - at > KEPT_S):
                file.unlink(missing_ok=True)
                total -= size

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        for file in self.root.iterdir():
            try:
                about = file.stat()
            except FileNotFoundError:
                continue
            yield about.st_mtime, about.st_size, file

    async def _written(self, request: Request, partial: Path) -> tuple[str, int]:
        digest, size, most = hashlib.sha256(), 0, max(self._most.values())
        with partial.open("wb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            os.fsync(file.fileno())
        if not size:
            raise refused(400, "the upload is empty", "send the file's bytes as the body")
        return digest.hexdigest(), size

    def _keep(self, partial: Path, name: str) -> None:
        self.sweep()
        taken = sum(size for _, size, _ in self._files())
        if taken > self._room:
            raise refused(
                503,
                f"uploads take up {taken / 1e9:.1f} GB, all that they may",
                "try later, or raise TALKHEAD_SERVER__UPLOAD_GB",
                code=Code.CAPACITY,
            )
        partial.replace(self.root / name)


def result(settings: Settings, key: str) -> Response:
    """Return a result of the default store, where that is a folder, or raise RefusedError."""
    store = settings.store
    if not isinstance(store, Local):
        raise refused(404, "results of this server are in another store", "see the result's url")
    try:
        path = LocalStore(store.root).path(key).resolve()
    except TalkheadError as error:
        raise refused(404, f"no file {key[:200]!r}", error.hint) from error
    if not path.is_relative_to(store.root.resolve()) or not _is_file(path):
        raise refused(404, f"no file {key[:200]!r}", "it may have been deleted")
    mime = mime_of(path.name)
    often = {"Cache-Control": "no-cache"} if mime == REPEATED else {}
    return FileResponse(path, media_type=mime, headers={**PLAIN, **often})


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for names that no disk can hold)


def _kind(file: Path) -> Kind:
    try:
        return sniff(file)
    except TalkheadError as error:
        raise refused(415, error.message, error.hint, code=error.code) from error


def _ending(kind: Kind) -> str:
    return (
        kind.name.lower().replace(" ", "-").replace("quicktime", "mov").replace("matroska", "mkv")
    )


def _too_large(most: int) -> Exception:
    return refused(413, f"the file is over {most / 1e6:.0f} MB", "send a smaller one")
