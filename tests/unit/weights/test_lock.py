"""One process pulls into a folder, on one host or on several that share a volume."""

import os
import threading
import time
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.weights import lock
from talkhead.weights.stopping import Until


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LOOK_S", 0.01)


def silent(_event: str, **_details: object) -> None:
    pass


def test_a_second_one_waits_with_lines_and_goes_on(tmp_path: Path) -> None:
    said: list[dict[str, object]] = []
    twice = threading.Event()

    def say(event: str, **details: object) -> None:
        assert event == "weights.wait"
        said.append(details)
        if len(said) == 2:
            twice.set()

    entered = threading.Event()

    def second() -> None:
        with lock.held(tmp_path, Until(20), say, 0.02):
            entered.set()

    with lock.held(tmp_path, Until(20), silent, 60):
        waiter = threading.Thread(target=second)
        waiter.start()
        assert twice.wait(10)
        assert not entered.is_set()
    waiter.join(10)
    assert entered.is_set()
    assert said[0]["folder"] == str(tmp_path)
    assert said[0]["owner"]


def test_a_wait_ends_at_the_deadline(tmp_path: Path) -> None:
    with (
        lock.held(tmp_path, Until(20), silent, 60),
        pytest.raises(TalkheadError) as caught,
        lock.held(tmp_path, Until(0.05), silent, 60),
    ):
        raise AssertionError("two at once")
    assert caught.value.code is Code.TIMEOUT


def test_another_hosts_fresh_name_is_respected_and_a_stale_one_is_not(tmp_path: Path) -> None:
    """A network volume may grant flock to every host: then the lease alone keeps them apart."""
    file = tmp_path / lock.LOCK
    file.write_text("another-host")
    said: list[object] = []
    with (
        pytest.raises(TalkheadError),
        lock.held(tmp_path, Until(0.05), lambda _event, **told: said.append(told["owner"]), 60),
    ):
        raise AssertionError("two at once")
    assert said == ["another-host"]
    assert file.read_text() == "another-host"
    old = time.time() - lock.LEASE_S - 1
    os.utime(file, (old, old))
    with lock.held(tmp_path, Until(1), silent, 60):
        assert file.read_text() not in ("", "another-host")
    assert file.read_text() == ""


def test_the_lease_is_renewed_while_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "RENEW_S", 0.01)
    with lock.held(tmp_path, Until(20), silent, 60):
        os.utime(tmp_path / lock.LOCK, (1, 1))
        give_up = time.monotonic() + 10
        while (tmp_path / lock.LOCK).stat().st_mtime < 2:
            assert time.monotonic() < give_up
