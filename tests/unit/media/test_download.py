"""Downloads: only vetted addresses, every redirect judged, caps and deadlines that hold."""

import gzip
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from support.web import Answer, Network, Web, certified, moved, recorded, reply
from talkhead.errors import Code, TalkheadError
from talkhead.media import download
from talkhead.media.fetch import Places, Wanted, fetch_all
from talkhead.settings.groups import Fetching

Serve = Callable[..., Web]
OPEN = {"http": True, "private_hosts": ("127.0.0.1",)}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_DELAY_S", 0.01)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return what starts a server; all of them end with the test."""
    running: list[Web] = []

    def start(answers: Mapping[str, Sequence[Answer]], tls: ssl.SSLContext | None = None) -> Web:
        running.append(Web(answers, tls))
        return running[-1]

    yield start
    for web in running:
        web.close()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with recorded(monkeypatch) as network:
        yield network


def get(url: str, into: Path, **fetching: object) -> bytes:
    places = Places(fetching=Fetching.model_validate({**OPEN, **fetching}))
    wanted = {"portrait": Wanted(url, "image")}
    return fetch_all(wanted, into, places, lambda *_: None)["portrait"].read_bytes()


def refused(url: str, into: Path, **fetching: object) -> TalkheadError:
    """Return the error, having checked that nothing leaked and nothing stayed."""
    with pytest.raises(TalkheadError) as caught:
        get(url, into, **fetching)
    error = caught.value
    chain: BaseException | None = error
    while chain is not None:
        assert "secret" not in str(chain)
        chain = chain.__cause__
    assert error.fields == ("portrait",)
    assert error.hint
    assert list(into.iterdir()) == []
    return error


def test_a_file_comes_whole_under_our_own_name(tmp_path: Path, serve: Serve) -> None:
    content = bytes(range(256)) * 5000
    web = serve({"/a/evil.sh": [reply(content, Content_Disposition="attachment; filename=../x")]})
    assert get(web.url("/a/evil.sh?token=secret#part"), tmp_path) == content
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("fetched-")
    assert web.asked == ["/a/evil.sh?token=secret"]


def test_what_a_request_says(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    web = serve({"/a": [reply(b"x")]})
    assert get(web.url("/a"), tmp_path) == b"x"
    head = web.heads[0].decode().lower()
    assert "accept-encoding: identity" in head
    assert f"host: 127.0.0.1:{web.port}" in head
    assert not any(word in head for word in ("cookie", "authorization", "referer", "range"))


@pytest.mark.parametrize("size", [1, 70_000])
def test_bodies_without_a_length(tmp_path: Path, serve: Serve, size: int) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size)
    web = serve(
        {
            "/close": [reply(b"x" * size, length=None)],
            "/chunked": [reply(chunks, length=None, Transfer_Encoding="chunked")],
        }
    )
    assert len(get(web.url("/close"), tmp_path)) == size
    assert len(get(web.url("/chunked"), tmp_path)) == size


def test_http_is_refused_unless_allowed(tmp_path: Path, network: Network) -> None:
    error = refused("http://127.0.0.1:1/a", tmp_path, http=False)
    assert (error.code, network.connected) == (Code.INPUT, [])


# Redirects


def test_redirects_are_followed_without_cookies(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/d/": [reply(b"x")], "/a": [moved("b?secret")], "/c": [moved("./d/x/../")]})
    web.answers["/b"] = [moved(web.url("/c"), "307 Temporary Redirect")]
    assert get(web.url("/a"), tmp_path) == b"x"
    assert web.asked == ["/a", "/b?secret", "/c", "/d/"]
    assert not any(b"taste" in head for head in web.heads)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("/a", "more than 3 redirects"),
        ("http://10.0.0.1/secret", "not on the public network"),
        ("http://[::1]/secret", "not on the public network"),
        ("//169.254.169.254/secret", "not on the public network"),
        ("http://inside.test/secret", "not on the public network"),
        ("http://2130706433/secret", "no address"),
        ("http://u:secret@127.0.0.1/", "user name"),
        ("file:///etc/secret", "not a URL"),
        ("gopher://127.0.0.1/secret", "not a URL"),
        ("http://[broken/secret", "redirects"),
        ("http://a b/secret", "redirects"),
        ("data:,secret", "redirects"),
    ],
)
def test_redirects_are_judged(
    tmp_path: Path, serve: Serve, network: Network, location: str, words: str
) -> None:
    network.names["inside.test"] = [["192.168.1.1"]]
    web = serve({"/a": [moved(location)]})
    error = refused(web.url("/a?secret"), tmp_path)
    assert error.code is Code.INPUT
    assert words in error.message
    assert set(network.connected) == {"127.0.0.1"}
    assert len(web.asked) == (4 if location == "/a" else 1)


def test_a_redirect_to_another_port_is_no_longer_listed(tmp_path: Path, serve: Serve) -> None:
    web, other = serve({}), serve({"/b": [reply(b"x")]})
    web.answers["/a"] = [moved(other.url("/b"))]
    error = refused(web.url("/a"), tmp_path, private_hosts=(f"127.0.0.1:{web.port}",))
    assert (error.code, other.asked) == (Code.INPUT, [])


def test_a_redirect_without_a_target_is_a_failure(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(status="302 Found")], "/b": [reply(status="304 Not Modified")]})
    assert refused(web.url("/a"), tmp_path).code is Code.DOWNLOAD
    assert refused(web.url("/b"), tmp_path).code is Code.DOWNLOAD


# What goes wrong, and what is tried again


@pytest.mark.parametrize("status", ["429 Slow", "500 Oh", "503 Busy", "599 Odd"])
def test_a_busy_server_is_asked_again(tmp_path: Path, serve: Serve, status: str) -> None:
    web = serve({"/a": [reply(status=status), reply(status=status), reply(b"x")]})
    assert get(web.url("/a"), tmp_path) == b"x"
    assert len(web.asked) == 3


def test_attempts_end(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(status="503 Busy")]})
    error = refused(web.url("/a?secret"), tmp_path, attempts=2)
    assert (error.code, error.retryable, len(web.asked)) == (Code.DOWNLOAD, True, 2)
    assert "503" in error.message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 416, 204, 206])
def test_other_answers_are_final(tmp_path: Path, serve: Serve, status: int) -> None:
    web = serve({"/a": [reply(status=f"{status} secret")]})
    error = refused(web.url("/a?secret"), tmp_path)
    assert (error.code, len(web.asked)) == (Code.DOWNLOAD, 1)
    assert str(status) in error.message
    assert not error.retryable
    assert ("expired" in error.hint) == (status in (400, 401, 403))


def test_a_refused_connection_is_tried_again(tmp_path: Path, network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    error = refused(f"http://127.0.0.1:{port}/secret", tmp_path)
    assert (error.code, len(network.connected)) == (Code.DOWNLOAD, 3)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_heeded(tmp_path: Path, serve: Serve, form: str) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    later = {"seconds": "1", "date": soon}[form]
    web = serve({"/a": [reply(status="503 Busy", Retry_After=later), reply(b"x")]})
    began = time.monotonic()
    assert get(web.url("/a"), tmp_path) == b"x"
    assert 0.9 < time.monotonic() - began < 4


@pytest.mark.parametrize(
    "after",
    ["soon", "-1", "1e9", "9" * 5000, "Sat, 32 Foo 2026", "9" * 40 + " Nov 2026 00:00:00 GMT"],
)
def test_nonsense_in_retry_after_waits_little(
    tmp_path: Path, serve: Serve, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST_DELAY_S", 0.05)
    web = serve({"/a": [reply(status="503 Busy", Retry_After=after), reply(b"x")]})
    assert get(web.url("/a"), tmp_path) == b"x"


def test_no_waiting_past_the_deadline(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(status="503 Busy", Retry_After="100")]})
    began = time.monotonic()
    assert "503" in refused(web.url("/a"), tmp_path, deadline_s=2).message
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x secret\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz secret\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: secret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: a",
        b"\x16\x03\x01secret",
        reply(b"half", length=8),
    ],
)
def test_cut_or_broken_answers(tmp_path: Path, serve: Serve, answer: bytes) -> None:
    web = serve({"/a": [answer]})
    error = refused(web.url("/a?secret"), tmp_path)
    assert (error.code, len(web.asked)) == (Code.DOWNLOAD, 1)


def test_hints_before_the_answer_are_skipped(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 3 + reply(b"x")]})
    assert get(web.url("/a"), tmp_path) == b"x"


# Sizes


def test_a_length_over_the_cap_is_refused_unread(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(b"x", length=2**40)]})
    error = refused(web.url("/a"), tmp_path, image_mb=0.5)
    assert (error.code, "0.5 MB" in error.message) == (Code.INPUT, True)


def endless(conn: socket.socket) -> None:
    conn.sendall(reply(length=None))
    while True:
        conn.sendall(bytes(2**16))


def test_an_endless_body_is_cut_off(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [endless]})
    error = refused(web.url("/a"), tmp_path, image_mb=1)
    assert (error.code, "over 1 MB" in error.message) == (Code.INPUT, True)
    assert web.left.wait(5)  # the connection was closed


def test_more_than_the_length_said_is_not_read(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(b"abcdef", length=3)]})
    assert get(web.url("/a"), tmp_path) == b"abc"


@pytest.mark.parametrize("coding", ["gzip", "BR", "identity,gzip", "zstd"])
def test_compressed_bodies_are_refused(tmp_path: Path, serve: Serve, coding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    web = serve({"/a": [reply(bomb, Content_Encoding=coding)]})
    assert refused(web.url("/a"), tmp_path).code is Code.INPUT


@pytest.mark.parametrize("coding", ["identity", "", "aws-chunked", "UTF-8"])
def test_codings_that_change_nothing_are_fine(tmp_path: Path, serve: Serve, coding: str) -> None:
    web = serve({"/a": [reply(b"x", Content_Encoding=coding)]})
    assert get(web.url("/a"), tmp_path) == b"x"


def test_an_empty_body_is_refused(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [reply(b"")], "/b": [reply(b"", length=None)]})
    for path in ("/a", "/b"):
        error = refused(web.url(path), tmp_path)
        assert (error.code, "empty" in error.message) == (Code.INPUT, True)


# Time


def dripping(conn: socket.socket) -> None:
    conn.sendall(reply(length=1000))
    while True:
        conn.sendall(b"x")
        time.sleep(0.02)  # what a slow server is


def dripping_head(conn: socket.socket) -> None:
    conn.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        conn.sendall(b"X: y\r\n")
        time.sleep(0.02)


def silent(conn: socket.socket) -> None:
    conn.sendall(reply(b"x", length=1000))
    if not conn.recv(1):
        raise ConnectionResetError


@pytest.mark.parametrize("answer", [dripping, dripping_head, silent])
def test_the_deadline_holds(tmp_path: Path, serve: Serve, answer: Answer) -> None:
    web = serve({"/a": [answer]})
    began = time.monotonic()
    error = refused(web.url("/a?secret"), tmp_path, deadline_s=0.5)
    assert (error.code, "0.5 s" in error.message) == (Code.DOWNLOAD, True)
    assert time.monotonic() - began < 1.5


def test_silence_ends_a_download(tmp_path: Path, serve: Serve) -> None:
    web = serve({"/a": [silent]})
    error = refused(web.url("/a?secret"), tmp_path, read_s=0.3)
    assert (error.code, "nothing for 0.3 s" in error.message) == (Code.DOWNLOAD, True)


def test_a_server_that_never_shakes_hands(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        url = f"https://127.0.0.1:{door.getsockname()[1]}/secret"
        error = refused(url, tmp_path, connect_s=0.2, attempts=1)
    assert error.code is Code.DOWNLOAD


def test_a_resolver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10) and [])
    began = time.monotonic()
    error = refused("https://slow.test/secret", tmp_path, connect_s=0.2, attempts=1)
    over.set()
    assert error.code is Code.DOWNLOAD
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("answer", [dripping, dripping_head, silent, endless])
def test_a_cancel_in_the_middle(tmp_path: Path, serve: Serve, answer: Answer) -> None:
    web = serve({"/a": [answer], "/b": [answer]})

    def tick(done: int, total: int) -> None:
        if len(web.asked) == 2:
            raise TalkheadError(Code.CANCELLED, "the job was cancelled")

    places = Places(fetching=Fetching.model_validate(OPEN))
    wanted = {"video": Wanted(web.url("/a")), "audio": Wanted(web.url("/b"))}
    began = time.monotonic()
    with pytest.raises(TalkheadError, match="was cancelled"):
        fetch_all(wanted, tmp_path, places, tick)
    assert time.monotonic() - began < 2
    assert list(tmp_path.iterdir()) == []
    assert web.left.wait(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_progress_counts_bytes(tmp_path: Path, serve: Serve) -> None:
    seen = threading.Event()
    ticks: list[tuple[int, int]] = []

    def in_two(conn: socket.socket) -> None:
        conn.sendall(reply(bytes(1000), length=5000))
        assert seen.wait(10)
        conn.sendall(bytes(4000))

    def tick(done: int, total: int) -> None:
        ticks.append((done, total))
        if done == 1000:
            seen.set()

    web = serve({"/a": [in_two]})
    places = Places(fetching=Fetching.model_validate(OPEN))
    fetch_all({"video": Wanted(web.url("/a"))}, tmp_path, places, tick)
    assert (1000, 5000) in ticks
    assert ticks[-1] == (5000, 5000)


# Addresses


def test_a_private_host_is_refused_before_any_connect(tmp_path: Path, network: Network) -> None:
    error = refused("https://127.0.0.1/secret", tmp_path, private_hosts=())
    assert (error.code, network.connected) == (Code.INPUT, [])
    assert "https://127.0.0.1/…" in error.message


@pytest.mark.parametrize(
    "found", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1", "8.8.8.8"], ["fe80::1%eth0"]]
)
def test_one_bad_address_refuses_the_host(
    tmp_path: Path, network: Network, found: list[str]
) -> None:
    network.names["mixed.test"] = [found]
    assert refused("https://mixed.test/secret", tmp_path).code is Code.INPUT
    assert network.connected == []


def test_a_second_answer_is_never_asked_for(tmp_path: Path, serve: Serve, network: Network) -> None:
    """DNS rebinding: public when judged, this machine a moment later."""
    web = serve({"/a": [reply(b"x")]})
    network.names["rebind.test"] = [["8.8.8.8"], ["127.0.0.1"]]
    network.ways["8.8.8.8"] = "127.0.0.1"  # the server plays the public host
    assert get(web.url("/a", "rebind.test"), tmp_path, private_hosts=()) == b"x"
    assert (network.resolved, network.connected) == (["rebind.test"], ["8.8.8.8"])


def test_each_new_connection_is_judged_again(
    tmp_path: Path, serve: Serve, network: Network
) -> None:
    web = serve({"/a": [reply(status="503 Busy")], "/b": [moved("/c")]})
    network.ways["8.8.8.8"] = "127.0.0.1"
    for path in ("/a", "/b"):
        network.names["rebind.test"] = [["8.8.8.8"], ["127.0.0.1"]]
        error = refused(web.url(path, "rebind.test"), tmp_path, private_hosts=())
        assert (error.code, network.connected) == (Code.INPUT, ["8.8.8.8"])
        network.connected.clear()


def test_the_next_address_is_tried(tmp_path: Path, serve: Serve, network: Network) -> None:
    web = serve({"/a": [reply(b"x")]})
    network.names["two.test"] = [["8.8.8.8", "8.8.4.4"]]
    network.ways |= {"8.8.8.8": "127.9.9.9", "8.8.4.4": "127.0.0.1"}  # nobody is at the first
    assert get(web.url("/a", "two.test"), tmp_path, private_hosts=()) == b"x"
    assert network.connected == ["8.8.8.8", "8.8.4.4"]


def test_an_unknown_name_is_not_asked_for_again(tmp_path: Path, network: Network) -> None:
    error = refused("https://nowhere.test/secret", tmp_path)
    assert (error.code, network.resolved) == (Code.DOWNLOAD, ["nowhere.test"])


@pytest.mark.parametrize("entry", ["minio.test", "MinIO.test.", "minio.test:{port}"])
def test_listed_hosts_may_be_private(
    tmp_path: Path, serve: Serve, network: Network, entry: str
) -> None:
    web = serve({"/a": [reply(b"x")]})
    network.names["minio.test"] = [["127.0.0.1"]]
    hosts = (entry.format(port=web.port),)
    assert get(web.url("/a", "MINIO.test"), tmp_path, private_hosts=hosts) == b"x"


@pytest.mark.parametrize("entry", ["test", "other.test", "minio.test:1", "127.0.0.1", "*.test"])
def test_other_hosts_may_not(tmp_path: Path, network: Network, entry: str) -> None:
    network.names["minio.test"] = [["127.0.0.1"]]
    error = refused("http://minio.test/secret", tmp_path, private_hosts=(entry,))
    assert (error.code, network.connected) == (Code.INPUT, [])


# Certificates


def test_the_certificate_must_be_the_hosts(tmp_path: Path, serve: Serve, network: Network) -> None:
    tls, authority = certified(tmp_path, "cdn.test")
    web = serve({"/a": [reply(b"x")]}, tls)
    network.names |= {"cdn.test": [["8.8.8.8"]], "other.test": [["8.8.8.8"]]}
    network.ways["8.8.8.8"] = "127.0.0.1"
    assert get(web.url("/a", "cdn.test", "https"), tmp_path / "good", ca_bundle=authority) == b"x"
    into = tmp_path / "in"
    for host in ("other.test", "127.0.0.1"):
        error = refused(web.url("/secret", host, "https"), into, ca_bundle=authority)
        assert (error.code, "certificate" in error.message) == (Code.DOWNLOAD, True)
    assert web.asked == ["/a"]


def test_an_unknown_authority_is_not_trusted(tmp_path: Path, serve: Serve) -> None:
    tls, authority = certified(tmp_path, "127.0.0.1")
    web = serve({"/a": [reply(b"x")]}, tls)
    into = tmp_path / "in"
    error = refused(web.url("/a", scheme="https"), into)
    assert "certificate" in error.message
    assert "CA_BUNDLE" in error.hint
    assert get(web.url("/a", scheme="https"), into, ca_bundle=authority) == b"x"


def test_no_way_back_to_http(tmp_path: Path, serve: Serve) -> None:
    tls, authority = certified(tmp_path, "127.0.0.1")
    plain = serve({"/a": [reply(b"x")]})
    web = serve({"/a": [moved(plain.url("/a"))]}, tls)
    into = tmp_path / "in"
    error = refused(web.url("/a", scheme="https"), into, ca_bundle=authority)
    assert (error.code, plain.asked) == (Code.INPUT, [])


def test_bad_settings_are_named(tmp_path: Path) -> None:
    into = tmp_path / "in"
    into.mkdir()
    assert "PRIVATE_HOSTS" in refused("https://a.test/", into, private_hosts=("a b",)).hint
    for bundle in (tmp_path / "missing.pem", tmp_path):
        assert "CA_BUNDLE" in refused("https://a.test/", into, ca_bundle=bundle).hint


def test_logs_hold_no_secret(
    tmp_path: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    web = serve({"/a": [moved("/b?secret")], "/b": [reply(b"x")]})
    get(web.url("/a?secret"), tmp_path)
    assert "secret" not in caplog.text
