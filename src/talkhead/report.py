"""Progress of one job: stages timed, ticks turned into percent and seconds left, stops noticed."""

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from talkhead.errors import Code, TalkheadError
from talkhead.result import SPANS, Progress, Stage

Report = Callable[[Progress], None]
BEAT = 0.1  # seconds between two reports of one stage
RENEW = 10.0  # seconds between two signs of life for other hosts


class Reporter:
    """One per job. `tick` may be called from any thread; reports come one at a time."""

    def __init__(self, report: Report, cancel: threading.Event | None, deadline_s: float | None):
        self.seconds: dict[str, float] = {}  # of work, by stage
        self._report = report
        self._cancel = cancel
        self._deadline_s = deadline_s
        self._began = time.monotonic()
        self._until = None if deadline_s is None else self._began + deadline_s
        self._lock = threading.Lock()
        self._stage: Stage = "fetch"
        self._stage_began = self._began
        self._last = 0.0
        self._pct = 0.0
        self._planned: float | None = None
        self._late: str | None = None
        self._segments = (0, 0)
        self._stream: tuple[str | None, float] = (None, 0.0)
        self._reused = 0  # ticks of this stage that an earlier run had done
        self._renew: list[Callable[[], None]] = []
        self._renewed = self._began

    @property
    def passed_s(self) -> float:
        """Return the seconds since the run began."""
        return time.monotonic() - self._began

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time a stage, report its ends, and give every failure inside it a name."""
        self._stage, self._stage_began = name, time.monotonic()
        self._emit(0, 1)
        with naming(name):
            yield
        self.seconds[name] = round(time.monotonic() - self._stage_began, 3)
        self._emit(1, 1)

    def plan(self, seconds: float, segments: int) -> None:
        """Take over the plan's estimate of work and its number of segments."""
        self._planned = seconds
        self._segments = (0, segments)

    def late(self, message: str) -> None:
        """Tell with all progress from now on that the estimate passes the deadline."""
        self._late = message

    def resumed(self, segments: int, ticks: int) -> None:
        """Note what an earlier run had done, so that the rate is that of this run alone."""
        self._segments = (segments, self._segments[1])
        self._reused = ticks

    def keep_alive(self, renew: Callable[[], None]) -> None:
        """Call renew too every few seconds of work, however long one window takes."""
        self._renew.append(renew)

    def part(self, seen: Callable[[Progress], Progress]) -> "Reporter":
        """Return the reporter of a job inside this one, which the same things stop.

        It has stages and seconds of its own. `seen` makes its progress that of the whole.
        """
        part = Reporter(lambda progress: self._pass(seen(progress)), self._cancel, self._deadline_s)
        part._until, part._renew = self._until, [*self._renew]
        return part

    def wait(self) -> None:
        """Tell that the job waits to be prepared; stop it as `tick` does."""
        self._stage = "prepare"
        with naming("prepare"):
            self.tick(0, 1)

    def committed(self, segments: int) -> None:
        """Note how many segments are safe."""
        self._segments = (segments, self._segments[1])

    def streaming(self, url: str, seconds: float) -> None:
        """Note where the video can be watched already, and how much of it."""
        self._stream = (url, round(seconds, 3))

    def tick(self, done: int, total: int) -> None:
        """Report done of total of this stage; raise E_CANCELLED or E_TIMEOUT where it is time."""
        if self._cancel is not None and self._cancel.is_set():
            raise TalkheadError(Code.CANCELLED, "the job was cancelled", "it can be resumed")
        if self._until is not None and time.monotonic() > self._until:
            raise TalkheadError(
                Code.TIMEOUT,
                f"the deadline of {self._deadline_s:g} s has passed",
                "resume the job with a later deadline",
            )
        if time.monotonic() - self._renewed >= RENEW:
            self._renewed = time.monotonic()
            for renew in self._renew:
                renew()
        if done >= total or time.monotonic() - self._last >= BEAT:
            self._emit(done, total)

    def _emit(self, done: int, total: int) -> None:
        with self._lock:
            low, high = SPANS[self._stage]
            share = min(done / total, 1.0) if total else 1.0
            self._pct = max(self._pct, 100 * (low + (high - low) * share))
            self._last = time.monotonic()
            self._report(
                Progress(
                    stage=self._stage,
                    done=done,
                    total=total,
                    pct=round(self._pct, 1),
                    segment=self._segments[0],
                    segments=self._segments[1],
                    eta_s=self._eta(done, total),
                    late=self._late,
                    stream_url=self._stream[0],
                    stream_s=self._stream[1],
                )
            )

    def _pass(self, progress: Progress) -> None:
        with self._lock:
            self._pct = max(self._pct, progress.pct)
            self._report(replace(progress, pct=round(self._pct, 1), late=self._late))

    def _eta(self, done: int, total: int) -> float | None:
        if self._planned is None:
            return None
        fresh = done - self._reused
        if self._stage == "render" and fresh > 0:
            rate = (time.monotonic() - self._stage_began) / fresh
            return round(rate * (total - done), 1)
        if self._stage in ("assemble", "check", "store"):
            return 0.0
        return round(max(self._planned - self.passed_s, 0.0), 1)


@contextmanager
def naming(stage: str | None) -> Iterator[None]:
    """Give every failure inside a name, and the stage where it has none yet."""
    try:
        yield
    except TalkheadError as error:
        error.stage = error.stage or stage
        raise
    except Exception as error:  # the one place that names what nobody foresaw
        raise named(error, stage) from error


def named(error: Exception, stage: str | None) -> TalkheadError:
    """Return the error that stands for an unforeseen exception."""
    # torch's out-of-memory error is a RuntimeError, so its class is known by name alone
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return TalkheadError(Code.OOM, "out of memory", "ask for a smaller size", stage=stage)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return TalkheadError(
            Code.CAPACITY,
            f"the disk is full{where}",
            "free some space, or set TALKHEAD_JOBS to another disk; the job then continues",
            stage=stage,
        )
    return TalkheadError(
        Code.INTERNAL,
        f"unexpected {type(error).__name__}: {error}",
        "please report this; the log, or --verbose, shows the traceback",
        stage=stage,
    )
