"""Take secrets out of text that people read: logs, and the messages of errors.

Every pattern here is linear in the length of the text: what may repeat without limit is possessive
and starts at a fixed word or at the beginning of its run, so that no part is scanned twice.
"""

import base64
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, SecretStr

HIDDEN = "[redacted]"
MIN_SECRET = 6  # characters; anything shorter is found in innocent words
MAX_DEPTH = 12
MAX_ITEMS = 200
MAX_TEXT = 32_000  # characters of one string
_LONG = 200  # characters of base64 without a break

_SECRET_NAME = re.compile(
    r"secret|token|passw|credential|authorization|signature|cookie|(?:api|access|service)_?key",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(
    r"SECRET|TOKEN|PASSW|CREDENTIAL|SERVICE_?(?:KEY|ROLE)|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY"
    r"|(?:^|_)(?:KEYS?|PASS)(?:_|$)",
    re.IGNORECASE,
)

_DATA = re.compile(
    r"data:([^\s\"'<>,;]{0,100}+)([^\s\"'<>,]{0,200}+),([^\s\"'<>]*+)", re.IGNORECASE
)
_URL = re.compile(r"(:\\{0,4}/\\{0,4}/)([^\s\"<>]*+)")
_QUOTED_URL = re.compile(r"(%(?:25){0,4}3A%(?:25){0,4}2F%(?:25){0,4}2F)[^\s\"<>]*+", re.IGNORECASE)
_PAIR = re.compile(
    r"((?:token|signature|\bsig|secret|passwo?r?d|credential|api_?key|access_?key(?:_?id)?)"
    r"\\{0,4}[\"']?[=:]\\{0,4}[\"']?)[^\s&\"',;)}\]]++",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:authorization|cookie)\\{0,4}[\"']?[ \t]{0,4}[:=][ \t]{0,4}\\{0,4}[\"']?)[^\r\n\"']*+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(bearer(?:[ \t]|%20|\+){1,8}+)[\w.~+/=\-]*+", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w\-]*+(?:\.[\w\-]*+){0,2}+")
_SHOWN = re.compile(r"(input_value=)[^\r\n]*+")  # pydantic cuts it in the middle, secrets too
_RUN = re.compile(
    r"(?<![\w+/\-])[A-Za-z0-9+/_=\-]{60,}+(?:(?:[\r\n]|\\[nr]){1,4}+[A-Za-z0-9+/_=\-]{40,}+)*+"
)


class Redactor:
    """Takes known secrets, and whatever looks like one, out of text and of nested values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def text(self, text: str) -> str:
        """Return text without secrets; time is linear in its length."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        text = _SHOWN.sub(r"\1…", text)
        text = _DATA.sub(_short_data, text)
        text = _URL.sub(_short_url, text)
        text = _QUOTED_URL.sub(r"\1…", text)
        text = _HEADER.sub(rf"\1{HIDDEN}", text)
        text = _BEARER.sub(rf"\1{HIDDEN}", text)
        text = _JWT.sub(_short_jwt, text)
        text = _PAIR.sub(rf"\1{HIDDEN}", text)
        return _RUN.sub(_short_run, text)

    def value(self, value: object, depth: int = 0) -> object:
        """Return value as JSON can hold it, without secrets, shortened where it is huge."""
        match value:
            case None | bool() | int() | float():
                return _number(value)
            case str():
                return _cut(self.text(str(value)))
            case bytes() | bytearray() | memoryview():
                return f"{len(value)} bytes"
            case SecretStr():
                return HIDDEN
        return self._nested(value, depth + 1) if depth < MAX_DEPTH else "…"

    def _nested(self, value: object, depth: int) -> object:
        if isinstance(value, BaseModel):
            value = dict(value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            some = list(value.items())[:MAX_ITEMS]
            return {self._key(key): self._member(key, held, depth) for key, held in some}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth) for item in list(value)[:MAX_ITEMS]]
        return _cut(self.text(_spoken(value)))

    def _key(self, key: object) -> str:
        return _cut(self.text(_spoken(key)))

    def _member(self, key: object, held: object, depth: int) -> object:
        # a text or number under such a name is hidden; a structure is walked as any other
        if isinstance(key, str) and _SECRET_NAME.search(key) and isinstance(held, str):
            return HIDDEN if held else held
        return self.value(held, depth)


def secret_name(name: str) -> bool:
    """Return whether an environment variable of this name is likely to hold a secret."""
    return _SECRET_VARIABLE.search(name) is not None


def secrets_in(value: object) -> frozenset[str]:
    """Return every SecretStr inside a model, mapping or sequence."""
    if isinstance(value, SecretStr):
        return frozenset({value.get_secret_value()})
    if isinstance(value, BaseModel):
        value = dict(value)
    held: Iterable[object] = ()
    if isinstance(value, Mapping):
        held = value.values()
    elif isinstance(value, list | tuple):
        held = value
    return frozenset().union(*(secrets_in(item) for item in held))


def _forms(secret: str) -> set[str]:
    """Return the ways in which a secret may be written."""
    secret = secret.strip()
    if len(secret) < MIN_SECRET:
        return set()
    forms = {secret, repr(secret)[1:-1]}
    forms |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    forms |= {form.replace("/", "\\/") for form in forms}
    raw = secret.encode("utf-8", "replace")
    for written in (quote(raw), quote(raw, safe=""), quote_plus(raw)):
        forms |= {written, re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), written)}
    if len(raw) >= 12:
        forms |= _base64_forms(raw)
    if "\n" in secret:  # such as a PEM key, of which a traceback may show one line
        forms |= {line.strip() for line in secret.splitlines() if len(line.strip()) >= 16}
    return forms


def _base64_forms(raw: bytes) -> set[str]:
    """Return what base64 makes of raw wherever it lies inside longer data."""
    forms: set[str] = set()
    for before in range(3):
        # characters that also depend on the neighbours are left out
        whole = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        sure = whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        forms |= {sure, sure.replace("+", "-").replace("/", "_")}
    return forms


def _short_data(found: re.Match[str]) -> str:
    if not found[3]:  # the word "data:" in a sentence
        return found[0]
    coded = found[2].lower().endswith("base64")
    size = len(found[3]) * 3 // 4 if coded else len(found[3])
    return f"data:{found[1]};…({_size(size)})"


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _short_url(found: re.Match[str]) -> str:
    rest = found[2]
    cut = re.search(r"[?#]|%3F|%23|\\u003f|\\u0023", rest, re.IGNORECASE)
    plain = rest[: cut.start()] if cut else rest
    authority, slash, path = plain.partition("/")
    host = authority.rpartition("@")[2].rpartition("%40")[2]
    if "@" in path and cut is None:  # a password with a slash in it moves the real host there
        return f"{found[1]}…"
    return f"{found[1]}{host}/…" if cut else f"{found[1]}{host}{slash}{path}"


def _short_jwt(found: re.Match[str]) -> str:
    return HIDDEN if "." in found[0] and len(found[0]) > 20 else found[0]


def _short_run(found: re.Match[str]) -> str:
    if len(found[0]) <= _LONG:
        return found[0]
    return f"{found[0][:8]}…({len(found[0])} characters)"


def _number(value: float | None) -> object:
    # json and str refuse an integer of more than 4300 digits, and JSON knows no NaN
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"an integer of {value.bit_length()} bits"
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cut(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}…({len(text) - MAX_TEXT} characters more)…{text[-half:]}"


def _spoken(value: object) -> str:
    """Return what str makes of a value, whatever its own code does."""
    if isinstance(value, str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    try:
        said = str(value)
    except Exception as error:  # noqa: BLE001 (a stranger's __str__ must not end a job)
        return f"<{type(value).__name__}: {type(error).__name__} in str()>"
    return f"{type(value).__name__}: {said}" if isinstance(value, BaseException) else said
