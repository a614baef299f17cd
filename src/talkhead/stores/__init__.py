"""Where results go. A store keeps bytes under keys: slash-separated, relative names.

A key is the whole name inside the bucket or folder. The operator's prefix is part of the keys
that `deliver` makes; a store adds nothing, so that a result's key works in a `store:` reference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from talkhead.errors import Code, TalkheadError

Tick = Callable[[int, int], None]
MAX_READ = 16 * 2**20  # bytes that `read` returns at most


@dataclass(frozen=True, slots=True)
class Link:
    """A URL to hand to the caller, and when it stops working."""

    url: str
    expires_at: datetime | None = None  # UTC


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one object may be put from outside: a URL for PUT, and the headers for it."""

    url: str
    headers: Mapping[str, str]
    expires_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class Shelf:
    """A store under the name that requests use, and what the keys of its results begin with."""

    name: str
    store: "Store"
    prefix: str = ""


class Store(Protocol):
    """Keeps files under keys. Safe to use from several threads."""

    offers: frozenset[str]  # kinds of URL it can make: signed, public
    serves: bool  # whether a player can open those URLs, and names beside them

    def put(self, file: Path, key: str, *, mime: str, sha256: str, create: bool = False) -> bool:
        """Store file whole under key, replacing what was there; E_UPLOAD where it cannot.

        With `create`, an object that is there already stays and False is returned, as far as the
        service can tell.
        """
        ...

    def read(self, key: str) -> bytes | None:
        """Return a small object (at most 16 MB), or None where there is none."""
        ...

    def size(self, key: str) -> int | None:
        """Return how many bytes an object has, or None where there is none."""
        ...

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Write an object to the file `into`; False where there is none.

        `tick(done, total)` is called while bytes arrive; more than `limit` of them is
        E_INPUT_VALIDATION, and a failure E_DOWNLOAD_FAILED; neither leaves a file.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete an object; none there is fine."""
        ...

    def link(self, key: str, kind: str, expires_s: int) -> Link:
        """Return a URL of one of the kinds in `offers`."""
        ...

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return what `link` does for each key, in as few calls as the service allows."""
        ...

    def close(self) -> None:
        """Close connections; the store can still be used, and opens new ones."""
        ...


@runtime_checkable
class Receives(Protocol):
    """A store to which others can send objects without its keys. Not every store is one."""

    def slot(self, key: str, size: int, expires_s: int) -> Slot:
        """Return where `size` bytes may be put as the object `key`.

        The size is binding where the service can sign it; the time at most `expires_s`, or the
        service's own.
        """
        ...


def gone(key: str) -> TalkheadError:
    """Return the error of an object that was there and is not any more."""
    message = f"{key} is no longer in the store"
    return TalkheadError(Code.STORE, message, "send the job under a new key")
