"""What a client may have done for it, and how long it goes on trying. No I/O happens here.

A call is a generator: it yields what is to happen and is sent what came of it. A `TalkheadError`
is thrown into it where the network failed.
"""

import json
import ssl
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.serve import replies

Json = dict[str, Any]
Outcome = TypeVar("Outcome")

CONNECT_S, READ_S = 5.0, 30.0
FIRST_S, MOST_S = 1.0, 30.0  # the pause before the second try; each is half longer, up to the last
BLOCK = 1 << 16  # bytes of a file that travel at once


@dataclass(frozen=True, slots=True)
class Send:
    """One exchange. `url` is absolute; `file` is the body in place of `content`.

    `again` says that sending it twice does what sending it once does, and `anew` that it may be
    sent once more where no connection came about.
    """

    method: str
    url: str
    content: bytes | None = None
    file: Path | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    read_s: float = READ_S
    again: bool = False
    anew: bool = True

    def arguments(self, own: Mapping[str, str]) -> dict[str, Any]:
        """Return what httpx takes, the body of a file aside; `own` are the client's headers."""
        timeout = httpx.Timeout(self.read_s, connect=CONNECT_S)
        headers = {**self.headers, **own}
        return {
            "method": self.method,
            "url": self.url,
            "content": self.content,
            "params": self.params,
            "headers": headers,
            "timeout": timeout,
        }


@dataclass(slots=True)
class Stream:
    """An answer that is read piece by piece: blocks of bytes, or lines."""

    reply: httpx.Response
    pieces: Iterator[Any] | AsyncIterator[Any]


@dataclass(frozen=True, slots=True)
class Open:
    """Send, and come back with a `Stream` as soon as the answer's head is there."""

    send: Send
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """Come back with the next piece, or None at the end."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Close:
    """Have done with a stream."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; `why` is what went wrong before, where something did."""

    seconds: float
    why: TalkheadError | None = None


Effect = Send | Open | Read | Close | Pause
Steps = Generator[Effect, Any, Outcome]


class Patience:
    """How long one call may wait for a better answer, over all of its tries."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._next = FIRST_S

    def pause(self, told: float | None = None) -> float | None:
        """Return the seconds to wait now, `told` by the server or growing; None: no longer."""
        seconds = self._next if told is None else told
        self._next = min(MOST_S, self._next * 1.5)
        if seconds > self._left:
            return None
        self._left -= seconds
        return seconds


def exchange(send: Send, patience: Patience) -> Steps[httpx.Response]:
    """Send until there is an answer to go by, or patience ends.

    429 is waited for. A 5xx and a lost answer mean another try where `again` allows it: else the
    first try may have been done. What never reached the server may be sent again in any case.
    """
    while True:
        why, told = None, None
        try:
            reply: httpx.Response = yield send
        except TalkheadError as error:
            if not error.retryable or not (send.again or (send.anew and replies.unsent(error))):
                raise
            pause, why = patience.pause(), error
            if pause is None:
                raise
        else:
            if reply.status_code != 429 and not (reply.status_code >= 500 and send.again):
                return reply
            told = replies.retry_after(reply)
            pause = patience.pause(told)
            if pause is None:
                return reply
            why = replies.refusal(reply)
        yield Pause(pause, why)


def checked(reply: httpx.Response) -> httpx.Response:
    """Return an answer of success, or raise what it says."""
    if reply.is_success:
        return reply
    raise replies.refusal(reply)


def packed(body: Mapping[str, Any]) -> bytes:
    """Return a body exactly as it travels, so that its size can be known before."""
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TalkheadError(
            Code.INPUT, "the request is not JSON", "use numbers, text, lists and objects only"
        ) from error


def size_of(file: Path) -> int:
    """Return how many bytes a file has, or raise E_INPUT_VALIDATION where it cannot be read."""
    try:
        with file.open("rb"):
            return file.stat().st_size
    except OSError as error:
        raise TalkheadError(
            Code.INPUT, f"cannot read {file.name}: {error.strerror}", "choose the file again"
        ) from error


def origin(url: str) -> str:
    """Return scheme, host and port, by which servers are told apart and named in messages."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise TalkheadError(Code.INPUT, "a link is not a URL", "write it as https://…") from error
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}{f':{parsed.port}' if parsed.port else ''}"


@cache
def trust() -> ssl.SSLContext:
    """Return the certificates to trust; reading them takes longer than a request."""
    return httpx.create_ssl_context()
