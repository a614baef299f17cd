"""The durable queue, on SQLite and on a Postgres of the tests' own."""

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.postgres import Cluster, binary, cluster
from talkhead.errors import Code, TalkheadError
from talkhead.serve import queue_database
from talkhead.serve.queue import FINAL, ConflictError, FullError, Queue, Ticket

NUMBERS = itertools.count()


class Clock:
    """Time that tests move."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    if binary("postgres") is None:
        pytest.skip("no Postgres is installed here")
    with cluster() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/queue.db"
    return request.getfixturevalue("postgres").url(f"t{next(NUMBERS)}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opens(url: str, clock: Clock) -> Iterator[Callable[[], Queue]]:
    made: list[Queue] = []

    def opens() -> Queue:
        made.append(Queue.open(url, clock))
        return made[-1]

    yield opens
    for queue in made:
        queue.close()


@pytest.fixture
def queue(opens: Callable[[], Queue]) -> Queue:
    return opens()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_database, "PATIENCE", 0.2)


def submit(queue: Queue, *keys: str, **more: object) -> None:
    for key in keys:
        queue.submit(Ticket(key, {"input": {"prompt": key}}, **more), room=100)  # type: ignore[arg-type]


def claimed(queue: Queue, lane: str = "render") -> str | None:
    found = queue.claim(lane)
    return None if found is None else found[0].id


def status(queue: Queue, key: str) -> str:
    entry = queue.entry(key)
    assert entry is not None
    return entry.status


def test_a_job_goes_from_submission_to_its_end(queue: Queue, clock: Clock) -> None:
    body = {"input": {"text": "\u0000 \ud800 ä", "numbers": [1, 2.5, None]}, "s3Config": {}}
    entry = queue.submit(Ticket("a", body, priority=3, facts={"title": "ä\u0000"}), room=1)
    assert (entry.status, entry.attempt, entry.starts, entry.queued) == ("IN_QUEUE", 1, 0, 1000.0)
    assert (entry.began, entry.ended, entry.output, entry.error) == (None, None, None, None)
    assert queue.body("a") == body
    clock.now = 1002.5
    ticket, entry = queue.claim("render") or pytest.fail("nothing to claim")
    assert ticket == Ticket("a", body, priority=3, facts={"title": "ä\u0000"})
    assert (entry.status, entry.attempt, entry.starts, entry.began) == ("IN_PROGRESS", 1, 1, 1002.5)
    clock.now = 1010.0
    assert queue.finish("a", 1, "COMPLETED", {"result": {"seconds": 1.5}})
    entry = queue.entry("a") or pytest.fail("gone")
    assert (entry.status, entry.ended, entry.queued) == ("COMPLETED", 1010.0, 1000.0)
    assert (entry.output, entry.error) == ({"result": {"seconds": 1.5}}, None)
    assert entry.facts == {"title": "ä\u0000"}


def test_what_is_unknown(queue: Queue) -> None:
    assert queue.entry("x") is queue.body("x") is queue.retry("x") is None
    assert not queue.cancel("x")
    assert queue.claim("render") is None
    assert not queue.finish("x", 1, "FAILED", error="e")
    assert not queue.again("x", 1, 0)
    assert not queue.give_back("x", 1)
    assert not queue.forget("x")
    assert queue.ahead("x") == 0
    assert queue.due() is None


def test_the_same_submission_twice_is_one_job(queue: Queue) -> None:
    queue.submit(Ticket("a", {"input": {"b": 1, "c": 2}}), room=1)
    assert claimed(queue) == "a"
    again = queue.submit(Ticket("a", {"input": {"c": 2, "b": 1}}), room=0)
    assert again.status == "IN_PROGRESS"
    assert queue.claim("render") is None
    with pytest.raises(ConflictError) as caught:
        queue.submit(Ticket("a", {"input": {"b": 1, "c": 3}}), room=1)
    assert (caught.value.code, caught.value.retryable) == (Code.INPUT, False)
    assert queue.body("a") == {"input": {"b": 1, "c": 2}}


def test_no_more_wait_than_there_is_room_for(queue: Queue) -> None:
    queue.submit(Ticket("a", {}), room=2)
    queue.submit(Ticket("b", {}, lane="desk"), room=2)
    with pytest.raises(FullError) as caught:
        queue.submit(Ticket("c", {}), room=2)
    assert (caught.value.code, caught.value.retryable) == (Code.CAPACITY, True)
    assert queue.entry("c") is None
    assert claimed(queue) == "a"
    queue.submit(Ticket("c", {}), room=2)


def test_higher_priorities_first_then_first_come(queue: Queue) -> None:
    for key, priority in (("a", 0), ("b", -100), ("c", 100), ("d", 0), ("e", 100)):
        submit(queue, key, priority=priority)
    assert [queue.ahead(key) for key in "abcde"] == [2, 4, 0, 3, 1]
    assert [claimed(queue) for _ in range(6)] == ["c", "e", "a", "d", "b", None]


def test_lanes_do_not_wait_for_each_other(queue: Queue) -> None:
    submit(queue, "a", "b")
    submit(queue, "c", lane="desk")
    assert queue.ahead("c") == 0
    assert claimed(queue, "desk") == "c"
    assert claimed(queue, "desk") is None
    assert claimed(queue) == "a"
    assert queue.ahead("b") == queue.ahead("a") == 0


def test_the_first_end_counts(queue: Queue) -> None:
    submit(queue, "a", "b")
    assert not queue.finish("a", 1, "COMPLETED", {})  # not begun
    assert claimed(queue) == "a"
    assert not queue.finish("a", 2, "COMPLETED", {})
    assert queue.finish("a", 1, "FAILED", error="first")
    assert not queue.finish("a", 1, "COMPLETED", {})
    assert not queue.cancel("a")
    entry = queue.entry("a") or pytest.fail("gone")
    assert (entry.status, entry.error, entry.output) == ("FAILED", "first", None)


def test_cancel_waiting_and_running(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", "b")
    assert claimed(queue) == "a"
    clock.now = 1007.0
    for key in "ab":
        assert queue.cancel(key)
        entry = queue.entry(key) or pytest.fail("gone")
        assert (entry.status, entry.ended) == ("CANCELLED", 1007.0)
    assert not queue.finish("a", 1, "COMPLETED", {})
    assert not queue.again("a", 1, 0)
    assert not queue.give_back("a", 1)
    assert claimed(queue) is None
    assert status(queue, "a") == "CANCELLED"


def test_a_retryable_failure_keeps_its_place_but_waits(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", "b", "c")
    assert claimed(queue) == "a"
    assert queue.again("a", 1, after=1030.0)
    entry = queue.entry("a") or pytest.fail("gone")
    assert (entry.status, entry.attempt, entry.began) == ("IN_QUEUE", 2, None)
    assert queue.due() == 1030.0
    assert claimed(queue) == "b"
    clock.now = 1030.0
    assert queue.due() is None
    assert not queue.finish("a", 1, "COMPLETED", {})
    found = queue.claim("render") or pytest.fail("nothing to claim")
    assert (found[0].id, found[1].attempt, found[1].starts) == ("a", 2, 2)
    assert not queue.finish("a", 1, "COMPLETED", {})  # the first attempt's late answer
    assert queue.finish("a", 2, "COMPLETED", {})


def test_what_is_given_back_keeps_its_place(queue: Queue) -> None:
    submit(queue, "a", "b")
    assert claimed(queue) == "a"
    submit(queue, "c", priority=1)
    assert queue.give_back("a", 1)
    assert not queue.give_back("a", 1)
    assert [claimed(queue) for _ in range(3)] == ["c", "a", "b"]
    entry = queue.entry("a") or pytest.fail("gone")
    assert (entry.attempt, entry.starts) == (1, 1)


def test_retry_of_what_did_not_succeed(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", "b", expires=1100.0)
    assert claimed(queue) == "a"
    entry = queue.retry("a") or pytest.fail("gone")
    assert entry.status == "IN_PROGRESS"
    queue.finish("a", 1, "FAILED", {"partial": 1}, "why")
    clock.now = 1200.0
    entry = queue.retry("a") or pytest.fail("gone")
    assert (entry.status, entry.attempt, entry.queued) == ("IN_QUEUE", 2, 1200.0)
    assert (entry.output, entry.error, entry.began, entry.ended) == (None, None, None, None)
    assert queue.expire(clock.now) == ["b"]
    submit(queue, "c")
    assert claimed(queue) == "a"
    queue.finish("a", 2, "COMPLETED", {})
    entry = queue.retry("a") or pytest.fail("gone")
    assert entry.status == "COMPLETED"
    queue.retry("b")  # behind what waits
    assert [claimed(queue), claimed(queue)] == ["c", "b"]


def test_nothing_is_begun_after_it_expired(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", "b", expires=1010.0)
    submit(queue, "c", expires=1020.0)
    assert claimed(queue) == "a"
    assert queue.due() == 1010.0
    clock.now = 1010.0
    assert claimed(queue) == "c"  # though nobody called expire
    assert queue.expire(1010.0) == ["b"]
    assert queue.expire(1010.0) == []
    entry = queue.entry("b") or pytest.fail("gone")
    assert (entry.status, entry.ended) == ("TIMED_OUT", 1010.0)
    assert queue.finish("a", 1, "COMPLETED", {})  # begun in time


def test_purge_ends_what_waits(queue: Queue) -> None:
    submit(queue, "a", "b", "c")
    submit(queue, "d", lane="desk")
    assert claimed(queue) == "a"
    assert sorted(queue.purge("render")) == ["b", "c"]
    assert queue.purge() == ["d"]
    assert queue.purge() == []
    assert queue.counts() == dict.fromkeys(FINAL, 0) | {
        "IN_QUEUE": 0,
        "IN_PROGRESS": 1,
        "CANCELLED": 3,
    }


def test_forget_and_sweep_delete_what_has_ended(queue: Queue, clock: Clock) -> None:
    submit(queue, "a", "b", "c", "d")
    for key in "abc":
        assert claimed(queue) == key
    assert not queue.forget("a")
    assert not queue.forget("d")
    queue.finish("a", 1, "COMPLETED", {})
    clock.now = 1100.0
    queue.finish("b", 1, "FAILED", error="e")
    assert queue.forget("a")
    assert queue.entry("a") is queue.body("a") is None
    assert queue.sweep(1100.0) == []
    assert queue.sweep(1100.1) == ["b"]
    assert [entry.id for entry in queue.listed(9)] == ["d", "c"]
    submit(queue, "a")  # a new job may have the id


def test_history_is_listed_newest_first(queue: Queue) -> None:
    for key in "abcd":
        submit(queue, key)  # all of the same time, as a program sends them
    queue.cancel("b")
    page = queue.listed(2)
    assert [entry.id for entry in page] == ["d", "c"]
    assert [entry.id for entry in queue.listed(9, before=page[-1].turn)] == ["b", "a"]
    assert [entry.id for entry in queue.listed(9, status="IN_QUEUE")] == ["d", "c", "a"]
    assert [entry.id for entry in queue.listed(9, before=page[-1].turn, status="CANCELLED")] == [
        "b"
    ]
    queue.retry("b")  # queued anew
    assert [entry.id for entry in queue.listed(9)] == ["b", "d", "c", "a"]


def test_a_server_goes_on_where_another_died(opens: Callable[[], Queue]) -> None:
    first = opens()
    submit(first, "a", "b", "c")
    assert claimed(first) == "a"
    assert claimed(first) == "b"
    first.finish("b", 1, "COMPLETED", {"answer": 1})
    first.close()
    second = opens()
    assert status(second, "a") == "IN_PROGRESS"
    assert second.recover() == 1
    assert second.recover() == 0
    submit(second, "d")
    assert [claimed(second) for _ in range(4)] == ["a", "c", "d", None]
    entry = second.entry("a") or pytest.fail("gone")
    assert (entry.attempt, entry.starts) == (1, 2)
    entry = second.entry("b") or pytest.fail("gone")
    assert entry.output == {"answer": 1}


def test_a_job_that_ran_at_every_kill_is_given_up(opens: Callable[[], Queue]) -> None:
    queue = opens()
    submit(queue, "a", "b")

    def killed(*given_up: str) -> None:
        nonlocal queue
        queue.close()
        queue = opens()
        assert queue.give_up(3, "it kills") == list(given_up)
        queue.recover()

    for _ in range(4):  # a server that is told to end is not killed
        assert claimed(queue) == "a"
        queue.give_back("a", 1)
    assert claimed(queue) == "a"
    killed()
    assert claimed(queue) == "a"
    queue.again("a", 1, 0.0)  # nor is an attempt that failed
    assert claimed(queue) == "a"
    killed()
    assert [claimed(queue), claimed(queue)] == ["a", "b"]
    killed("a")
    entry = queue.entry("a") or pytest.fail("gone")
    assert (entry.status, entry.error) == ("FAILED", "it kills")
    assert status(queue, "b") == "IN_QUEUE"
    queue.retry("a")
    assert [claimed(queue), claimed(queue)] == ["b", "a"]
    killed()  # counted anew for the one that is retried
    assert status(queue, "a") == "IN_QUEUE"


def test_one_server_at_a_time(opens: Callable[[], Queue], impatient: None) -> None:
    first = opens()
    with pytest.raises(TalkheadError, match="another server uses the queue") as caught:
        opens()
    assert (caught.value.code, caught.value.retryable) == (Code.CAPACITY, True)
    submit(first, "a")
    first.close()
    assert claimed(opens()) == "a"


def test_a_newer_talkheads_queue_is_refused(url: str, opens: Callable[[], Queue]) -> None:
    opens().close()
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as db:
        db.execute(sa.update(queue_database.schema).values(version=2))
    engine.dispose()
    with pytest.raises(TalkheadError, match="written by a newer talkhead") as caught:
        opens()
    assert (caught.value.code, caught.value.hint.split()[0]) == (Code.UNSUPPORTED, "install")


def test_many_threads_lose_and_repeat_nothing(queue: Queue) -> None:
    begun: list[str] = []
    finished: list[str] = []

    def work(number: int) -> None:
        for step in range(8):
            submit(queue, f"{number}-{step}")
            found = queue.claim("render")
            assert found is not None  # each has put in as many as it takes out
            begun.append(found[0].id)
            assert queue.entry(found[0].id) is not None
            if queue.finish(found[0].id, 1, "COMPLETED", {}):
                finished.append(found[0].id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(f"{number}-{step}" for number in range(6) for step in range(8))
    assert sorted(begun) == sorted(finished) == expected
    assert queue.counts()["COMPLETED"] == 48


VICTIM = """
import itertools, sys
from talkhead.serve.queue import Queue, Ticket
queue = Queue.open(sys.argv[1])
for number in itertools.count():
    queue.submit(Ticket(str(number), {"input": "x" * 1000}), room=10**6)
    print("submitted", number, flush=True)
    if number % 2:
        ticket, entry = queue.claim("render")
        queue.finish(ticket.id, 1, "COMPLETED", {"of": ticket.id})
        print("finished", ticket.id, flush=True)
"""


@pytest.mark.parametrize("after", [7, 60])
def test_what_was_acknowledged_survives_a_kill(
    url: str, opens: Callable[[], Queue], after: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", VICTIM, url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        said = [lines.readline().split() for _ in range(after)]
        os.kill(process.pid, signal.SIGKILL)
        said += [line.split() for line in lines]
    process.wait()
    queue = opens()  # the lock died with its owner
    assert queue.recover() <= 1
    for what, key in said:
        entry = queue.entry(key) or pytest.fail(f"{key} is lost")
        assert queue.body(key) == {"input": "x" * 1000}
        if what == "finished":
            assert (entry.status, entry.output) == ("COMPLETED", {"of": key})
    numbers = [key for what, key in said if what == "submitted"]
    # the first that is begun is the first that has not ended
    ended = queue.counts()["COMPLETED"]
    assert claimed(queue) == (str(ended) if ended <= int(numbers[-1]) else None)


@pytest.mark.parametrize(
    "bad", ["", "sqlite://", "sqlite:///:memory:", "mysql://user:secret@host/db", "not a url"]
)
def test_urls_of_another_kind_are_refused(bad: str) -> None:
    with pytest.raises(TalkheadError, match="queue's URL") as caught:
        Queue.open(bad)
    assert caught.value.code == Code.INPUT
    assert "secret" not in str(caught.value.to_dict())


def test_postgres_without_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(TalkheadError, match="needs psycopg") as caught:
        Queue.open("postgres://me:secret@127.0.0.1:9/db")
    assert (caught.value.code, "postgres" in caught.value.hint) == (Code.UNSUPPORTED, True)


def test_a_postgres_that_is_not_there() -> None:
    with pytest.raises(TalkheadError, match="does not answer") as caught:
        Queue.open("postgresql://me:secret@127.0.0.1:9/db")
    assert (caught.value.code, caught.value.retryable) == (Code.CAPACITY, True)
    assert "secret" not in str(caught.value.to_dict())


def test_only_the_owner_reads_a_queue_file(tmp_path: Path) -> None:
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db")
    submit(queue, "a")
    files = [file for file in tmp_path.iterdir() if not file.name.endswith(".lock")]
    assert len(files) == 3  # with its log and index
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    queue.close()


def test_a_file_under_two_names_is_one_queue(tmp_path: Path, impatient: None) -> None:
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db")
    (tmp_path / "other.db").symlink_to("queue.db")
    with pytest.raises(TalkheadError, match="another server"):
        Queue.open(f"sqlite:///{tmp_path}/other.db")
    queue.close()


def test_a_file_that_is_no_database(tmp_path: Path, impatient: None) -> None:
    file = tmp_path / "queue.db"
    file.write_text("something else entirely " * 100)
    for _ in range(2):  # and the lock is let go
        with pytest.raises(TalkheadError, match="not a database") as caught:
            Queue.open(f"sqlite:///{file}")
        assert caught.value.code == Code.CAPACITY
    assert file.read_text() == "something else entirely " * 100


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TalkheadError, match="cannot be used") as caught:
        Queue.open(f"sqlite:///{tmp_path}/file/queue.db")
    assert caught.value.code == Code.CAPACITY


def test_a_file_that_another_program_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_database, "BUSY_MS", 50)
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db")
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TalkheadError, match="does not answer: database is locked") as caught:
        submit(queue, "a")
    assert (caught.value.code, caught.value.retryable) == (Code.CAPACITY, True)
    assert queue.entry("a") is None  # reading goes on
    other.close()
    submit(queue, "a")
    queue.close()


def test_sqlite_keeps_what_a_power_cut_would_take(tmp_path: Path) -> None:
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db")
    with queue._database.writing() as db:
        wanted = {"synchronous": 2, "journal_mode": "wal", "auto_vacuum": 2, "foreign_keys": 1}
        found = {name: db.exec_driver_sql(f"PRAGMA {name}").scalar() for name in wanted}
    queue.close()
    assert found == wanted


def test_sqlite_gives_disk_back(tmp_path: Path) -> None:
    queue = Queue.open(f"sqlite:///{tmp_path}/queue.db")
    for key in "abc":
        queue.submit(Ticket(key, {"input": "x" * 1_000_000}), room=9)
        queue.cancel(key)
    assert sorted(queue.sweep(9e9)) == ["a", "b", "c"]
    queue.close()
    assert (tmp_path / "queue.db").stat().st_size < 200_000


def test_nothing_is_pickled(queue: Queue) -> None:
    with pytest.raises(TypeError):
        queue.submit(Ticket("a", {"input": object()}), room=9)
    submit(queue, "b")
    with queue._database.reading() as db:
        row = db.execute(sa.text("SELECT * FROM talkhead_bodies")).one()
    assert json.loads(row.body) == {"input": {"prompt": "b"}}


def test_a_restarted_postgres(postgres: Cluster, impatient: None) -> None:
    url = postgres.url(f"t{next(NUMBERS)}")
    queue = Queue.open(url)
    submit(queue, "a")
    postgres.stop()
    try:
        for call in (lambda: queue.entry("a"), lambda: submit(queue, "b")):
            with pytest.raises(TalkheadError, match="does not answer") as caught:
                call()
            assert caught.value.code == Code.CAPACITY
    finally:
        postgres.start()
    assert status(queue, "a") == "IN_QUEUE"
    submit(queue, "b")
    with pytest.raises(TalkheadError, match="another server"):  # it has its lock again
        Queue.open(url)
    queue.close()


def test_who_lost_postgres_cannot_write(postgres: Cluster, impatient: None) -> None:
    url = postgres.url(f"t{next(NUMBERS)}")
    first = Queue.open(url)
    submit(first, "a")
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
    )
    second = Queue.open(url)
    assert claimed(second) == "a"
    for change in (lambda: first.finish("a", 1, "FAILED"), lambda: first.claim("render")):
        with pytest.raises(TalkheadError, match="another server uses the queue"):
            change()
    assert status(second, "a") == "IN_PROGRESS"
    first.close()
    second.close()
