"""Progress never falls, failures get names, cancel and deadline are noticed at a tick."""

import errno
import threading
from functools import partial

import pytest

from talkhead import report
from talkhead.errors import Code, TalkheadError
from talkhead.report import Reporter
from talkhead.result import Progress


def test_percent_never_falls_and_ends_at_a_hundred() -> None:
    seen: list[Progress] = []
    reporter = Reporter(seen.append, None, None)
    for name in ("fetch", "probe", "plan", "prepare", "render", "assemble", "check", "store"):
        with reporter.stage(name):  # type: ignore[arg-type]
            reporter.tick(1, 2)
            reporter.tick(2, 2)
    percents = [step.pct for step in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert list(reporter.seconds) == [
        "fetch", "probe", "plan", "prepare", "render", "assemble", "check", "store"
    ]  # fmt: skip


def test_ticks_are_thinned_out_but_the_last_always_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "BEAT", 1e9)
    seen: list[Progress] = []
    reporter = Reporter(seen.append, None, None)
    with reporter.stage("render"):
        for done in range(1, 1001):
            reporter.tick(done, 1000)
    assert [step.done for step in seen] == [0, 1000, 1]


def test_eta_counts_this_runs_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    seen: list[Progress] = []
    reporter = Reporter(seen.append, None, None)
    reporter.plan(100, 10)
    with reporter.stage("render"):
        reporter.resumed(5, 500)
        now[0] = 10
        reporter.tick(600, 1000)
    assert seen[1].eta_s == pytest.approx(40)  # 100 in 10 s, 400 to go
    assert (seen[1].segment, seen[1].segments) == (5, 10)


def test_cancel_stops_at_the_next_tick() -> None:
    cancel = threading.Event()
    reporter = Reporter(lambda _: None, cancel, None)
    with pytest.raises(TalkheadError) as caught, reporter.stage("render"):
        reporter.tick(1, 3)
        cancel.set()
        reporter.tick(2, 3)
    assert (caught.value.code, caught.value.stage) == (Code.CANCELLED, "render")


def test_a_passed_deadline_stops_at_the_next_tick() -> None:
    reporter = Reporter(lambda _: None, None, 1e-9)
    with pytest.raises(TalkheadError) as caught, reporter.stage("prepare"):
        reporter.tick(1, 3)
    assert caught.value.code is Code.TIMEOUT


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (MemoryError(), Code.OOM),
        (OutOfMemoryError("CUDA"), Code.OOM),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), Code.CAPACITY),
        (ZeroDivisionError("oops"), Code.INTERNAL),
    ],
)
def test_unforeseen_failures_get_a_name(failure: Exception, code: Code) -> None:
    reporter = Reporter(lambda _: None, None, None)
    with pytest.raises(TalkheadError) as caught, reporter.stage("render"):
        raise failure
    assert caught.value.code is code
    assert caught.value.stage == "render"
    assert caught.value.__cause__ is failure


def test_named_failures_keep_their_name() -> None:
    reporter = Reporter(lambda _: None, None, None)
    with pytest.raises(TalkheadError, match="mine") as caught, reporter.stage("store"):
        raise TalkheadError(Code.STORE, "mine")
    assert caught.value.stage == "store"


def test_a_long_window_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    reporter, signs = Reporter(lambda _: None, None, None), []
    reporter.keep_alive(lambda: signs.append(now[0]))
    for now[0] in (1.0, 9.0, 11.0, 12.0, 30.0):
        reporter.tick(1, 100)
    assert signs == [11.0, 30.0]


def test_signs_of_life_go_to_every_folder() -> None:
    reporter, signs = Reporter(lambda _: None, None, None), []
    for name in ("scratch", "job"):
        reporter.keep_alive(partial(signs.append, name))
    reporter._renewed -= report.RENEW
    reporter.tick(1, 100)
    assert signs == ["scratch", "job"]


def test_waiting_is_progress_and_can_be_stopped() -> None:
    cancel, seen = threading.Event(), []
    reporter = Reporter(seen.append, cancel, None)
    reporter.wait()
    assert [(step.stage, step.done) for step in seen] == [("prepare", 0)]
    cancel.set()
    with pytest.raises(TalkheadError) as caught:
        reporter.wait()
    assert (caught.value.code, caught.value.stage) == (Code.CANCELLED, "prepare")
