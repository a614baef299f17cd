"""The answer where something is not done: an HTTP status, and an error with a code."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from talkhead.errors import Code, TalkheadError
from talkhead.serve.answering import error_wire

STATUS = {
    Code.INPUT: 400,
    Code.UNSUPPORTED: 400,
    Code.MEDIA: 415,
    Code.CAPACITY: 503,
    Code.WEIGHTS: 503,
    Code.TIMEOUT: 504,
}


class Json(JSONResponse):
    """JSON in ASCII: what callers send may hold halves of characters, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        """Return content as bytes."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class RefusedError(Exception):
    """A request that is not served, with the HTTP status that says so."""

    def __init__(
        self, status: int, error: TalkheadError, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(error.message)
        self.status, self.error, self.headers = status, error, dict(headers or {})


def refused(status: int, message: str, hint: str = "", *, code: Code = Code.INPUT) -> RefusedError:
    """Return a refusal for a reason."""
    return RefusedError(status, TalkheadError(code, message, hint))


def unknown(job_id: str) -> RefusedError:
    """Return the refusal of a job that is not there."""
    return refused(404, f"no job {job_id!r}", "its id is in the answer to /run; ended jobs go")


def reply(found: RefusedError) -> Json:
    """Return a refusal as it is sent."""
    body = {"error": error_wire(found.error)}
    return Json(body, status_code=found.status, headers=found.headers)


def reply_error(error: TalkheadError) -> Json:
    """Return an error of the code below as it is sent."""
    return reply(RefusedError(STATUS.get(error.code, 500), error))
