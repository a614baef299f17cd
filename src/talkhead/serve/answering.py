"""A payload becomes an order for the host, and what comes of it an answer for the caller.

Shared by all who serve others: the shape and the size of answers are theirs, the wire is not.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from talkhead import aliases, registry
from talkhead.aliases import Reading
from talkhead.errors import Code, TalkheadError, rebuilt
from talkhead.report import naming
from talkhead.request import Job
from talkhead.result import Error, Made, Progress, Result
from talkhead.serve import logs
from talkhead.serve.shortening import cut, fitted, lean, size, wires
from talkhead.serve.worker import Order
from talkhead.settings import Settings
from talkhead.validation import parse

SMALL = 64 * 1024  # bytes of an answer without files in it
EACH = 4 * 1024  # bytes more for each item of a batch: signed links to two files, and an error
LARGE = 9_900_000  # bytes of one with files: the platform takes 10 MB, some of it its own
MESSAGE, HINT, FIELD = 2000, 500, 200  # characters in an error
FIELDS = 20  # that an error names
KEY = re.compile(r"[A-Za-z0-9][\w.\-]{0,127}", re.ASCII)

Body = dict[str, Any]
Told = Callable[[Progress], None]


class Runs(Protocol):
    """What a host does for us."""

    async def run(self, order: Order, progress: Told) -> Result:
        """Do an order or raise TalkheadError."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A job as it arrived: the platform's id, the payload, the caller's own store if any.

    `deadline_s` is the platform's, for payloads that bring none.
    """

    id: str
    payload: object
    store: object = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: a body, and where it failed the error and its text."""

    body: Body
    error: TalkheadError | None = None

    @property
    def text(self) -> str:
        """Return the error as a JSON string, or nothing."""
        return "" if self.error is None else error_text(self.error)


async def answer(asked: Asked, host: Runs, settings: Settings, progress: Told) -> Answer:
    """Do what was asked and answer in the shape of the caller's family. Raises nothing."""
    began, reading = time.monotonic(), aliases.glance(asked.payload)
    logs.event("job.taken", job_id=asked.id)
    try:
        with naming(None):
            # a large payload takes its time
            defaults = settings.older.model_dump(exclude_none=True)
            reading = await asyncio.to_thread(
                aliases.read, asked.payload, settings.compat_engines, defaults
            )
            # a store of the caller's own means a look-up of its host
            job = await asyncio.to_thread(order, asked, reading, settings)
            logs.event("job.started", job_id=asked.id, family=reading.family)
            result = await host.run(job, _noting_lateness(asked.id, progress))
            body = good(reading, result)
    except asyncio.CancelledError:
        logs.event("job.cancelled", job_id=asked.id)
        raise
    except TalkheadError as error:
        _log_failure(error, asked.id)
        told = aliases.retold(reading, error)
        return Answer(bad(reading, told), told)
    event: logs.Event = "job.repeated" if result.repeated else "job.finished"
    logs.event(event, job_id=asked.id, seconds=round(time.monotonic() - began, 3))
    return Answer(body)


def _noting_lateness(job_id: str, progress: Told) -> Told:
    """Return what passes progress on, and logs the first word of a deadline that will be missed."""
    late: list[str] = []

    def told(step: Progress) -> None:
        if step.late is not None and not late:
            late.append(step.late)
            logs.event("job.late", job_id=job_id, level="warning", message=step.late)
        progress(step)

    return told


def _log_failure(error: TalkheadError, job_id: str) -> None:
    name: logs.Event = "job.cancelled" if error.code is Code.CANCELLED else "job.failed"
    if error.code is Code.INTERNAL and error.__cause__ is not None:
        logs.failure(error, job_id, name)
    else:  # plain to see here, or told in full by the rendering process
        level: logs.Level = "info" if error.code is Code.CANCELLED else "warning"
        logs.event(name, job_id=job_id, level=level, code=error.code.value, message=error.message)


def order(asked: Asked, reading: Reading, settings: Settings) -> Order:
    """Return the order for a payload, or raise what is wrong with it.

    A job always has a key, the caller's or the platform's id, so that it can be found again.
    """
    request = parse(reading.payload)
    payload = reading.payload
    if isinstance(request, Job) and request.idempotency_key is None:
        payload = {**payload, "idempotency_key": safe_key(asked.id)}
    deadline_s = asked.deadline_s or settings.worker.deadline_s
    if isinstance(request, Job) and request.deadline_s is None and deadline_s is not None:
        payload = {**payload, "deadline_s": deadline_s}
    return Order(asked.id, payload, own_store(asked.store, settings))


def own_store(config: object, settings: Settings) -> Body | None:
    """Return a request's own store as an order carries it, or raise where that is not allowed."""
    if config is None:
        return None
    if not settings.request_store:
        raise TalkheadError(
            Code.UNSUPPORTED,
            "s3Config: this installation delivers to its own store only",
            "leave s3Config out, or ask the operator to set TALKHEAD_REQUEST_STORE",
            fields=["s3Config"],
        )
    registry.resolve("store", "s3", registry.STORES)  # says what to install
    from talkhead.stores.s3 import from_request  # noqa: PLC0415 (boto3 is heavy)

    store = from_request(config, settings.fetch.private_hosts)
    found = store.model_dump(mode="json", exclude_none=True)
    secrets = {
        name: secret.get_secret_value()
        for name in ("access_key", "secret_key", "session_token")
        if (secret := getattr(store, name)) is not None
    }
    return {**found, **secrets}


def safe_key(job_id: str) -> str:
    """Return a platform's id as a key: itself where it is one, else a digest of it."""
    if KEY.fullmatch(job_id):
        return job_id
    return f"job-{hashlib.sha256(job_id.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def good(reading: Reading, result: Result) -> Body:
    """Return the answer to a job that went well, small enough to be delivered.

    The family's own keys lie beside `result`; notices about aliases come first in its warnings.
    A file that is too large to travel in the answer is left to its key and URL.
    """
    body = _body(reading, result)
    files = [made for each in results(result) for made in each.outputs]
    room = SMALL + EACH * len(result.items)
    if not any(_holds_file(made) for made in files):
        return fitted(body, room)
    if size(fitted(body, LARGE)) <= LARGE:
        return body
    if any((made.url or "data:").startswith("data:") for made in files if _holds_file(made)):
        raise TalkheadError(
            Code.STORE,
            f"the answer would be {size(body) / 1e6:.1f} MB, over the {LARGE / 1e6:.1f} MB that it "
            "may have",
            "configure a store that makes URLs: TALKHEAD_STORE__KIND=s3 or supabase",
        )
    return fitted(_body(reading, _bare(result)), room, ["data"])


def results(result: Result) -> list[Result]:
    """Return a result and those of its items."""
    return [result, *(end.result for end in result.items if end.result is not None)]


def _bare(result: Result) -> Result:
    """Return a result whose files do not travel in it."""
    bare = tuple(made.model_copy(update={"data": None}) for made in result.outputs)
    ends = tuple(
        end.model_copy(update={"result": end.result and _bare(end.result)}) for end in result.items
    )
    return result.model_copy(update={"outputs": bare, "items": ends})


def _once(value: Any, seen: set[str]) -> Any:
    """Return a shape without repetitions of what is as long as a file."""
    if isinstance(value, Mapping):
        return {name: _once(item, seen) for name, item in value.items() if not _again(item, seen)}
    if isinstance(value, list | tuple):
        return [_once(item, seen) for item in value if not _again(item, seen)]
    return value


def _again(value: Any, seen: set[str]) -> bool:
    if not isinstance(value, str) or len(value) <= SMALL:
        return False
    if value in seen:
        return True
    seen.add(value)
    return False


def _holds_file(made: Made) -> bool:
    """Return whether a file travels in the answer: as `data`, or as an inline store's URL."""
    return bool(made.data) or (made.url or "").startswith("data:")


def _retold(reading: Reading, result: Result) -> Result:
    """Return a result whose items' errors are as callers see errors, in their payload's words."""

    def shown(error: Error) -> Error:
        told = aliases.retold(reading, rebuilt(error.model_dump(mode="json")))
        return Error.model_validate(error_wire(told))

    ends = tuple(
        end.model_copy(update={"error": end.error and shown(end.error)}) for end in result.items
    )
    return result.model_copy(update={"items": ends})


def _body(reading: Reading, result: Result) -> Body:
    result = _retold(reading, result)
    shape = _once(aliases.answer(reading, result), set())
    told = result.model_copy(update={"warnings": (*reading.notices, *result.warnings)})
    wire = lean(told.model_dump(mode="json"))
    held = set(_texts(shape))
    for made in (made for each in wires(wire) for made in each.get("outputs", ())):
        if made.get("data") in held:  # once is enough
            del made["data"]
        if made.get("url", "").startswith("data:") and made["url"] in held:
            del made["url"]
    return {**shape, "result": wire}


def bad(reading: Reading, error: TalkheadError) -> Body:
    """Return what the family's callers find beside the error."""
    return aliases.failure(reading, error_wire(error))


def error_wire(error: TalkheadError) -> Body:
    """Return an error as callers see it: no secrets, no traceback, of bounded length."""
    shown: Body = dict(logs.wire(error))
    shown["message"] = cut(str(shown["message"]), MESSAGE)
    shown["hint"] = cut(str(shown["hint"]), HINT)
    shown["fields"] = [cut(logs.redact(name), FIELD) for name in error.fields[:FIELDS]]
    return shown


def error_text(error: TalkheadError) -> str:
    """Return an error as a JSON string, readable for those who expect the SDK's own shape."""
    shown = error_wire(error)
    both = {**shown, "error_type": shown["code"], "error_message": shown["message"]}
    return json.dumps(both, ensure_ascii=False)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
