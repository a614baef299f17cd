"""The end of a pull's time: a deadline, or somebody who no longer wants it."""

import threading
import time
from dataclasses import dataclass, field

from talkhead.errors import Code, TalkheadError

SLICE_S = 0.2
RESUME = "pull again: what is there already is kept and continued"


@dataclass(frozen=True)
class Until:
    """How long work may go on: until the deadline, or until one of two events is set."""

    deadline_s: float
    cancel: threading.Event = field(default_factory=threading.Event)  # the caller's
    abandon: threading.Event = field(default_factory=threading.Event)  # another file failed
    began: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        """Return the seconds left, at least 0."""
        return max(0.0, self.began + self.deadline_s - time.monotonic())

    def check(self) -> None:
        """Raise E_CANCELLED or E_TIMEOUT where it is time."""
        if self.cancel.is_set() or self.abandon.is_set():
            raise TalkheadError(Code.CANCELLED, "the pull was stopped", RESUME)
        if self.left_s <= 0:
            raise TalkheadError(
                Code.TIMEOUT, f"the weights were not here within {self.deadline_s:g} s", RESUME
            )

    def sleep(self, seconds: float) -> None:
        """Wait, but not past the end; then check."""
        wake = time.monotonic() + seconds
        self.check()
        while (rest := wake - time.monotonic()) > 0:
            self.cancel.wait(min(rest, self.left_s + 0.01, SLICE_S))
            self.check()
