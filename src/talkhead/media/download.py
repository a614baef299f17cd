"""Files by https: every host judged, every redirect judged again, nothing believed but bytes.

One connection per request, no cookies, no proxies, no credentials, no decoding of compressed
bodies. Messages name the host only: paths and queries of URLs hold secrets.
"""

import email.utils
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Self

import certifi
import h11

from talkhead import __version__
from talkhead.errors import Code, TalkheadError
from talkhead.media.address import Entry, Url, parse_entry, parse_url, printable, refused
from talkhead.media.pinned import Line, Watch, addresses, connect
from talkhead.settings.groups import Fetching

Seen = Callable[[int, int], None]  # bytes so far, and in all (0: not known)
Headers = dict[bytes, bytes]  # names in lower case

REDIRECTS = 3
FIRST_DELAY_S, MOST_DELAY_S = 0.5, 5.0  # between attempts; also the longest Retry-After obeyed
HEAD_BYTES = 64 * 2**10  # of an answer's headers
COMPRESSED = {b"br", b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip", b"zstd"}
MOVED = {301, 302, 303, 307, 308}
EXPIRED = "the link may have expired or need a login: send a fresh signed URL"
HINTS = {
    400: EXPIRED,  # what Supabase says to an expired link
    401: EXPIRED,
    403: EXPIRED,
    404: "nothing is there: check the URL",
    410: "it was there once: send a fresh URL",
}


@dataclass(frozen=True, slots=True)
class Client:
    """What all downloads of one job share."""

    fetching: Fetching
    watch: Watch
    private: tuple[Entry, ...]
    tls: ssl.SSLContext

    @classmethod
    def open(cls, fetching: Fetching, watch: Watch) -> Self:
        """Return a client by the operator's settings, or E_INPUT_VALIDATION where they are bad."""
        try:
            private = tuple(parse_entry(text) for text in fetching.private_hosts)
        except TalkheadError as error:
            hint = "correct TALKHEAD_FETCH__PRIVATE_HOSTS"
            raise refused(f"private_hosts: {error.message}", hint) from error
        return cls(fetching, watch, private, _tls(fetching.ca_bundle))


@dataclass(frozen=True, slots=True)
class Busy:
    """An attempt that failed in a way that may pass."""

    error: TalkheadError
    after_s: float = 0.0  # what the server asks us to wait


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer on one connection."""

    line: Line
    url: Url
    state: h11.Connection


def check_url(text: str, fetching: Fetching) -> Url:
    """Return the parts of a URL that may be asked, or raise E_INPUT_VALIDATION; no network."""
    url = parse_url(text)
    if url.scheme == "http" and not fetching.http:
        raise refused(
            f"{url.shown} is not https", "use https; the operator sets TALKHEAD_FETCH__HTTP"
        )
    return url


def download(url: Url, into: Path, limit: int, client: Client, seen: Seen) -> None:
    """Write what is behind a URL to the new file `into`, at most `limit` bytes.

    Raises E_INPUT_VALIDATION for what can never work (not public, too large, empty, too many
    redirects), E_DOWNLOAD_FAILED for what may. A partial file is the caller's to delete.
    """
    for _ in range(REDIRECTS + 1):
        location = _get(url, into, limit, client, seen)
        if location is None:
            return
        url = _redirected(url, location, client.fetching)
    raise refused(f"{url.shown}: more than {REDIRECTS} redirects", "give the final URL")


def _get(url: Url, into: Path, limit: int, client: Client, seen: Seen) -> str | None:
    """Return None once the file is there, or where to go instead; try again where that helps."""
    attempt = 1
    while isinstance(outcome := _attempt(url, into, limit, client, seen), Busy):
        backoff = FIRST_DELAY_S * 2 ** (attempt - 1) * random.uniform(0.5, 1)  # noqa: S311 (jitter)
        delay = min(max(backoff, outcome.after_s), MOST_DELAY_S)
        if attempt >= client.fetching.attempts or not client.watch.sleep(delay):
            raise outcome.error
        attempt += 1
    return outcome


def _attempt(url: Url, into: Path, limit: int, client: Client, seen: Seen) -> Busy | str | None:
    line = _dial(url, client)
    if isinstance(line, Busy):
        return line
    try:
        exchange = Exchange(line, url, h11.Connection(h11.CLIENT, HEAD_BYTES))
        _ask(exchange)
        head = _event(exchange)
        if not isinstance(head, h11.Response):
            raise _failed(url, "gave no answer")
        headers = dict(head.headers)
        status = head.status_code
        if status in MOVED and b"location" in headers:
            return str(headers[b"location"], "utf-8", "replace")
        if status == 429 or status >= 500:
            return Busy(_failed(url, f"answered {status}"), _retry_after(headers))
        if status != 200:
            raise _refusal(url, status)
        _save(exchange, headers, into, limit, seen)
        return None
    finally:
        line.close()


def _dial(url: Url, client: Client) -> Line | Busy:
    """Return a line to one of the host's allowed addresses."""
    fetching, watch = client.fetching, client.watch
    try:
        found = addresses(url, client.private, watch, fetching.connect_s)
        sock = connect(url, found, watch, fetching.connect_s)
        line = Line(sock, watch, fetching.read_s)
        return line.secured(client.tls, url.host, fetching.connect_s) if _is_safe(url) else line
    except ssl.SSLCertVerificationError as error:
        raise _failed(
            url,
            f"has no valid certificate ({printable(error.verify_message)})",
            "the operator adds a private authority by TALKHEAD_FETCH__CA_BUNDLE",
        ) from error
    except socket.gaierror as error:
        failure = _failed(url, "was not found by its name", "check the host's name")
        if error.errno != socket.EAI_AGAIN:
            raise failure from error
        return Busy(failure)
    except OSError as error:
        return Busy(_failed(url, f"cannot be reached ({error.strerror or error})"))


def _ask(exchange: Exchange) -> None:
    url, state = exchange.url, exchange.state
    headers = [
        ("Host", url.authority),
        ("User-Agent", f"talkhead/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    request = state.send(h11.Request(method="GET", target=url.target, headers=headers))
    try:
        exchange.line.send(request or b"")
    except OSError as error:
        raise _failed(url, f"broke the connection ({error.strerror or error})") from error


def _event(exchange: Exchange) -> h11.Response | h11.Data | None:
    """Return the head of the answer, a piece of its body, or None at its end."""
    line, url, state = exchange.line, exchange.url, exchange.state
    while True:
        try:
            event = state.next_event()
            if event is h11.NEED_DATA:
                state.receive_data(line.receive())
            elif isinstance(event, h11.Response | h11.Data):
                return event
            elif not isinstance(event, h11.InformationalResponse):
                return None
        except h11.ProtocolError:  # its message may repeat what the server sent
            raise _failed(url, "cut its answer short, or answered something else") from None
        except TimeoutError as error:
            raise _failed(url, f"sent nothing for {line.read_s:g} s") from error
        except OSError as error:
            raise _failed(url, f"broke the connection ({error.strerror or error})") from error


def _save(exchange: Exchange, headers: Headers, into: Path, limit: int, seen: Seen) -> None:
    """Write the body; what the headers say is checked first and believed never."""
    url = exchange.url
    codings = headers.get(b"content-encoding", b"").lower().replace(b",", b" ").split()
    if COMPRESSED.intersection(codings):
        raise refused(f"{url.shown} sends compressed bytes", "serve the file as it is")
    total = int(headers.get(b"content-length", 0))  # h11 has checked that it is a number
    if total > limit:
        raise _too_large(url, limit)
    size = 0
    with into.open("xb") as file:
        while isinstance(event := _event(exchange), h11.Data):
            size += len(event.data)
            if size > limit:
                raise _too_large(url, limit)
            file.write(event.data)
            seen(size, total)
    if size == 0:
        raise refused(f"{url.shown} is empty", "check what is stored there")


def _redirected(url: Url, location: str, fetching: Fetching) -> Url:
    """Return where a redirect leads, or raise E_INPUT_VALIDATION."""
    try:
        target = check_url(url.joined(location), fetching)
    except ValueError:  # urljoin's, which may repeat the location
        raise refused(f"{url.shown} redirects to no URL", "give the final URL") from None
    except TalkheadError as error:
        raise refused(f"{url.shown} redirects: {error.message}", error.hint) from error
    if _is_safe(url) and not _is_safe(target):
        raise refused(f"{url.shown} redirects to http", "give the final URL")
    return target


def _retry_after(headers: Headers) -> float:
    """Return the seconds that a server asks us to wait, 0 where it does not or says nonsense."""
    text = str(headers.get(b"retry-after", b""), "ascii", "replace").strip()
    if text.isdigit() and text.isascii():
        return float(text[:6])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - datetime.now(UTC)).total_seconds(), 0.0)


@lru_cache(maxsize=4)
def _tls(ca_bundle: Path | None) -> ssl.SSLContext:
    """Return the checks of certificates: the system's authorities, Mozilla's, the operator's."""
    tls = ssl.create_default_context()
    tls.load_verify_locations(certifi.where())
    tls.set_alpn_protocols(["http/1.1"])
    if ca_bundle is not None:
        # Python 3.13 would refuse authorities as `openssl req -x509` makes them
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        try:
            tls.load_verify_locations(ca_bundle)
        except OSError as error:
            raise refused(
                f"cannot read the CA bundle {ca_bundle}", "correct TALKHEAD_FETCH__CA_BUNDLE"
            ) from error
    return tls


def _is_safe(url: Url) -> bool:
    return url.scheme == "https"


def _too_large(url: Url, limit: int) -> TalkheadError:
    return refused(f"{url.shown} is over {limit / 2**20:g} MB", "send a smaller file")


def _refusal(url: Url, status: int) -> TalkheadError:
    """Return the error of an answer that asking again will not change."""
    hint = HINTS.get(status, "check the URL")
    return TalkheadError(Code.DOWNLOAD, f"{url.shown} answered {status}", hint, retryable=False)


def _failed(url: Url, what: str, hint: str = "try again later") -> TalkheadError:
    return TalkheadError(Code.DOWNLOAD, f"{url.shown} {what}", hint)
