"""The operator's library, as far as a page can offer it: pictures and sounds by their names."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from starlette.responses import FileResponse, Response

from talkhead.errors import TalkheadError
from talkhead.media.fetch import bundle, in_library
from talkhead.serve.server.files import PLAIN
from talkhead.serve.server.refusals import refused
from talkhead.settings import Settings

MOST = 200  # files of a kind that are offered; requests may name any
LOOKED_AT = 20_000  # files of a folder
# What a page can show or play, and nothing that a browser would run.
MIMES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".m4a": "audio/mp4",
}


def offered(settings: Settings) -> dict[str, list[str]]:
    """Return the names of `pictures` and `sounds`, the operator's own before the bundle's.

    Under `bundle` are those that come with talkhead and have no other file in their place.
    """
    own = list(_names(settings.library)) if settings.library else []
    more = [name for name in _names(bundle()) if name not in own]
    kinds = {
        kind: [name for name in (*own, *more) if _mime(name).startswith(family)][:MOST]
        for kind, family in (("pictures", "image/"), ("sounds", "audio/"))
    }
    return {**kinds, "bundle": more}


def answer(settings: Settings, name: str) -> Response:
    """Return a picture or sound of the library, or raise RefusedError."""
    try:
        path = in_library(name, settings.library)
    except TalkheadError as error:
        raise refused(404, error.message, error.hint) from error
    if not _mime(name):
        raise refused(404, f"{name[:200]!r} is no picture or sound", "name it in a request")
    return FileResponse(path, media_type=_mime(name), headers=PLAIN)


def _names(folder: Path) -> Iterator[str]:
    """Yield the relative names of a folder's pictures and sounds, sorted; no hidden ones."""
    found = sorted(islice(_files(folder), LOOKED_AT))
    yield from (name for name in found if _mime(name))


def _files(folder: Path) -> Iterator[str]:
    for at, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(at).relative_to(folder)
        yield from ((below / name).as_posix() for name in names if not name.startswith("."))


def _mime(name: str) -> str:
    return MIMES.get(PurePosixPath(name).suffix.lower(), "")
