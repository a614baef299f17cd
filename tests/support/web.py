"""A web server that does exactly as it is told, a resolver that lies, and a record of connects."""

import _socket
import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = bytes | Callable[[socket.socket], None]


def reply(
    body: bytes = b"", status: str = "200 OK", length: int | None = -1, **headers: str
) -> bytes:
    """Return a whole answer; length -1 is the true one, None leaves it out."""
    lines = [f"HTTP/1.1 {status}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def moved(location: str, status: str = "302 Found") -> bytes:
    return reply(status=status, Location=location, Set_Cookie="taste=secret")


class Web:
    """Answers each path by its list, one answer after the other; the last one repeats."""

    def __init__(self, answers: Mapping[str, Sequence[Answer]], tls: ssl.SSLContext | None = None):
        self.answers = {path: list(them) for path, them in answers.items()}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.closed = threading.Event()  # the server goes away
        self.left = threading.Event()  # a client went away in the middle of an answer
        self._tls = tls
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="web")]
        self._threads[0].start()

    def url(self, path: str, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def close(self) -> None:
        self.closed.set()
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self._door.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(conn,), name="web")
            self._threads.append(thread)
            thread.start()

    def _serve(self, conn: socket.socket) -> None:
        with conn:
            try:
                conn.settimeout(10)
                if self._tls is not None:
                    conn = self._tls.wrap_socket(conn, server_side=True)
                with conn:
                    self._answer(conn)
            except OSError:
                self.left.set()

    def _answer(self, conn: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            more = conn.recv(65536)
            if not more:
                return
            head += more
        path = head.split(b" ", 2)[1].decode()
        self.asked.append(path)
        self.heads.append(head)
        them = self.answers.get(path.partition("?")[0], [reply(status="404 Not Found")])
        answer = them.pop(0) if len(them) > 1 else them[0]
        if callable(answer):
            answer(conn)
        else:
            conn.sendall(answer)


@dataclass
class Network:
    """What the process was told about names, and where it then went."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)  # name: answers in turn
    ways: dict[str, str] = field(default_factory=dict)  # a public address played by another
    resolved: list[str] = field(default_factory=list)
    connected: list[str] = field(default_factory=list)


@contextlib.contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Record every look-up and every connect of this process; names come from a table."""
    network = Network()

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        network.resolved.append(host)
        answers = network.names.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, 1, 6, "", (ip, port)) for ip in found
        ]

    def way(address: object) -> object:
        if not isinstance(address, tuple):
            return address  # a Unix socket
        network.connected.append(str(address[0]))
        return (network.ways.get(str(address[0]), address[0]), *address[1:])

    def connect(self: socket.socket, address: object) -> None:
        _socket.socket.connect(self, way(address))

    def connect_ex(self: socket.socket, address: object) -> int:
        return _socket.socket.connect_ex(self, way(address))

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        yield network


def certified(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context for names or addresses, and its own authority's PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)

    def kind(name: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    certificate = (
        x509.CertificateBuilder()
        .subject_name(authority)
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([kind(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context, pem
