"""One worker at a time in a folder: a lock on this host, a lease for others."""

import os
import threading
import time
from pathlib import Path

import pytest

from talkhead import jobs, lease
from talkhead.errors import Code, TalkheadError


def leased(folder: Path, age: float = 0) -> Path:
    """Return what a live job of another host looks like, on a volume without a common flock."""
    folder.mkdir(parents=True)
    (folder / "lock").write_text("another-host")
    (folder / "data.bin").write_bytes(b"x" * 100)
    then = time.time() - age
    os.utime(folder / "lock", (then, then))
    return folder


def test_a_clean_up_leaves_what_another_host_works_on(tmp_path: Path) -> None:
    scratch, job = leased(tmp_path / ".scratch-abc"), leased(tmp_path / "job")
    assert [kept.state for kept in jobs.kept(tmp_path)] == ["running"]
    assert jobs.clean(tmp_path, 0, 0) == []
    assert (scratch / "data.bin").exists()
    assert (job / "data.bin").exists()


def test_a_lease_that_ran_out_protects_nothing(tmp_path: Path) -> None:
    scratch = leased(tmp_path / ".scratch-abc", age=lease.LEASE_SECONDS + 1)
    leased(tmp_path / "job", age=lease.LEASE_SECONDS + 1)
    assert [kept.id for kept in jobs.clean(tmp_path, 0, 0)] == ["job"]
    assert not scratch.exists()


def test_a_command_line_is_answered_at_once(tmp_path: Path) -> None:
    leased(tmp_path / "job")
    began = time.monotonic()
    with pytest.raises(TalkheadError, match="another-host") as caught, lease.lock(tmp_path / "job"):
        pass
    assert caught.value.code is Code.CAPACITY
    assert time.monotonic() - began < 10 * lease.PATIENCE


def test_a_dead_hosts_lease_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leased(tmp_path / "job")
    looks: list[None] = []

    def runs_out() -> None:
        looks.append(None)
        if len(looks) == 2:
            os.utime(folder / "lock", (1, 1))

    monkeypatch.setattr(lease, "PAUSE", 0)
    with lease.lock(folder, runs_out) as waited:
        assert waited
        assert not lease.remove(folder)
    with lease.lock(folder, runs_out) as waited:
        assert not waited
    assert len(looks) == 2


def test_a_lock_of_this_host_is_waited_for(tmp_path: Path) -> None:
    asked = threading.Event()
    with lease.lock(tmp_path / "job"):
        got: list[bool] = []

        def second() -> None:
            with lease.lock(tmp_path / "job", asked.set) as waited:
                got.append(waited)

        thread = threading.Thread(target=second)
        thread.start()
        assert asked.wait(10)
    thread.join(10)
    assert got == [True]


def test_waiting_ends_with_the_lease_or_when_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise TalkheadError(Code.CANCELLED, "stop")

    folder = leased(tmp_path / "job")
    with pytest.raises(TalkheadError) as caught, lease.lock(folder, stop):
        pass
    assert caught.value.code is Code.CANCELLED
    monkeypatch.setattr(lease, "GRACE", 0.1 - lease.LEASE_SECONDS)
    with pytest.raises(TalkheadError) as caught, lease.lock(folder, lambda: lease.renew(folder)):
        pass
    assert caught.value.code is Code.CAPACITY
