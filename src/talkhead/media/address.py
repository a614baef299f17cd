"""Where a URL leads: its host as written, and whether an address is one of the public network."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from talkhead.errors import Code, TalkheadError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Entry = tuple[str, int | None]  # of the operator's list: a host, and its port or any

# Everything of IANA's special-purpose registries that is not one machine on the public network.
# Written out, as the standard library's `is_global` differs between Python releases.
NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # behind a carrier's NAT; Alibaba's metadata
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # Azure's own services, reached from the inside only
        "169.254.0.0/16",  # link-local; the clouds' metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
# Only this eighth of IPv6 is in use for the public network. All else goes: loopback, IPv4-mapped
# and IPv4-compatible, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), fc00::/7, fe80::/10, fec0::/10, ff00::.
PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 wraps any IPv4 address
        "3fff::/20",  # documentation
    )
)

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What a path and a query may hold as it is; anything else is percent-encoded as UTF-8.
_PLAIN = "%/:?@!$&'()*+,;=-._~[]|^`{}\"<>"
LONGEST = 8192  # characters of a URL; signed ones have about 2000


@dataclass(frozen=True, slots=True)
class Url:
    """The parts of a URL that a connection needs, all checked. Its text is not for messages."""

    scheme: str  # http or https
    host: str  # a lower-case ASCII name, or an address without brackets
    port: int
    target: str  # path and query, percent-encoded

    @property
    def authority(self) -> str:
        """Return the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _own_port(self.scheme) else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """Return what messages may say."""
        return f"{self.scheme}://{printable(self.authority)}/…"

    def joined(self, location: str) -> str:
        """Return the absolute form of a redirect's Location; ValueError where it has none."""
        _plain(location)  # joining would drop some of what is refused
        return urljoin(f"{self.scheme}://{self.authority}{self.target}", location)


def is_public(ip: IP) -> bool:
    """Return whether an address is one machine on the public network, and no tunnel to another."""
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in NOT_PUBLIC_4)
    if ip.scope_id is not None:
        return False
    return ip in PUBLIC_6 and not any(ip in network for network in NOT_PUBLIC_6)


def as_ip(host: str) -> IP | None:
    """Return the address that a host is written as, or None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def parse_url(text: str) -> Url:
    """Return the parts of an http: or https: URL; E_INPUT_VALIDATION for any doubtful form.

    Refused are user names and passwords, control characters, blanks, backslashes, and numbers
    that only some readers take for an address (2130706433, 0x7f.1, 127.1, 0177.0.0.1).
    """
    if len(text) > LONGEST:
        raise refused(f"a URL of {len(text)} characters", "give a shorter one")
    _plain(text)
    scheme, mark, rest = text.partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in ("http", "https"):
        raise refused("not a URL", "write https://host/path")
    authority, target = _split(rest)
    if "@" in authority:
        raise refused("a URL with a user name or password", "use a signed URL")
    host, port = _host_and_port(authority)
    return Url(scheme, host, port or _own_port(scheme), target)


def parse_entry(text: str) -> Entry:
    """Return a host of the operator's list, as host, host:port, address or [address]:port."""
    if ip := as_ip(text):
        return str(ip), None
    return _host_and_port(text)


def is_listed(url: Url, entries: Sequence[Entry]) -> bool:
    """Return whether the operator lets this host be private."""
    return (url.host, None) in entries or (url.host, url.port) in entries


def shown(ref: str) -> str:
    """Return what logs and errors may say of a reference: no path or query of a URL, no data."""
    text = ref[:1000].strip()  # it may be a file of many megabytes
    if text.lower().startswith("data:"):
        return "data:…"
    if text.lower().startswith(("http:", "https:")) or "://" in text:
        scheme, mark, rest = text.partition("://")
        if not mark or not _SCHEME.fullmatch(scheme):
            return f"{printable(scheme.partition(':')[0], 20)}:…"
        host = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2]
        return f"{scheme.lower()}://{printable(host)}/…"
    return printable(ref)


def printable(text: str, longest: int = 100) -> str:
    """Return text without control characters, cut to `longest`."""
    safe = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: longest + 1]
    )
    return safe if len(safe) <= longest else f"{safe[: longest - 1]}…"


def refused(message: str, hint: str) -> TalkheadError:
    """Return E_INPUT_VALIDATION for a reference that can never work."""
    return TalkheadError(Code.INPUT, message, hint)


def _plain(text: str) -> None:
    if any(not c.isprintable() or c in " \\" for c in text):
        raise refused("a URL with blanks, backslashes or control characters", "encode them as %20")


def _split(rest: str) -> tuple[str, str]:
    """Return the authority, and the path with its query; a fragment stays with the caller."""
    found = re.search(r"[/?#]", rest)
    cut = found.start() if found else len(rest)
    target = rest[cut:].partition("#")[0]
    target = quote(_ESCAPE.sub("%25", target), safe=_PLAIN)
    return rest[:cut], target if target.startswith("/") else f"/{target}"


def _host_and_port(authority: str) -> Entry:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise refused("a URL with a broken host", "write [address]:port")
        return _address_6(host), _port(tail[1:]) if tail else None
    host, colon, port = authority.partition(":")
    return _name(host), _port(port) if colon else None


def _address_6(text: str) -> str:
    ip = as_ip(text)
    if not isinstance(ip, ipaddress.IPv6Address) or ip.scope_id is not None:
        raise refused("a URL with a broken host", "write [address]:port, without a zone")
    return str(ip)


def _name(text: str) -> str:
    """Return a host name in lower-case ASCII, or a plain IPv4 address."""
    host = text if text.isascii() else _ascii(text)
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise refused(f"{printable(text)!r} is no host", "write https://host/path")
    if _NUMBER.fullmatch(labels[-1]) and as_ip(host) is None:
        raise refused(f"{printable(text)!r} is no address", "write four plain numbers, or a name")
    return host


def _ascii(text: str) -> str:
    import idna  # noqa: PLC0415 (large tables, and nearly every host is ASCII)

    try:
        return idna.encode(text, uts46=True).decode()
    except UnicodeError:  # idna's own errors are UnicodeErrors too
        raise refused(f"{printable(text)!r} is no host", "write https://host/path") from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise refused("a URL with a broken port", "write https://host:port/path")
    return int(text)


def _own_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
