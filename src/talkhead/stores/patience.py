"""A total time for a call to a store: a server that drips bytes never meets a read timeout."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from talkhead.errors import Code, TalkheadError

FIRST_S = 120.0  # for any call: one hung connection and another attempt
SLOWEST = 100_000  # bytes per second that a large object needs at least, after that

T = TypeVar("T")


def allowed(size: int) -> float:
    """Return the seconds that an object of `size` bytes may take."""
    return FIRST_S + size / SLOWEST


def late(code: Code) -> TalkheadError:
    """Return the error of a store that took longer."""
    return TalkheadError(
        code,
        "the store is too slow: a call did not end in its time",
        "it may be faster later: send the job again",
        retryable=True,
    )


def within(seconds: float, code: Code, work: Callable[[], T]) -> T:
    """Return what work comes to, or raise `code` after so many seconds.

    Work runs in a thread; one that is late is left behind and ends with its connection.
    """
    results: list[T] = []
    failures: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 (raised again by the caller's thread)
            failures.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="store-call", daemon=True).start()
    if not ended.wait(seconds):
        raise late(code)
    if failures:
        raise failures[0]
    return results[0]


def in_time(pieces: Iterator[bytes], seconds: float, code: Code) -> Iterator[bytes]:
    """Pass pieces on, or raise `code` where they are not all there after so many seconds."""
    until = time.monotonic() + seconds
    while (piece := within(until - time.monotonic(), code, lambda: next(pieces, None))) is not None:
        yield piece
