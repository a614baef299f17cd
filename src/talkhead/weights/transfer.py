"""Bring one file over https into a partial file, going on where an earlier process stopped."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from talkhead.errors import Code, TalkheadError
from talkhead.weights import Repo, hub
from talkhead.weights.stopping import Until

STALL_S = 20.0  # without a byte, then the connection is given up and the rest asked for again
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

Count = Callable[[int], None]  # bytes that came; negative where some were thrown away


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to ask for, and how many bytes it must have, where that is known."""

    repo: Repo
    url: str
    headers: Mapping[str, str]
    bytes: int | None


def fetch(wanted: Wanted, partial: Path, until: Until, count: Count) -> None:
    """Complete `partial`, whose first bytes may be there already.

    Raises E_DOWNLOAD_FAILED after five attempts that brought nothing, E_PIPELINE_LOAD where the
    server refuses, E_TIMEOUT and E_CANCELLED; the partial file stays for the next time.
    """
    failures = 0
    while True:
        until.check()
        before = size(partial)
        pause, status = 0.0, None
        try:
            if _attempt(wanted, partial, until, count):
                return
        except _LaterError as later:
            pause, status = later.pause, later.status
        except httpx.TransportError:
            pass  # a cut, a stall, no connection: asked again below
        failures = 0 if size(partial) > before else failures + 1
        if failures >= hub.ATTEMPTS:
            raise hub.unreachable(urlsplit(wanted.url).netloc, status)
        step = FIRST_PAUSE_S * 2 ** (failures - 1) if failures else 0.0
        until.sleep(max(pause, random.uniform(0.5, 1) * step))  # noqa: S311 (jitter)


def size(path: Path) -> int:
    """Return a file's bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def drop(partial: Path, count: Count) -> int:
    """Throw away what is there; return the bytes that are left, none."""
    count(-size(partial))
    partial.unlink(missing_ok=True)
    return 0


class _LaterError(Exception):
    """An answer that asks to come again."""

    def __init__(self, status: int, pause: float) -> None:
        super().__init__()
        self.status = status
        self.pause = pause


def _attempt(wanted: Wanted, partial: Path, until: Until, count: Count) -> bool:
    """Ask for what is missing; return whether the file is complete."""
    have = size(partial)
    if wanted.bytes is not None and have == wanted.bytes:
        partial.touch()  # a file of 0 bytes is complete before it is there
        return True
    if wanted.bytes is not None and have > wanted.bytes:
        have = drop(partial, count)
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = httpx.Timeout(min(STALL_S, until.left_s + 0.1), connect=min(10.0, until.left_s + 0.1))
    with (
        httpx.Client(follow_redirects=True, max_redirects=5, timeout=timeout) as client,
        client.stream("GET", wanted.url, headers=headers) as answer,
    ):
        return _take(wanted, answer, partial, until, count)


def _take(
    wanted: Wanted, answer: httpx.Response, partial: Path, until: Until, count: Count
) -> bool:
    have = size(partial)
    if answer.status_code in hub.RETRIED:
        raise _LaterError(answer.status_code, _pause(answer))
    if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        drop(partial, count)
        return False
    if answer.status_code not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise hub.refused(wanted.repo, answer.status_code)
    if have and not _continues(answer, have):
        have = drop(partial, count)
        if answer.status_code == httpx.codes.PARTIAL_CONTENT:  # the wrong part: ask for it all
            return False
    announced = answer.headers.get("Content-Length")
    total = have + int(announced) if announced else wanted.bytes
    if wanted.bytes is not None and total != wanted.bytes:
        raise _other_length(partial, f"{total} bytes", wanted.bytes)
    _append(answer, partial, total, until, count)
    return total is None or size(partial) == total


def _append(
    answer: httpx.Response, partial: Path, total: int | None, until: Until, count: Count
) -> None:
    """Write an answer's body behind what is there; a fuller body than announced is E_PIPELINE_LOAD.

    What was written is there for the next attempt, however this one ends.
    """
    have = size(partial)
    with partial.open("ab") as file:
        for piece in answer.iter_raw():
            have += len(piece)
            if total is not None and have > total:
                raise _other_length(partial, "more", total)
            file.write(piece)
            count(len(piece))
            until.check()


def _other_length(partial: Path, actual: str, wanted: int) -> TalkheadError:
    return TalkheadError(
        Code.WEIGHTS,
        f"{partial.name}: the server sends {actual}, not {wanted} bytes",
        "the file changed while it came, or the mirror is damaged: check HF_ENDPOINT",
    )


def _continues(answer: httpx.Response, have: int) -> bool:
    start = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return answer.status_code == httpx.codes.PARTIAL_CONTENT and start == str(have)


def _pause(answer: httpx.Response) -> float:
    after = answer.headers.get("Retry-After", "")
    return min(float(after), LONGEST_PAUSE_S) if after.isdecimal() else 0.0
