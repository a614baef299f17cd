"""What a server's answers mean: results, and the errors of jobs, of HTTP and of the network."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from talkhead.errors import Code, TalkheadError

RETRY_MOST_S = 60.0  # that a server may ask us to wait


def result(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result in a status body of a job that has ended, or raise the job's error."""
    if body.get("status") != "COMPLETED":
        raise failure(body)
    output = answer_of(body)
    if isinstance(output, dict) and isinstance(output.get("result"), dict):
        return dict(output["result"])
    if isinstance(output, dict) and "error" not in output:
        return output
    raise TalkheadError(
        Code.UNSUPPORTED, "the endpoint's answer is not talkhead's", "check the endpoint's address"
    )


def answer_of(body: Mapping[str, Any]) -> Any:
    """Return the output in a status body; of a generator handler's list the last, its answer."""
    output = body.get("output")
    return output[-1] if isinstance(output, list) and output else output


def failure(body: Mapping[str, Any]) -> TalkheadError:
    """Return the error of a job that did not end well."""
    status, error = body.get("status"), _told(body.get("error"))
    if isinstance(error, dict) and str(error.get("code")) in {code.value for code in Code}:
        return named(error)
    if status == "CANCELLED":
        return TalkheadError(Code.CANCELLED, "the job was cancelled", "start it again to go on")
    if status == "TIMED_OUT":  # the platform's own limit, which says no more
        return TalkheadError(Code.TIMEOUT, "the job took too long", "allow it more time")
    if isinstance(error, str):
        return TalkheadError(Code.INTERNAL, error[:500] or "the job failed", "see its log")
    return named(error) if isinstance(error, dict) else _unknown("the job failed")


def _told(error: Any) -> Any:
    """Return an error that is text as what it holds, or as it is."""
    try:
        return json.loads(error) if isinstance(error, str) else error
    except ValueError:
        return error


def named(wire: Mapping[str, Any]) -> TalkheadError:
    """Return the error behind a wire form, read with care: another version may have sent it."""
    known = {code.value for code in Code}
    code = Code(wire["code"]) if str(wire.get("code")) in known else Code.INTERNAL
    retryable = wire.get("retryable")
    error = TalkheadError(
        code,
        str(wire.get("message") or "the server gave no reason"),
        str(wire.get("hint") or ""),
        fields=[str(name) for name in wire.get("fields") or ()],
        stage=wire.get("stage"),
        retryable=retryable if isinstance(retryable, bool) else None,
    )
    error.job_id = wire.get("job_id")
    return error


def refusal(reply: httpx.Response) -> TalkheadError:
    """Return the error of an HTTP answer that is none of success."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    wire = body.get("error") if isinstance(body, dict) else None
    if isinstance(wire, dict):
        return named(wire)
    return _by_status(reply.status_code)


def retry_after(reply: httpx.Response) -> float | None:
    """Return how many seconds a server wants us to wait, None where it does not say."""
    said = reply.headers.get("retry-after", "").strip()
    if said.isascii() and said.replace(".", "", 1).isdigit():
        return min(float(said), RETRY_MOST_S)
    try:
        until = parsedate_to_datetime(said)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(0.0, (until - datetime.now(UTC)).total_seconds()), RETRY_MOST_S)


def json_object(reply: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON object, or raise: something else answers at that address."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    raise TalkheadError(
        Code.UNSUPPORTED,
        f"{reply.url.host} answers, but not as a talkhead server or RunPod endpoint does",
        "check the address, for example https://api.runpod.ai/v2/YOUR-ENDPOINT",
    )


@contextmanager
def network(base: str) -> Iterator[None]:
    """Name the errors of the network."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise TalkheadError(
            Code.INPUT, "the server's address is not a URL", "write it as https://…"
        ) from error
    except httpx.TransportError as error:
        raise unreachable(base, error) from error


def unreachable(base: str, error: httpx.TransportError) -> TalkheadError:
    """Return the error of a server that does not answer."""
    late = isinstance(error, httpx.TimeoutException)
    what = "does not answer in time" if late else "cannot be reached"
    hint = "check that it runs and that the network is up, then try again"
    return TalkheadError(Code.CAPACITY, f"the server at {base} {what}", hint, retryable=True)


def unsent(error: TalkheadError) -> bool:
    """Return whether a request cannot have reached the server: there was no connection."""
    return isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)


def _by_status(status: int) -> TalkheadError:
    if status in (401, 403):
        return TalkheadError(
            Code.INPUT,
            "the server does not accept the key",
            "check it: under Settings on the page, or --key and TALKHEAD_ENDPOINT__KEY",
        )
    if status == 404:
        return TalkheadError(Code.INPUT, "the server does not know it (any more)", "start it again")
    if status == 413:
        return TalkheadError(Code.INPUT, "too large for the server", "use a smaller file")
    if status == 429:
        return TalkheadError(
            Code.CAPACITY, "the server has too much to do", "try again in a minute", retryable=True
        )
    if status >= 500:
        hint = "try again; its log says why"
        return TalkheadError(Code.CAPACITY, f"the server failed ({status})", hint, retryable=True)
    return _unknown(f"the server refused the request ({status})")


def _unknown(message: str) -> TalkheadError:
    return TalkheadError(Code.INTERNAL, message, "see the server's log")
