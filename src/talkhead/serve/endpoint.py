"""Which endpoint a command speaks to, and which key it shows there."""

import ipaddress
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from talkhead import settings
from talkhead.errors import Code, TalkheadError
from talkhead.serve.client import Client
from talkhead.settings import Settings

RUNPOD = "https://api.runpod.ai"
CALL_S = 40.0  # that one call is tried: a full queue of our server asks for 30


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address, what it is shown, and how long it may be away while a job is watched."""

    url: str
    key: SecretStr | None
    patience_s: float

    def open(self, on_wait: Callable[[float, TalkheadError], None] | None = None) -> Client:
        """Return a client of it."""
        token = self.key.get_secret_value() if self.key else None
        return Client(self.url, token, patience_s=CALL_S, on_wait=on_wait)

    @property
    def loopback(self) -> bool:
        """Return whether it is on this very machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def command(self, job_id: str, *more: object) -> str:
        """Return the command that watches a job on; the key is not in it."""
        words = ["talkhead", "submit", "--watch", job_id, "--endpoint", self.url, *map(str, more)]
        return shlex.join(words)


def chosen(url: str | None, key: str | None, found: Settings) -> Endpoint:
    """Return the endpoint of a command line: its words, else the settings.

    The settings' key belongs to the settings' address, where they have one, and RUNPOD_API_KEY to
    RunPod's own host: neither is shown to another.
    """
    own = found.endpoint
    address = (url or own.url or "").rstrip("/")
    if not address:
        raise TalkheadError(
            Code.INPUT,
            "no endpoint was given",
            "name it on the command line (`submit --endpoint URL`, `smoke URL`) or by "
            "TALKHEAD_ENDPOINT__URL: https://api.runpod.ai/v2/ID, or a server's address",
        )
    origin = _origin(address)
    secret = SecretStr(key) if key else None
    if secret is None and own.key and (not own.url or _origin(own.url) == origin):
        secret = own.key
    if secret is None and origin == RUNPOD:
        secret = settings.runpod_key()
    if secret is None and origin == RUNPOD:
        raise TalkheadError(
            Code.INPUT, "RunPod wants a key", "set TALKHEAD_ENDPOINT__KEY or RUNPOD_API_KEY"
        )
    if secret is not None and not _printable(secret.get_secret_value()):
        raise TalkheadError(Code.INPUT, "the key holds characters of no key", "copy it once more")
    return Endpoint(address, secret, own.patience_s)


def _printable(key: str) -> bool:
    return key.isascii() and key.isprintable() and " " not in key


def _origin(url: str) -> str:
    """Return scheme, host and port of an address, or raise what is wrong with it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    else:
        if parts.scheme in ("http", "https") and host and not (parts.username or parts.query):
            usual = {"http": 80, "https": 443}[parts.scheme]
            return f"{parts.scheme}://{host}" + (f":{port}" if port not in (None, usual) else "")
    raise TalkheadError(
        Code.INPUT,
        "the endpoint's address is not a plain URL",
        "write it as https://api.runpod.ai/v2/ID or http://127.0.0.1:8000, without a key in it",
    )
