"""What a key may be, for every store."""

import re
import unicodedata

from talkhead.errors import Code, TalkheadError

LONGEST = 1024  # bytes, by S3's rule
PART = 128  # characters of a part that `safe_part` makes
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def check_key(key: str) -> str:
    """Return key, or raise E_INPUT_VALIDATION for what is not a plain relative name."""
    problem = _problem(key)
    if problem:
        raise TalkheadError(Code.INPUT, f"{key[:80]!r} is not a key: {problem}", "use a/b/name.mp4")
    return key


def safe_part(text: str) -> str:
    """Return text as one part of a key that every service takes: ASCII, 1 to 128 characters."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return _UNSAFE.sub("-", plain)[:PART].strip("-.") or "file"


def _problem(key: str) -> str:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        return "not valid Unicode"
    if size > LONGEST:
        return f"over {LONGEST} bytes"
    if "\\" in key or any(unicodedata.category(letter) == "Cc" for letter in key):
        return "a backslash or control character"
    if any(part in {"", ".", ".."} for part in key.split("/")):
        return "empty, absolute, or with a part that is empty, . or .."
    return ""
