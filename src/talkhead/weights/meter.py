"""How far a pull is, and how fast."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from talkhead.weights.planning import Item

SPAN_S = 60.0  # the rate is that of the last minute


class Meter:
    """Counts bytes from several threads."""

    def __init__(self) -> None:
        self.fetched = 0  # bytes that came over the network
        self._done = 0  # of what was to come: less where bytes had to be thrown away
        self._lock = threading.Lock()
        self._active: dict[str, Item] = {}
        self._marks = [(time.monotonic(), 0)]

    def count(self, number: int) -> None:
        """Add bytes that came; take away what was thrown away."""
        with self._lock:
            self._done += number
            self.fetched += max(number, 0)

    @contextmanager
    def working(self, item: Item) -> Iterator[None]:
        """Name an item for as long as it is worked on."""
        with self._lock:
            self._active[str(item.target)] = item
        try:
            yield
        finally:
            with self._lock:
                del self._active[str(item.target)]

    def facts(self, total: int) -> dict[str, Any]:
        """Return sets, files, bytes done and total, MB/s and seconds left, for one line."""
        with self._lock:
            active, done = list(self._active.values()), max(0, self._done)
        now = time.monotonic()
        self._marks = [mark for mark in self._marks if now - mark[0] <= SPAN_S] or self._marks[-1:]
        began, before = self._marks[0]
        rate = max(0.0, (done - before) / max(now - began, 1e-3))
        self._marks.append((now, done))
        return {
            "set": ", ".join(sorted({item.set for item in active})),
            "file": ", ".join(item.remote.path for item in active),
            "bytes": done,
            "total": max(total, done),
            "mb_s": round(rate / 1e6, 2),
            "eta_s": round(max(total - done, 0) / rate) if rate else None,
        }
