"""A folder, or one file that a command line asked for."""

import errno
import os
import shutil
from pathlib import Path, PurePosixPath

from talkhead.errors import Code, TalkheadError


class LocalStore:
    """Implements Store on a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the file behind key, or raise E_INPUT_VALIDATION where it leaves the folder."""
        parts = PurePosixPath(key).parts
        if not parts or PurePosixPath(key).is_absolute() or ".." in parts or "\0" in key:
            raise TalkheadError(Code.INPUT, f"{key!r} is not a key", "use a relative path")
        return self.root.joinpath(*parts)

    def put(self, file: Path, key: str) -> None:
        """Copy file under key; whole or not at all."""
        put_file(file, self.path(key))

    def read(self, key: str) -> bytes | None:
        """Return the file behind key, or None."""
        try:
            return self.path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def url(self, key: str, expires_s: int) -> str:  # noqa: ARG002 (a folder's paths do not expire)
        """Return a file: URL."""
        return self.path(key).absolute().as_uri()


class SingleFile:
    """Implements Store for `-o out.mp4`: the main file under its own name, the rest beside it.

    `out.mp4` brings `out.thumbnail.jpg` and `out.result.json`.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def path(self, key: str) -> Path:
        """Return the file for a key such as jobs/1/video.mp4."""
        name = PurePosixPath(key).name
        is_main = PurePosixPath(name).suffix == self.out.suffix.lower()
        return self.out if is_main else self.out.with_name(f"{self.out.stem}.{name}")

    def put(self, file: Path, key: str) -> None:
        """Copy file to its place; whole or not at all."""
        put_file(file, self.path(key))

    def read(self, key: str) -> bytes | None:  # noqa: ARG002 (part of the protocol)
        """Return None: an existing output is refused, or replaced by force, and never an answer."""
        return None

    def url(self, key: str, expires_s: int) -> str:  # noqa: ARG002 (a file's path does not expire)
        """Return a file: URL."""
        return self.path(key).absolute().as_uri()


def put_file(file: Path, target: Path) -> None:
    """Copy file to target through a temporary name, or raise E_UPLOAD and leave nothing."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    except OSError as error:
        raise TalkheadError(
            Code.STORE, f"cannot write {target}: {error.strerror or error}", _advice(error, target)
        ) from error
    finally:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)


def _advice(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"free some space in {target.parent}; the finished job is kept and continues"
    return "choose another output; the finished job is kept and continues"
