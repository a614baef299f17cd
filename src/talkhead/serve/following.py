"""A job on an endpoint, from its submission to its end, by looks at /status."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from talkhead.errors import Code, TalkheadError
from talkhead.serve import console
from talkhead.serve.client import FINAL, Client

POLL_S, POLL_MOST_S = 0.25, 2.0  # between two looks; each wait is half longer
Json = dict[str, Any]
Told = Callable[[Json], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an end is waited for; once `stop` is set, no longer."""

    limit_s: float = 900.0
    stop: threading.Event = field(default_factory=threading.Event)


def submitted(client: Client, payload: Mapping[str, Any]) -> str:
    """Queue a request; return the job's id."""
    job_id = client.run(payload).get("id")
    if not isinstance(job_id, str):
        raise TalkheadError(
            Code.UNSUPPORTED, "the endpoint took the request and gave no id", "check its address"
        )
    return job_id


def ended(client: Client, job_id: str, patience: Patience, told: Told = lambda _body: None) -> Json:
    """Return the status body of a job that has ended; `told` gets those on the way.

    A job that is given up is cancelled, so that it costs nothing more: E_TIMEOUT after `limit_s`,
    E_CANCELLED once `stop` is set. An endpoint that is away for a while is waited for.
    """
    until, pause = time.monotonic() + patience.limit_s, POLL_S
    while True:
        body = _looked(client, job_id)
        if body.get("status") in FINAL:
            return body
        if patience.stop.is_set():
            raise _given_up(client, job_id, Code.CANCELLED, "stopped from this side")
        if time.monotonic() > until:
            status = body.get("status") or "not to be reached"
            message = f"no end within {patience.limit_s:g} s: the job is {status}"
            raise _given_up(client, job_id, Code.TIMEOUT, message)
        told(body)
        patience.stop.wait(pause)
        pause = min(POLL_MOST_S, pause * 1.5)


def address(base: str) -> str:
    """Return an endpoint's address without what may be secret in it."""
    parts = urlsplit(base)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path.rstrip('/')}"


def moment(body: Mapping[str, Any]) -> tuple[str, float, str]:
    """Return stage, percentage and words for the status of a job that has not ended."""
    if body.get("status") == "IN_QUEUE":
        place = body.get("position")
        return "queue", 0.0, f"place {place}" if place else ""
    output = body.get("output")
    said = output if isinstance(output, dict) else {}
    stage = said.get("stage")
    if not isinstance(stage, str):
        return "start", 0.0, ""
    window, windows = (int(_number(said.get(name))) for name in ("window", "windows"))
    eta = said.get("eta_s")
    detail = console.detail(window, windows, eta if isinstance(eta, int | float) else None)
    item, items = (int(_number(said.get(name))) for name in ("item", "items"))
    words = [f"item {item}/{items}" if items else "", detail]
    return stage[:9], _number(said.get("pct")), ", ".join(word for word in words if word)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _looked(client: Client, job_id: str) -> Json:
    try:
        return client.status(job_id)
    except TalkheadError as error:
        if not error.retryable:
            raise
        return {}


def _given_up(client: Client, job_id: str, code: Code, message: str) -> TalkheadError:
    with suppress(TalkheadError):  # what made us give up is the news
        client.cancel(job_id)
    return TalkheadError(code, message, "the job was cancelled; see the endpoint's workers and log")
