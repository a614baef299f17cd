"""What callers send to have a job done, read and judged as RunPod does it."""

import json
import time
import uuid
from typing import Any

from starlette.requests import Request

from talkhead.errors import Code
from talkhead.serve.answering import KEY
from talkhead.serve.pool import Lane
from talkhead.serve.queue import Ticket
from talkhead.serve.server import wire
from talkhead.serve.server.refusals import refused

LIMITS = {"run": 10 * 10**6, "runsync": 20 * 10**6}  # bytes of a request, as RunPod has it
QUICK = ("health", "capabilities", "uploads", "speak")
LOW = -50  # priority of what RunPod's policy calls low
KEPT = ("input", "policy", "s3Config")
DAY_MS = 86_400_000

Body = dict[str, Any]


async def body_of(request: Request, kind: str) -> Body:
    """Return the JSON object that a request carries, with an object `input`; raise RefusedError."""
    data = await read(request, LIMITS[kind])
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refused(400, "the body is not JSON", 'send {"input": {…}}') from error
    if not isinstance(found, dict) or not isinstance(found.get("input"), dict):
        raise refused(400, "the body has no object `input`", 'send {"input": {…}}')
    if found.get("webhook") is not None:
        raise refused(
            400,
            "webhook: this server calls nobody",
            "leave it out, and ask GET /status/{id} or /stream/{id}",
            code=Code.UNSUPPORTED,
        )
    _check_policy(found.get("policy"))
    return {name: found[name] for name in KEPT if found.get(name) is not None}


async def read(request: Request, most: int) -> bytes:
    """Return a request's body of at most so many bytes; raise RefusedError."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise _too_large(most)
    return bytes(data)


def ticket(body: Body, job_id: str | None, *, gpus: bool, default: str) -> Ticket:
    """Return a submission as the queue takes it; `default` is the operator's engine."""
    payload, policy = body["input"], body.get("policy") or {}
    ttl = policy.get("ttl")
    return Ticket(
        id=job_id or str(uuid.uuid4()),
        body=body,
        lane=lane(payload, gpus=gpus, default=default),
        priority=_priority(payload, low=policy.get("lowPriority") is True),
        expires=time.time() + ttl / 1000 if ttl else None,
        facts=wire.facts(payload),
    )


def lane(payload: Body, *, gpus: bool, default: str) -> Lane:
    """Return where a request runs: what is quick does not wait behind a long render."""
    engine = payload.get("engine") or "auto"
    drafted = (default if engine == "auto" else engine) == "draft"
    drafted &= payload.get("action") != "batch"  # long, whatever its items are
    quick = payload.get("action") in QUICK or payload.get("dry_run") is True
    return "desk" if quick or (gpus and drafted) else "render"


def check_id(job_id: str) -> str:
    """Return a caller's own id, or raise RefusedError for one that is not plain text."""
    if not KEY.fullmatch(job_id):
        raise refused(400, "an id is letters, digits, _ - . only, at most 128, a letter first")
    return job_id


def _priority(payload: Body, *, low: bool) -> int:
    asked = payload.get("priority", 0)
    number = asked if isinstance(asked, int) and not isinstance(asked, bool) else 0
    return max(-100, min(100, number + (LOW if low else 0)))


def _check_policy(policy: Any) -> None:
    if policy is None:
        return
    if not isinstance(policy, dict):
        raise refused(400, "policy: not an object")
    for name, most in (("executionTimeout", 7 * DAY_MS), ("ttl", 7 * DAY_MS)):
        value = policy.get(name)
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (whole and 0 < value <= most):
            raise refused(400, f"policy.{name}: not milliseconds between 0 and {most}")


def _too_large(most: int) -> Exception:
    return refused(
        413,
        f"the body is over {most / 1e6:.0f} MB",
        "send files by PUT /uploads/NAME and name the reference that it gives",
    )
