"""Who works in a folder: a lock for this machine, and a lease for hosts that share its disk.

The file `lock` is held by flock while a process works. Some network volumes keep flock to one
host, so it also names the host, and its time is renewed: for others that is a lease.
"""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from talkhead.errors import Code, TalkheadError

PATIENCE = 0.5  # seconds to wait for a folder that somebody may only be looking at
PAUSE = 0.1  # seconds between two looks
LEASE_SECONDS = 120  # a job on another host that gave no sign of life for this long is given up
GRACE = 5  # seconds more than a lease, for clocks and for the host that gives up
LOCK = "lock"


@contextmanager
def lock(path: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold a folder for this process; yield whether somebody else had it before.

    Without `wait`, a folder in use is E_CAPACITY at once. With it, a folder is waited for until
    its owner must be dead; `wait` is called over and over meanwhile, and may raise to stop.
    """
    handle, waited = _acquire(path, wait)
    try:
        yield waited
    finally:
        with suppress(OSError):
            os.ftruncate(handle, 0)  # gives the lease back, for other hosts
        os.close(handle)


def renew(path: Path) -> None:
    """Tell other hosts that this folder is being worked in."""
    with suppress(FileNotFoundError):  # the job is done, and its folder gone
        os.utime(path / LOCK)


def held(path: Path) -> bool:
    """Return whether somebody works in a folder, on this host or another."""
    handle = os.open(path / LOCK, os.O_RDWR)
    try:
        return not _try(handle) or _host(handle) is not None
    finally:
        os.close(handle)


def remove(path: Path) -> bool:
    """Delete a folder where nobody works in it, so that a job that has just resumed keeps it."""
    try:
        handle = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:  # another process is quicker, or was killed in between
        with suppress(OSError):
            path.rmdir()
        return False
    except OSError:  # not ours
        return False
    try:
        if not _try(handle) or _host(handle) is not None:
            return False
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
    return True


def _acquire(path: Path, wait: Callable[[], None] | None) -> tuple[int, bool]:
    began = time.monotonic()
    patience = PATIENCE if wait is None else LEASE_SECONDS + GRACE
    waited = False
    while True:
        handle = _open(path)
        try:
            owner = _take(path, handle)
        except BaseException:
            os.close(handle)
            raise
        if owner is None:
            return handle, waited
        os.close(handle)
        if time.monotonic() - began > patience:
            raise TalkheadError(
                Code.CAPACITY,
                f"job {path.name} is being rendered by {owner}",
                "wait for it to end, or stop it",
            )
        if wait is not None:
            wait()
        waited = True
        time.sleep(PAUSE)


def _take(path: Path, handle: int) -> str | None:
    """Take an opened lock and return None, or return who has it."""
    if not _try(handle):
        return "another process"
    if not _is_current(path / LOCK, handle):
        return "a run that has just ended"  # it removed the folder while we opened it
    host = _host(handle)
    if host is not None:
        return f"host {host}"
    os.ftruncate(handle, 0)
    os.pwrite(handle, socket.gethostname().encode(), 0)
    return None


def _open(path: Path) -> int:
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            return os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # removed between the two calls
        except OSError as error:
            raise TalkheadError(
                Code.CAPACITY,
                f"cannot use the job folder {path}: {error.strerror}",
                "set TALKHEAD_JOBS to a folder that can be written",
            ) from error


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(lock_file: Path, handle: int) -> bool:
    try:
        return lock_file.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _host(handle: int) -> str | None:
    """Return the other host whose lease still runs, or None."""
    owner = os.pread(handle, 256, 0).decode(errors="replace")
    age = time.time() - os.fstat(handle).st_mtime
    return owner if owner not in ("", socket.gethostname()) and age < LEASE_SECONDS else None
