"""One pull at a time into a weights folder, also where several hosts share a network volume."""

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from talkhead.errors import Code, TalkheadError
from talkhead.weights.stopping import Until

LOCK = ".pull.lock"
LEASE_S = 60.0  # a host that has not renewed its name for so long is gone
RENEW_S = 10.0
LOOK_S = 0.5

Say = Callable[..., None]


@contextmanager
def held(root: Path, until: Until, say: Say, report_s: float) -> Iterator[None]:
    """Hold the folder for this process; wait for another one, with a line every report_s.

    flock keeps processes of one host apart. Network volumes may grant it to every host, so the
    lock file also names its host and is touched while the work goes on.
    """
    handle = _open(root)
    try:
        _wait(handle, root, until, say, report_s)
        ended = threading.Event()
        renewal = threading.Thread(target=_renew, args=(handle, ended), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            ended.set()
            renewal.join()
            with suppress(OSError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _open(root: Path) -> int:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return os.open(root / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"cannot write weights to {root}: {error.strerror}",
            "set TALKHEAD_WEIGHTS to a folder that can be written",
        ) from error


def _wait(handle: int, root: Path, until: Until, say: Say, report_s: float) -> None:
    began, said = time.monotonic(), 0.0
    while owner := _owner(handle):
        waited = time.monotonic() - began
        if not said or waited - said >= report_s:
            said = max(waited, 0.001)
            say("weights.wait", folder=str(root), owner=owner, waited_s=round(waited))
        until.sleep(LOOK_S)


def _owner(handle: int) -> str:
    """Return who holds the folder; empty once it is ours."""
    host = socket.gethostname()
    written = os.pread(handle, 256, 0).decode(errors="replace")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return written or "another process"
    if written and written != host and time.time() - os.fstat(handle).st_mtime < LEASE_S:
        fcntl.flock(handle, fcntl.LOCK_UN)
        return written
    os.ftruncate(handle, 0)
    os.pwrite(handle, host.encode(), 0)
    return ""


def _renew(handle: int, ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(OSError):
            os.utime(handle)
