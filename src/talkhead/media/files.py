"""Files that appear whole under their name, or not at all."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from talkhead.errors import Code, TalkheadError


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Yield a partial name beside `out`, renamed to it at the end and deleted on any failure.

    What libav or the system says of writing becomes E_FFMPEG.
    """
    partial = out.with_name(f".{out.stem.removeprefix('.')}.part{out.suffix}")
    try:
        yield partial
        partial.replace(out)
    except (av.FFmpegError, OSError) as error:
        raise not_written(out, error) from error
    finally:
        partial.unlink(missing_ok=True)


def not_written(out: Path, error: OSError | av.FFmpegError) -> TalkheadError:
    """Return the error for a file that could not be written, with what is free in its folder."""
    message = f"cannot write {out.name}: {error.strerror or error}"
    if not out.parent.is_dir():
        return TalkheadError(Code.ENCODE, message, f"the folder {out.parent} is missing")
    free = shutil.disk_usage(out.parent).free / 1e6
    full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    todo = "free some space or choose another folder" if full else "check the folder's permissions"
    return TalkheadError(Code.ENCODE, message, f"{out.parent} has {free:.0f} MB free; {todo}")
