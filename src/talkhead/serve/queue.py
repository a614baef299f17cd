"""The server's durable queue: who comes next, and how each job ended.

It holds order and ends; what is rendered lies in the job folder. Calls are synchronous, may come
from any thread, and count from the moment they return. Times are unix seconds.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, get_args

import sqlalchemy as sa

from talkhead.errors import Code, TalkheadError
from talkhead.serve.queue_database import Database, bodies, jobs, opened

Ended = Literal["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
Status = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]
FINAL: Final[tuple[Ended, ...]] = get_args(Ended)


class ConflictError(TalkheadError):
    """Another job has this id."""


class FullError(TalkheadError):
    """As many jobs wait as may."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One submission: a JSON body of up to 20 MB, and where it belongs."""

    id: str
    body: dict[str, Any]
    lane: str = "render"
    priority: int = 0  # higher first; then first come, first served
    expires: float | None = None  # not begun after that
    facts: dict[str, Any] = field(default_factory=dict)  # small: what history shows


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a job, without its body."""

    id: str
    lane: str
    status: Status
    priority: int
    attempt: int  # from 1; another one follows a failure
    starts: int  # how often it was begun and not given back: past attempts, and kills of servers
    turn: int  # counts up, no two are alike: who came first
    queued: float
    began: float | None
    ended: float | None
    expires: float | None
    output: dict[str, Any] | None
    error: str | None
    facts: dict[str, Any]


_ENTRY = [jobs.c[name] for name in Entry.__dataclass_fields__]
_BY_ID = sa.select(*_ENTRY).where(jobs.c.id == sa.bindparam("key"))
_BODY = sa.select(bodies.c.body).where(bodies.c.id == sa.bindparam("key"))
_WAITS = jobs.c.status == "IN_QUEUE"
_RUNS = jobs.c.status == "IN_PROGRESS"
_HAS_ENDED = jobs.c.status.in_(FINAL)
_COUNTS = sa.select(jobs.c.status, sa.func.count()).group_by(jobs.c.status)
_OWN = jobs.alias()
_AHEAD = (
    sa.select(sa.func.count())
    .select_from(_OWN.join(jobs, _OWN.c.lane == jobs.c.lane))
    .where(_OWN.c.id == sa.bindparam("key"), _OWN.c.status == "IN_QUEUE", _WAITS)
    .where(
        sa.or_(
            jobs.c.priority > _OWN.c.priority,
            sa.and_(jobs.c.priority == _OWN.c.priority, jobs.c.turn < _OWN.c.turn),
        )
    )
)
_LAST_TURN = sa.select(sa.func.coalesce(sa.func.max(jobs.c.turn), 0)).scalar_subquery()


class Queue:
    """Jobs that wait, run or have ended, in a database that one server at a time has."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, url: str, clock: Callable[[], float] = time.time) -> Self:
        """Return the queue at a URL, `sqlite:///FILE` or `postgresql://…`, made where missing."""
        return cls(opened(url), clock)

    def close(self) -> None:
        """Let another server have it."""
        self._database.close()

    def submit(self, ticket: Ticket, room: int) -> Entry:
        """Return the job's entry, a new one or the one that is there.

        ConflictError where another body has the id, FullError where `room` jobs wait already.
        """
        text = _packed(ticket.body)
        digest = hashlib.sha256(text.encode()).hexdigest()
        with self._database.writing() as db:
            known = db.execute(sa.select(jobs.c.digest).where(jobs.c.id == ticket.id)).scalar()
            if known is None:
                if _count(db, _WAITS) >= room:
                    raise FullError(Code.CAPACITY, f"{room} jobs wait already", "ask again later")
                db.execute(sa.insert(jobs).values(**_row(ticket, digest, self._clock())))
                db.execute(sa.insert(bodies).values(id=ticket.id, body=text))
            elif known != digest:
                raise ConflictError(
                    Code.INPUT,
                    f"job {ticket.id} was submitted with another body",
                    "take a new id, or repeat the same body",
                )
            return _entry(db.execute(_BY_ID, {"key": ticket.id}).one())

    def entry(self, key: str) -> Entry | None:
        """Return what is known of a job."""
        with self._database.reading() as db:
            return _entry_of(db, key)

    def body(self, key: str) -> dict[str, Any] | None:
        """Return a job's body as it was submitted."""
        with self._database.reading() as db:
            text = db.execute(_BODY, {"key": key}).scalar()
        return None if text is None else json.loads(text)

    def claim(self, lane: str) -> tuple[Ticket, Entry] | None:
        """Return the job of a lane that comes next, from now on in progress."""
        now = self._clock()
        may_begin = sa.or_(jobs.c.expires.is_(None), jobs.c.expires > now)
        first = (
            sa.select(jobs.c.id)
            .where(_WAITS, jobs.c.lane == lane, jobs.c.ready <= now, may_begin)
            .order_by(jobs.c.priority.desc(), jobs.c.turn)
            .limit(1)
        )
        with self._database.writing() as db:
            key = db.execute(first).scalar()
            if key is None:
                return None
            _set(db, jobs.c.id == key, status="IN_PROGRESS", began=now, starts=jobs.c.starts + 1)
            entry = _entry(db.execute(_BY_ID, {"key": key}).one())
            text = db.execute(_BODY, {"key": key}).scalar_one()
        body = json.loads(text)
        return Ticket(key, body, lane, entry.priority, entry.expires, entry.facts), entry

    def finish(
        self,
        key: str,
        attempt: int,
        status: Ended,
        output: dict[str, Any] | None = None,
        error: str | None = None,
    ) -> bool:
        """End a job that is in progress in that attempt; return whether this was its end."""
        end = {"status": status, "ended": self._clock(), "output": _packed(output)}
        with self._database.writing() as db:
            return bool(_set(db, _in(key, attempt), **end, error=_packed(error)))

    def again(self, key: str, attempt: int, after: float) -> bool:
        """Put a job that failed back in its place as the next attempt, not begun before `after`."""
        back = {"status": "IN_QUEUE", "began": None, "attempt": attempt + 1, "ready": after}
        with self._database.writing() as db:
            return bool(_set(db, _in(key, attempt), **back))

    def give_back(self, key: str, attempt: int) -> bool:
        """Put a job that a stopping server lets go of back in its place, in the same attempt."""
        with self._database.writing() as db:
            back = {"status": "IN_QUEUE", "began": None, "starts": jobs.c.starts - 1}
            return bool(_set(db, _in(key, attempt), **back))

    def give_up(self, kills: int, error: str) -> list[str]:
        """Fail what was in progress at that many kills of a server, the last one counted.

        To be called before `recover`; return the ids.
        """
        killed = jobs.c.starts - jobs.c.attempt + 1 >= kills  # an attempt's other start is its end
        return self._end("FAILED", sa.and_(_RUNS, killed), error=_packed(error))

    def recover(self) -> int:
        """Put what was in progress when a server died back in its place; return how many."""
        with self._database.writing() as db:
            return _set(db, _RUNS, status="IN_QUEUE", began=None)

    def cancel(self, key: str) -> bool:
        """Cancel a job unless it has ended; return whether this was its end."""
        with self._database.writing() as db:
            going_on = sa.and_(jobs.c.id == key, sa.not_(_HAS_ENDED))
            return bool(_set(db, going_on, status="CANCELLED", ended=self._clock()))

    def retry(self, key: str) -> Entry | None:
        """Return a job's entry, queued anew behind all others if it had ended without success."""
        ended_badly = sa.and_(jobs.c.id == key, _HAS_ENDED, jobs.c.status != "COMPLETED")
        with self._database.writing() as db:
            _set(
                db,
                ended_badly,
                **_fresh(self._clock()),
                attempt=jobs.c.attempt + 1,
                starts=jobs.c.attempt,  # kills of servers count from here
                expires=None,
            )
            return _entry_of(db, key)

    def purge(self, lane: str | None = None) -> list[str]:
        """Cancel all that waits, in one lane or in all; return the ids."""
        here = sa.true() if lane is None else jobs.c.lane == lane
        return self._end("CANCELLED", sa.and_(_WAITS, here))

    def expire(self, now: float) -> list[str]:
        """End what waits and was not begun in time; return the ids."""
        return self._end("TIMED_OUT", sa.and_(_WAITS, jobs.c.expires <= now))

    def due(self) -> float | None:
        """Return when a job that waits may begin, or expires, next: until then none has to look."""
        with self._database.reading() as db:
            later = sa.select(sa.func.min(jobs.c.ready)).where(_WAITS, jobs.c.ready > self._clock())
            ready = db.execute(later).scalar()
            expires = db.execute(sa.select(sa.func.min(jobs.c.expires)).where(_WAITS)).scalar()
        return min((when for when in (ready, expires) if when is not None), default=None)

    def forget(self, key: str) -> bool:
        """Delete a job that has ended; return whether there was one."""
        return bool(self._delete(jobs.c.id == key))

    def sweep(self, before: float) -> list[str]:
        """Delete what ended before a time; return the ids."""
        return self._delete(jobs.c.ended < before)

    def listed(
        self, limit: int, before: int | None = None, status: Status | None = None
    ) -> list[Entry]:
        """Return the newest jobs, of those before a turn and of one status where given."""
        query = sa.select(*_ENTRY).order_by(jobs.c.turn.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.turn < before)
        if status is not None:
            query = query.where(jobs.c.status == status)
        with self._database.reading() as db:
            return [_entry(row) for row in db.execute(query)]

    def counts(self) -> dict[Status, int]:
        """Return how many jobs there are of each status."""
        with self._database.reading() as db:
            found = {row[0]: row[1] for row in db.execute(_COUNTS)}
        return {status: found.get(status, 0) for status in get_args(Status)}

    def ahead(self, key: str) -> int:
        """Return how many jobs of its lane wait before this one, 0 for one that does not wait."""
        with self._database.reading() as db:
            return db.execute(_AHEAD, {"key": key}).scalar_one()

    def _end(self, status: Ended, which: sa.ColumnElement[bool], **more: Any) -> list[str]:
        with self._database.writing() as db:
            ids = list(db.execute(sa.select(jobs.c.id).where(which)).scalars())
            if ids:
                _set(db, which, status=status, ended=self._clock(), **more)
        return ids

    def _delete(self, which: sa.ColumnElement[bool]) -> list[str]:
        with self._database.writing() as db:
            ids = list(db.execute(sa.select(jobs.c.id).where(_HAS_ENDED, which)).scalars())
            if ids:
                db.execute(sa.delete(jobs).where(_HAS_ENDED, which))  # and the bodies with them
        if ids:
            self._database.shrink()
        return ids


def _in(key: str, attempt: int) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.id == key, jobs.c.attempt == attempt, _RUNS)


def _set(db: sa.Connection, which: sa.ColumnElement[bool], **values: Any) -> int:
    return db.execute(sa.update(jobs).where(which).values(**values)).rowcount


def _count(db: sa.Connection, *which: sa.ColumnElement[bool]) -> int:
    return db.execute(sa.select(sa.func.count()).select_from(jobs).where(*which)).scalar_one()


def _row(ticket: Ticket, digest: str, now: float) -> dict[str, Any]:
    return {
        **_fresh(now),
        "id": ticket.id,
        "lane": ticket.lane,
        "priority": ticket.priority,
        "attempt": 1,
        "starts": 0,
        "expires": ticket.expires,
        "digest": digest,
        "facts": _packed(ticket.facts),
    }


def _fresh(now: float) -> dict[str, Any]:
    """Return what a job has that has just come in: the last turn, and no past."""
    return {
        "status": "IN_QUEUE",
        "turn": _LAST_TURN + 1,
        "ready": 0.0,
        "queued": now,
        "began": None,
        "ended": None,
        "output": None,
        "error": None,
    }


def _entry_of(db: sa.Connection, key: str) -> Entry | None:
    row = db.execute(_BY_ID, {"key": key}).one_or_none()
    return None if row is None else _entry(row)


def _entry(row: Sequence[Any]) -> Entry:
    fields = dict(zip(Entry.__dataclass_fields__, row, strict=True))
    return Entry(
        **fields | {name: _unpacked(fields[name]) for name in ("output", "error", "facts")}
    )


def _packed(value: Any) -> str:
    # Sorted, so that equal bodies have equal digests; ASCII, so that any database takes any string.
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _unpacked(text: str | None) -> Any:
    return None if text is None else json.loads(text)
