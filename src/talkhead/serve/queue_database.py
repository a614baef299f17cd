"""Where the queue lies: its tables, who may open them, and how they are read and written.

One code for SQLite and Postgres. One server at a time has a queue: it holds a lock beside the
SQLite file, or a lock of the very connection that it writes by.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from talkhead.errors import Code, TalkheadError

VERSION = 1  # of the tables; a change of them raises it, and brings older ones up to it
PATIENCE = 5.0  # seconds to wait for a server that has just been stopped
PAUSE = 0.1  # seconds between two looks
BUSY_MS = 10_000  # somebody's backup may hold the file this long
# As many as asyncio.to_thread has threads; there is nothing to roll back after a single read.
READING: dict[str, Any] = {
    "pool_size": 32,
    "isolation_level": "AUTOCOMMIT",
    "pool_reset_on_return": None,
    "skip_autocommit_rollback": True,
}
# One, so that changes come one after the other.
WRITING: dict[str, Any] = {"pool_size": 1, "max_overflow": 0}
# first half of Postgres's advisory lock; the second is the schema that the tables lie in
LOCK = int.from_bytes(b"talk")

tables = sa.MetaData()
# Text for JSON, not a database's own type: Postgres's jsonb refuses \u0000, which callers may send.
jobs = sa.Table(
    "talkhead_jobs",
    tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("turn", sa.BigInteger, nullable=False),  # counts up: who came first
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("starts", sa.Integer, nullable=False),
    sa.Column("ready", sa.Double, nullable=False),  # not begun before, unix seconds
    sa.Column("expires", sa.Double),  # not begun after
    sa.Column("queued", sa.Double, nullable=False),
    sa.Column("began", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("digest", sa.Text, nullable=False),  # of the body
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("output", sa.Text),
    sa.Index("talkhead_jobs_next", "status", "lane", sa.text("priority DESC"), "turn"),
    sa.Index("talkhead_jobs_turn", "turn"),
    sa.Index("talkhead_jobs_queued", "queued"),
)
# Megabytes each, so they lie where no status poll reads.
bodies = sa.Table(
    "talkhead_bodies",
    tables,
    sa.Column("id", sa.ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
)
schema = sa.Table("talkhead_queue", tables, sa.Column("version", sa.Integer, nullable=False))


@dataclass(frozen=True, slots=True)
class Database:
    """An opened queue's connections: many to read by, one to write by."""

    reader: sa.Engine
    writer: sa.Engine
    held: BinaryIO | None  # the lock file, for SQLite

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Yield a connection for one read; a database that does not answer is E_CAPACITY."""
        with _answered(), self.reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Yield a connection whose changes all count once the block ends, or none of them."""
        with _answered(), self.writer.begin() as connection:
            if self.held is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # by itself sqlite3 would begin late
            yield connection

    def shrink(self) -> None:
        """Give a SQLite file's free pages back to the disk."""
        if self.held is not None:
            with _answered(), self.writer.connect() as connection:
                # a step for each page; of a plain `execute` sqlite3 takes the first alone
                connection.connection.cursor().executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Let the next server have the queue."""
        self.reader.dispose()
        self.writer.dispose()
        if self.held is not None:
            self.held.close()


def opened(url: str) -> Database:
    """Return a queue's database, its tables made where missing.

    E_INPUT_VALIDATION for a URL of another kind, E_CAPACITY where another server has the queue or
    the database does not answer, E_UNSUPPORTED where a newer talkhead wrote it.
    """
    parsed = _parsed(url)
    is_file = parsed.get_backend_name() == "sqlite"
    reader, writer = _engines(parsed)  # they connect later
    held = _hold_file(Path(str(parsed.database)).resolve()) if is_file else None
    database = Database(reader, writer, held)
    try:
        _prepare(database, parsed.render_as_string(hide_password=True))
    except BaseException:
        database.close()
        raise
    return database


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:  # its message has the URL, and that its password
        parsed = sa.make_url("none://")
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise TalkheadError(
        Code.INPUT,
        "the queue's URL is neither sqlite:///FILE nor postgresql://USER:PASSWORD@HOST/DATABASE",
        "correct it, or leave it out: then the queue is a SQLite file",
    )


def _engines(url: sa.URL) -> tuple[sa.Engine, sa.Engine]:
    if url.get_backend_name() == "sqlite":
        reader = sa.create_engine(url, **READING)
        writer = sa.create_engine(url, **WRITING)
        sa.event.listen(reader, "connect", _set_up)
        sa.event.listen(writer, "connect", _set_up)
        sa.event.listen(writer, "connect", _set_up_file)
        return reader, writer
    # A server whose machine is gone is noticed within a minute, so that the next one gets the lock.
    alive = "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
    settings: dict[str, Any] = {
        "pool_pre_ping": True,  # a restarted Postgres costs nobody an error
        "connect_args": {
            "options": f"{url.query.get('options', '')} {alive}".strip(),
            "connect_timeout": url.query.get("connect_timeout", "10"),
            "tcp_user_timeout": url.query.get("tcp_user_timeout", "15000"),  # ms without an answer
        },
    }
    try:
        reader = sa.create_engine(url, **READING, **settings)
        writer = sa.create_engine(url, **WRITING, **settings)
    except ImportError as error:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"a queue on Postgres needs {error.name}",
            "pip install 'talkhead[postgres]'",
        ) from error
    sa.event.listen(writer, "connect", _hold_connection)
    return reader, writer


def _set_up(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `writing` says, not before
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA foreign_keys = ON")


def _set_up_file(connection: Any, _record: object) -> None:
    """Set up the connection that writes: what was acknowledged survives a power cut."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts before a new file's first table
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait
    connection.execute("PRAGMA synchronous = FULL")  # NORMAL survives a kill alone
    connection.execute("PRAGMA journal_size_limit = 67108864")


def _hold_file(file: Path) -> BinaryIO:
    """Return a queue file's lock, which the kernel frees when this process ends."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # bodies may hold credentials; SQLite's files beside it follow it
        lock = Path(f"{file}.lock").open("ab")  # noqa: SIM115 (held as long as the queue)
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY,
            f"the queue {file} cannot be used: {error.strerror}",
            "its folder must be one that can be written",
        ) from error

    def taken() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    if not _patiently(taken):
        lock.close()
        raise _in_use(str(file))
    return lock


def _hold_connection(connection: Any, _record: object) -> None:
    """Take the queue for the connection that writes: who has lost it cannot write any more."""

    def taken() -> bool:
        row = connection.execute(
            "SELECT pg_try_advisory_lock(%s, hashtext(current_schema()))", (LOCK,)
        ).fetchone()
        connection.commit()
        return bool(row[0])

    if not _patiently(taken):
        where = f"in {connection.info.dbname} on {connection.info.host}"
        connection.close()
        raise _in_use(where)


def _patiently(taken: Callable[[], bool]) -> bool:
    until = time.monotonic() + PATIENCE
    while not taken():
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE)
    return True


def _in_use(where: str) -> TalkheadError:
    return TalkheadError(
        Code.CAPACITY,
        f"another server uses the queue {where}",
        "stop it, or give this one a queue of its own",
    )


def _prepare(database: Database, where: str) -> None:
    try:
        with database.writing() as connection:
            if sa.inspect(connection).has_table(schema.name):
                _check(connection.execute(sa.select(schema.c.version)).scalar_one(), where)
                return
            tables.create_all(connection)
            connection.execute(sa.insert(schema).values(version=VERSION))
    except DBAPIError as error:  # not a database, or one that may not be changed
        raise TalkheadError(
            Code.CAPACITY,
            f"the queue {where} cannot be used: {error.orig}",
            "see that it is a database of its own, and that it may be written",
        ) from error


def _check(found: int, where: str) -> None:
    if found > VERSION:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"the queue {where} was written by a newer talkhead (tables {found}, here {VERSION})",
            "install that version again, or give this one a queue of its own",
        )


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise TalkheadError(
            Code.CAPACITY,
            f"the queue's database does not answer: {reason}",
            "see that it runs, and that its disk has room",
        ) from error
