"""A folder, or one file that a command line asked for."""

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Self
from urllib.parse import quote

from talkhead.errors import Code, TalkheadError
from talkhead.settings import Local
from talkhead.stores import MAX_READ, Link, Tick
from talkhead.stores.arriving import write
from talkhead.stores.keys import check_key

CHUNK = 2**20
STRAY = 86_400  # seconds after which a file that is half written has lost its writer
FULL = {errno.ENOSPC, errno.EDQUOT}
# What the system says where there is no file of that name.
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


class LocalStore:
    """Implements Store on a folder."""

    offers = frozenset({"signed"})  # a path of this machine, which stands for both

    def __init__(self, root: Path, base: str | None = None) -> None:
        self.root = root
        self.base = base  # of the URLs under which something serves the folder
        self.serves = base is not None

    @classmethod
    def open(cls, settings: Local) -> Self:
        """Return the store that the settings describe."""
        return cls(settings.root, settings.base)

    def path(self, key: str) -> Path:
        """Return the file behind key, or raise E_INPUT_VALIDATION where it leaves the folder."""
        return self.root.joinpath(*check_key(key).split("/"))

    def put(
        self,
        file: Path,
        key: str,
        *,
        mime: str,  # noqa: ARG002 (a folder keeps no types)
        sha256: str,  # noqa: ARG002 (a copy that fails raises)
        create: bool = False,
    ) -> bool:
        """Copy file under key; whole or not at all."""
        return put_file(file, self.path(key), create=create)

    def read(self, key: str) -> bytes | None:
        """Return the file behind key, or None."""
        return read_file(self.path(key))

    def size(self, key: str) -> int | None:
        """Return how many bytes the file behind key has, or None."""
        path = self.path(key)
        return path.stat().st_size if path.is_file() else None

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        """Copy the file behind key; links that lead out of the folder count as absent."""
        path = self.path(key).resolve()
        with _failures(Code.DOWNLOAD, path):
            # Path.is_file raises for names that no disk can hold
            found = os.path.isfile(path)  # noqa: PTH113
            if not found or not path.is_relative_to(self.root.resolve()):
                return False
            with path.open("rb") as reader:
                total = os.fstat(reader.fileno()).st_size
                pieces = iter(lambda: reader.read(CHUNK), b"")
                write(pieces, into, total, limit, tick, None)
        return True

    def delete(self, key: str) -> None:
        """Delete the file behind key, and folders that it leaves empty."""
        path = self.path(key)
        with _failures(Code.STORE, path):
            try:
                path.unlink()
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
        for folder in path.parents:
            if folder == self.root or not folder.is_relative_to(self.root):
                return
            try:
                folder.rmdir()
            except OSError:  # something else is in it
                return

    def link(self, key: str, kind: str, expires_s: int) -> Link:  # noqa: ARG002 (paths stay)
        """Return a URL below `base`, or a file: URL."""
        if self.base is not None:
            return Link(f"{self.base.rstrip('/')}/{quote(key)}")
        return Link(self.path(key).absolute().as_uri())

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return a URL for each key."""
        return [self.link(key, kind, expires_s) for key in keys]

    def close(self) -> None:
        """Do nothing: a folder has no connections."""


class SingleFile:
    """Implements Store for `-o out.mp4`: the main file under its own name, the rest beside it.

    `out.mp4` brings `out.thumbnail.jpg` and `out.result.json`.
    """

    offers = frozenset({"signed"})
    serves = False

    def __init__(self, out: Path) -> None:
        self.out = out

    def path(self, key: str) -> Path:
        """Return the file for a key such as jobs/1/video.mp4."""
        name = PurePosixPath(key).name
        is_main = PurePosixPath(name).suffix == self.out.suffix.lower()
        return self.out if is_main else self.out.with_name(f"{self.out.stem}.{name}")

    def put(
        self,
        file: Path,
        key: str,
        *,
        mime: str,  # noqa: ARG002 (the file's own affair)
        sha256: str,  # noqa: ARG002
        create: bool = False,  # noqa: ARG002 (the command line has settled what may be replaced)
    ) -> bool:
        """Copy file to its place; whole or not at all."""
        return put_file(file, self.path(key))

    def read(self, key: str) -> bytes | None:  # noqa: ARG002 (part of the protocol)
        """Return None: an existing output is refused, or replaced by force, and never an answer."""
        return None

    def size(self, key: str) -> int | None:  # noqa: ARG002 (part of the protocol)
        """Return None: a command line asks for its output anew."""
        return None

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:  # noqa: ARG002
        """Return False: there is nothing to refer to."""
        return False

    def delete(self, key: str) -> None:
        """Delete the file for key."""
        self.path(key).unlink(missing_ok=True)

    def link(self, key: str, kind: str, expires_s: int) -> Link:  # noqa: ARG002 (paths stay)
        """Return a file: URL."""
        return Link(self.path(key).absolute().as_uri())

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return a URL for each key."""
        return [self.link(key, kind, expires_s) for key in keys]

    def close(self) -> None:
        """Do nothing: a folder has no connections."""


class FileSet:
    """Implements Store for a batch and `-o FOLDER`: each item's files under a name of its own.

    An item called `intro` brings `intro.mp4`, `intro.thumbnail.jpg` and `intro.result.json`; the
    record of the batch is `result.json`. Items that this very batch has finished are answers.
    """

    offers = frozenset({"signed"})
    serves = False

    def __init__(self, folder: Path, batch_id: str, stems: Sequence[str]) -> None:
        self.folder = folder
        self.batch_id = batch_id
        self.stems = stems  # of the items' files, by index

    def path(self, key: str) -> Path:
        """Return the file for a key such as prefix/ID/0/video.mp4 or prefix/ID/result.json."""
        *home, last = PurePosixPath(key).parts
        if home[-2:-1] != [self.batch_id]:
            return self.folder / last
        stem, ending = self.stems[int(home[-1])], PurePosixPath(last).suffix
        main = ending not in (".json", ".jpg")
        return self.folder / (f"{stem}{ending}" if main else f"{stem}.{last}")

    def put(
        self,
        file: Path,
        key: str,
        *,
        mime: str,  # noqa: ARG002 (the file's own affair)
        sha256: str,  # noqa: ARG002
        create: bool = False,  # noqa: ARG002 (the command line has settled what may be replaced)
    ) -> bool:
        """Copy file to its place; whole or not at all."""
        return put_file(file, self.path(key))

    def read(self, key: str) -> bytes | None:
        """Return a file that this batch has left there, or None."""
        content = read_file(self.path(key))
        try:
            owner = str(json.loads(content or b"{}").get("job_id"))
        except (ValueError, AttributeError):
            return content
        return content if owner.partition("/")[0] == self.batch_id else None

    def size(self, key: str) -> int | None:
        """Return how many bytes the file for key has, or None."""
        path = self.path(key)
        return path.stat().st_size if path.is_file() else None

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:  # noqa: ARG002
        """Return False: there is nothing to refer to."""
        return False

    def delete(self, key: str) -> None:
        """Delete the file for key."""
        self.path(key).unlink(missing_ok=True)

    def link(self, key: str, kind: str, expires_s: int) -> Link:  # noqa: ARG002 (paths stay)
        """Return a file: URL."""
        return Link(self.path(key).absolute().as_uri())

    def links(self, keys: Sequence[str], kind: str, expires_s: int) -> list[Link]:
        """Return a URL for each key."""
        return [self.link(key, kind, expires_s) for key in keys]

    def close(self) -> None:
        """Do nothing: a folder has no connections."""


def read_file(path: Path) -> bytes | None:
    """Return a small file's bytes, or None where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_READ + 1)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise TalkheadError(
            Code.STORE, f"cannot read {path}: {error.strerror}", "look at its permissions"
        ) from error
    if len(content) > MAX_READ:
        raise TalkheadError(Code.INPUT, f"{path.name} is too large to be read at once")
    return content


def put_file(file: Path, target: Path, *, create: bool = False) -> bool:
    """Copy file to target through a temporary name, or raise E_UPLOAD and leave nothing.

    With `create`, a target that is there already stays and False is returned.
    """
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        shutil.copyfile(file, partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        return _place(partial, target, create)
    except OSError as error:
        raise TalkheadError(
            Code.STORE, f"cannot write {target}: {error.strerror or error}", _advice(error, target)
        ) from error
    finally:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Delete what writers that were killed have left in a folder."""
    for stray in folder.glob(f".{'[0-9a-f]' * 16}.partial"):
        with suppress(OSError):  # another put was quicker, or it is not ours
            if time.time() - stray.stat().st_mtime > STRAY:
                stray.unlink()


def _place(partial: Path, target: Path, create: bool) -> bool:
    if not create:
        partial.replace(target)
        return True
    try:
        target.hardlink_to(partial)  # fails where the target exists, in one step
    except FileExistsError:
        return False
    except OSError:  # a volume without hard links: the check and the move are two steps
        if target.exists():
            return False
        partial.replace(target)
    return True


def _advice(error: OSError, target: Path) -> str:
    if error.errno in FULL:
        return f"free some space in {target.parent}; the finished job is kept and continues"
    return "choose another output; the finished job is kept and continues"


@contextmanager
def _failures(code: Code, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:  # the disk that is written to; `report.naming` says so
            raise
        raise TalkheadError(
            code, f"cannot use {path}: {error.strerror or error}", "look at its permissions"
        ) from error
