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

    What libav or the system says of writing becomes E_FFMPEG, or E_CAPACITY on a full disk.
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
    """Return E_CAPACITY for a full disk, saying what is free, else E_FFMPEG."""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        free = shutil.disk_usage(out.parent).free / 1e6
        return TalkheadError(
            Code.CAPACITY,
            f"the disk is full: cannot write {out.name}",
            f"{out.parent} has {free:.1f} MB free; free some space there, or set TALKHEAD_JOBS "
            "to another disk; the job then continues",
        )
    return TalkheadError(
        Code.ENCODE, f"cannot write {out.name}: {reason}", f"check the folder {out.parent}"
    )
