"""No storage: what is small travels in the answer, and a folder remembers finished jobs."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from talkhead.errors import Code, TalkheadError
from talkhead.settings import Inline
from talkhead.stores import Link, Tick, gone
from talkhead.stores.local import LocalStore
from talkhead.stores.mimes import mime_of


class InlineStore:
    """Implements Store on a folder whose links are data: URIs.

    How large a video becomes is known at its end only, so that is when one is refused. Its job
    folder stays, and the same request goes on from there once another store is configured.
    """

    offers = frozenset({"signed"})
    serves = False

    def __init__(self, settings: Inline) -> None:
        self._folder = LocalStore(settings.root)
        self._limit_mb = settings.limit_mb

    @classmethod
    def open(cls, settings: Inline) -> Self:
        """Return the store that the settings describe."""
        return cls(settings)

    def put(self, file: Path, key: str, *, mime: str, sha256: str, create: bool = False) -> bool:
        """Keep file, or raise E_UPLOAD where an answer could not hold it."""
        self._refuse_large(file)
        return self._folder.put(file, key, mime=mime, sha256=sha256, create=create)

    def read(self, key: str) -> bytes | None:
        """Return a small object, or None where there is none."""
        return self._folder.read(key)

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has, or None where there is none."""
        return self._folder.size(key)

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Copy an object to a file."""
        return self._folder.get(key, into, limit, tick)

    def delete(self, key: str) -> None:
        """Delete an object; none there is fine."""
        self._folder.delete(key)

    def link(self, key: str, kind: str, expires_s: int) -> Link:  # noqa: ARG002 (bytes stay)
        """Return the object itself as a data: URI, or raise E_UPLOAD where it is gone."""
        path = self._folder.path(key)
        if not path.is_file():
            raise gone(key)
        self._refuse_large(path)
        content = base64.b64encode(path.read_bytes()).decode()
        return Link(f"data:{mime_of(key)};base64,{content}")

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return each object as a data: URI."""
        return [self.link(key, kind, expires_s) for key in keys]

    def close(self) -> None:
        """Do nothing: a folder has no connections."""

    def _refuse_large(self, file: Path) -> None:
        size = file.stat().st_size
        if size > self._limit_mb * 1e6:
            raise TalkheadError(
                Code.STORE,
                f"{size / 1e6:.1f} MB is over the {self._limit_mb:g} MB that an answer may hold",
                "configure a store: TALKHEAD_STORE__KIND=s3 or supabase and what it needs; the "
                "finished job is kept and continues",
            )
