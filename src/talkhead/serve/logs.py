"""JSON-lines logs: one object per line, no secrets in it, whichever thread or process writes.

    {"ts": "2026-11-21T10:12:00.123Z", "level": "info", "job_id": "…", "event": "job.taken",
     "details": {…}}

Logging never ends a job: whatever cannot be written as JSON is described instead, and a stdout or
a file that refuses a line loses it.
"""

import fcntl
import json
import logging
import os
import select
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO, get_args

from talkhead.errors import Code, TalkheadError
from talkhead.redaction import Redactor, secrets_in
from talkhead.settings import Settings, secrets_of_environment

Level = Literal["debug", "info", "warning", "error"]
Event = Literal[
    "worker.started",
    "worker.stopping",
    "child.started",
    "child.ready",
    "child.warm",
    "child.failed",
    "child.replaced",
    "weights.pull",
    "fitness.failed",
    "queue.failed",
    "queue.recovered",
    "server.started",
    "server.page",
    "server.failed",
    "job.taken",
    "job.again",
    "job.started",
    "job.progress",
    "job.late",
    "job.finished",
    "job.repeated",
    "job.cancelled",
    "job.failed",
    "job.traceback",
    "progress.undelivered",
    "log.library",
    "log.file_failed",
]
# One sentence for each; docs/contract.md lists them.
EVENTS: dict[Event, str] = {
    "worker.started": "the worker is about to take jobs",
    "worker.stopping": "the worker was told to end",
    "child.started": "a process for rendering was spawned",
    "child.ready": "it can work",
    "child.warm": "it has loaded and compiled the default engine; `seconds`",
    "child.failed": "it could not start",
    "child.replaced": "a process that crashed or did not stop was replaced",
    "weights.pull": "weights are being fetched; once a minute",
    "fitness.failed": "a fitness check found this machine unfit",
    "queue.failed": "the queue's database did not answer; it is tried again",
    "queue.recovered": "jobs that an earlier process of the server was at are taken again",
    "server.started": "the server listens",
    "server.page": "its web page is there, or why not",
    "server.failed": "an answer could not be given; the caller was told E_INTERNAL",
    "job.taken": "a job arrived",
    "job.again": "it failed in a way that may not come again, and waits for another attempt",
    "job.started": "its request is valid and work begins",
    "job.progress": "how far it is (level debug)",
    "job.late": "its estimate passes its deadline; it goes on",
    "job.finished": "its result is stored",
    "job.repeated": "it was answered from an earlier run",
    "job.cancelled": "it was stopped",
    "job.failed": "it ended with an error",
    "job.traceback": "where it failed, as the rendering process saw it; job.failed follows",
    "progress.undelivered": "the platform did not take a word of progress; the job goes on",
    "log.library": "a library's own warning",
    "log.file_failed": "the log file cannot be written; stdout goes on",
}
LEVELS: tuple[Level, ...] = get_args(Level)
FILE_BYTES = 10_000_000
OLD_FILES = 3
PATIENCE_S = 0.1  # for another process that is writing: the event loop waits meanwhile


class _File:
    """A file that many processes append to. Whoever fills it moves it away, under a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(_named(path, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._fd = self._open()

    def write(self, line: bytes) -> None:
        """Append one line, or raise OSError."""
        with _alone(self._lock, strict=True):
            if not self._current():
                self._reopen()
            if os.fstat(self._fd).st_size + len(line) > FILE_BYTES:
                self._rotate()
            _write_all(self._fd, line)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)
        os.close(self._lock)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _current(self) -> bool:
        try:
            there, mine = self._path.stat(), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _reopen(self) -> None:
        fresh = self._open()
        os.close(self._fd)
        self._fd = fresh

    def _rotate(self) -> None:
        for number in range(OLD_FILES, 0, -1):
            older = _named(self._path, str(number))
            newer = _named(self._path, str(number - 1)) if number > 1 else self._path
            with suppress(FileNotFoundError):
                newer.replace(older)
        self._reopen()


class _Sink:
    """Where lines go, and what is taken out of them."""

    def __init__(
        self, stream: TextIO | None, level: Level, secrets: frozenset[str], file: _File | None
    ) -> None:
        self.level = level
        self.file = file
        self._stream = stream
        self._fd = _descriptor(stream)
        self._secrets = secrets
        self._extra: list[str] = []
        self._lock = threading.RLock()  # a signal handler may log in the middle of a line
        self._file_works = True
        self._lost = 0  # lines that the file lacks
        self.redactor = Redactor(secrets)

    def hide(self, secrets: frozenset[str]) -> None:
        with self._lock:
            self._extra += secrets
            self.redactor = Redactor(self._secrets.union(self._extra))

    def reveal(self, secrets: frozenset[str]) -> None:
        with self._lock:
            for secret in secrets:
                self._extra.remove(secret)
            self.redactor = Redactor(self._secrets.union(self._extra))

    def write(self, line: str) -> None:
        data = (line + "\n").encode()
        with self._lock:
            self._to_stream(data)
            failure = self._to_file(data)
            lost, self._lost = (0, self._lost + 1) if failure else (self._lost, 0)
        if failure is not None and self._file_works:
            self._file_works = False
            event("log.file_failed", level="error", error=failure)
        elif lost:
            event("log.file_failed", level="warning", lost=lost, works="again")

    def _to_stream(self, data: bytes) -> None:
        with suppress(OSError, ValueError):  # a closed stdout must not end a job
            if self._fd is not None:
                with _alone(self._fd):
                    _write_all(self._fd, data)
            elif self._stream is not None:
                self._stream.write(data.decode())
                self._stream.flush()

    def _to_file(self, data: bytes) -> OSError | None:
        try:
            if self.file is not None:
                self.file.write(data)
                self._file_works = True
        except OSError as error:
            return error
        return None


class _Forwarder(logging.Handler):
    """Passes on what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record as log.library."""
        error = record.exc_info[1] if record.exc_info else None
        event(
            "log.library",
            level="warning" if record.levelno < logging.ERROR else "error",
            logger=record.name,
            message=_message(record),
            traceback=None if error is None else _story(error),
        )


_FORWARDER = _Forwarder(logging.WARNING)
_state: list[_Sink] = []  # none before setup


def setup(settings: Settings, stream: TextIO | None = None) -> None:
    """Log from now on to stream (stdout by default) and to settings.log_file, as set.

    Call it once in each process. Warnings of libraries go the same way. A log file that cannot be
    opened is E_INPUT_VALIDATION.
    """
    secrets = secrets_in(settings) | secrets_of_environment()
    file = _opened(settings.log_file)
    close()
    _state.append(_Sink(stream or sys.stdout, settings.log_level, secrets, file))
    logging.getLogger().addHandler(_FORWARDER)
    logging.captureWarnings(capture=True)


def close() -> None:
    """Log no more and give the file back; stdout stays open."""
    while _state:
        sink = _state.pop()
        if sink.file is not None:
            sink.file.close()
    logging.getLogger().removeHandler(_FORWARDER)
    logging.captureWarnings(capture=False)


def event(
    name: Event, /, *, job_id: str | None = None, level: Level = "info", **details: object
) -> None:
    """Write one line, if the level is wanted. Never raises."""
    if not _state:
        return
    sink = _state[0]
    if LEVELS.index(level) < LEVELS.index(sink.level):
        return
    record = {
        "ts": _now(),
        "level": level,
        "job_id": None if job_id is None else redact(job_id),
        "event": name,
        "details": sink.redactor.value(details),
    }
    sink.write(json.dumps(record))  # ASCII: no control character and no lone surrogate gets out


def failure(error: BaseException, job_id: str | None = None, name: Event = "job.failed") -> None:
    """Log an error with its traceback: errors that are ours as `error`, others as `warning`."""
    ours = not isinstance(error, TalkheadError) or error.code is Code.INTERNAL
    wired = error.to_dict() if isinstance(error, TalkheadError) else {"message": str(error)}
    event(
        name,
        job_id=job_id,
        level="error" if ours else "warning",
        error=wired,
        traceback=_story(error),
    )


def redact(text: str) -> str:
    """Return text as logs and answers may show it."""
    return (_state[0].redactor if _state else _PLAIN).text(text)


def wire(error: TalkheadError) -> dict[str, object]:
    """Return the wire form of an error, its message and hint without secrets."""
    shown = error.to_dict()
    return {**shown, "message": redact(error.message), "hint": redact(error.hint)}


@contextmanager
def hiding(value: object) -> Iterator[None]:
    """Take the SecretStr inside value out of all lines as well, such as a request's own store."""
    secrets = secrets_in(value)
    sinks = _state[:]
    for sink in sinks:
        sink.hide(secrets)
    try:
        yield
    finally:
        for sink in sinks:
            sink.reveal(secrets)


_PLAIN = Redactor()


def _opened(path: Path | None) -> _File | None:
    if path is None:
        return None
    try:
        return _File(path)
    except OSError as error:
        raise TalkheadError(
            Code.INPUT,
            f"cannot log to {path}: {error.strerror}",
            "set TALKHEAD_LOG_FILE to a file that can be written, or unset it",
        ) from error


def _named(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError, AttributeError):  # not a real file
        return None


@contextmanager
def _alone(fd: int, *, strict: bool = False) -> Iterator[None]:
    """Keep other processes from writing meanwhile: only short lines are whole by themselves.

    Whoever holds the lock for too long is not waited for: `strict` raises OSError then.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:  # on a shared volume its holder may have stopped for good
            if strict and time.monotonic() > until:
                raise
            locked = False
        except OSError:  # a kind of file that has no locks
            locked = False
            break
        if locked or time.monotonic() > until:
            break
        time.sleep(0.005)
    try:
        yield
    finally:
        if locked:
            with suppress(OSError):
                fcntl.lockf(fd, fcntl.LOCK_UN)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody made it non-blocking and it is full
            select.select([], [fd], [], 1.0)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError, AttributeError):  # its arguments do not fit
        return str(record.msg)


def _story(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))
