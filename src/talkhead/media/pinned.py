"""Sockets to addresses that were looked at first, and that end when their job's time does.

A host is resolved once and every address that comes back is judged; the connection then goes to
one of these addresses, so that a second, different answer (DNS rebinding) is never asked for. TLS
still checks the certificate against the host's name.
"""

import errno
import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import Entry, Url, as_ip, is_listed, is_public, refused

SLICE_S = 0.1  # how long anything blocks before it looks whether it should stop
TRIED = 8  # addresses of one host
CHUNK = 2**18  # bytes read at once

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Watch:
    """When all downloads of a job have to end: at a time, or as soon as one of them has failed."""

    deadline_s: float
    ends: float  # time.monotonic()
    stopped: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def starting(cls, deadline_s: float) -> "Watch":
        """Return a watch that ends so many seconds from now."""
        return cls(deadline_s, time.monotonic() + deadline_s)

    def check(self) -> None:
        """Raise E_CANCELLED once stopped, E_DOWNLOAD_FAILED once the time is over."""
        if self.stopped.is_set():
            raise TalkheadError(Code.CANCELLED, "the download was stopped")
        if time.monotonic() >= self.ends:
            raise TalkheadError(
                Code.DOWNLOAD,
                f"the files did not arrive within {self.deadline_s:g} s",
                "try again, or send smaller files; the operator sets TALKHEAD_FETCH__DEADLINE_S",
            )

    def slice(self, until: float) -> float:
        """Return how long to block now, or raise; TimeoutError once `until` has passed."""
        self.check()
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return min(left, SLICE_S)

    def sleep(self, seconds: float) -> bool:
        """Wait; return False at once where the time would then be over."""
        if time.monotonic() + seconds >= self.ends:
            return False
        self.stopped.wait(seconds)
        return True


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection. Reads and writes raise OSError, or what the watch says."""

    sock: socket.socket
    watch: Watch
    read_s: float

    def send(self, data: bytes) -> None:
        """Send all of data."""
        while data:
            data = data[self._patiently(partial(self.sock.send, data)) :]

    def receive(self) -> bytes:
        """Return some bytes, none at the end; TimeoutError where none come for `read_s`."""
        return self._patiently(partial(self.sock.recv, CHUNK))

    def secured(self, tls: ssl.SSLContext, host: str, seconds: float) -> "Line":
        """Return the line with TLS around it, or raise where the certificate is not the host's."""
        sock = tls.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
        line = Line(sock, self.watch, seconds)
        try:
            line._patiently(sock.do_handshake)
        except BaseException:
            sock.close()
            raise
        return Line(sock, self.watch, self.read_s)

    def close(self) -> None:
        """Close the socket; nothing on the other side is waited for."""
        self.sock.close()

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do something that may block, in slices, so that a stop is noticed."""
        until = time.monotonic() + self.read_s
        while True:
            self.sock.settimeout(self.watch.slice(until))
            try:
                return act()
            except TimeoutError:
                continue


def addresses(url: Url, private: Sequence[Entry], watch: Watch, seconds: float) -> list[str]:
    """Return the addresses of a host, each one allowed, or raise E_INPUT_VALIDATION.

    One address that is not public is enough to refuse the host, unless the operator lists it.
    """
    found = [url.host] if as_ip(url.host) else _resolve(url, watch, seconds)
    if not is_listed(url, private):
        for text in found:
            ip = as_ip(text)
            if ip is None or not is_public(ip):
                raise refused(
                    f"{url.shown} is not on the public network",
                    "use a public host; the operator lists others in TALKHEAD_FETCH__PRIVATE_HOSTS",
                )
    return found[:TRIED]


def connect(url: Url, found: Sequence[str], watch: Watch, seconds: float) -> socket.socket:
    """Return a socket to the first of the addresses that answers within so many seconds each."""
    last: OSError = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    for address in found:
        try:
            return _connect(address, url.port, watch, seconds)
        except OSError as error:
            last = error
    raise last


def _connect(address: str, port: int, watch: Watch, seconds: float) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        _reach(sock, (address, port), watch, time.monotonic() + seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _reach(sock: socket.socket, address: tuple[str, int], watch: Watch, until: float) -> None:
    """Connect in slices, or raise OSError."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_WRITE)
            while not selector.select(watch.slice(until)):
                pass
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _resolve(url: Url, watch: Watch, seconds: float) -> list[str]:
    """Return a name's addresses. The system's resolver cannot be stopped, only left behind."""
    until = time.monotonic() + seconds
    pool = ThreadPoolExecutor(1, "resolve")
    try:
        answer = pool.submit(socket.getaddrinfo, url.host, url.port, type=socket.SOCK_STREAM)
        while not wait([answer], watch.slice(until)).done:
            pass
        found = answer.result()
    finally:
        pool.shutdown(wait=False)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
