"""Values of older payloads to canonical ones. Each converter raises UnfitError."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

# References that say themselves where they lead.
SCHEMES = ("https:", "http:", "data:", "store:", "volume:", "library:")
# Where RunPod mounts a network volume: in a worker, and in a pod.
MOUNTS = ("/runpod-volume/", "/workspace/")
LONGEST_PATH = 4096
LONGEST_SLUG = 128
LONGEST_NUMBER = 40


class UnfitError(ValueError):
    """A value that its key cannot have. The message never holds the value."""


def text(value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise UnfitError("has to be text")
    return value


def number(value: Any) -> float:
    """Return a finite number, also from text, as the older handlers did."""
    if isinstance(value, str) and len(value) <= LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitError("has to be a number")
    if not abs(value) <= 1e12:  # also NaN
        raise UnfitError("is not a number of a sensible size")
    return value


def whole(value: Any) -> int:
    """Return a whole number, also from 8.0 or "8"."""
    found = number(value)
    if not math.isfinite(found) or found != int(found):
        raise UnfitError("has to be a whole number")
    return int(found)


def seed(value: Any) -> int:
    """Return a seed: -1 (random) and what fits 63 bits stay, others are taken modulo 2**32."""
    if isinstance(value, str) and re.fullmatch(rf"[+-]?[0-9]{{1,{LONGEST_NUMBER}}}", value):
        value = int(value)
    if isinstance(value, float) and abs(value) < 2**53 and value == int(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise UnfitError("has to be a whole number; -1 is random")
    return value if -1 <= value < 2**63 else value % 2**32


def flag(value: Any) -> bool:
    """Return true or false, also from 0, 1 and their words."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, str) and value.strip().lower() in words:
        return words[value.strip().lower()]
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise UnfitError("has to be true or false")


def choice(table: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Return a converter of the words of table."""

    def convert(value: Any) -> Any:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in table:
            raise UnfitError(f"has to be one of {', '.join(table)}")
        return table[word]

    return convert


def has_scheme(ref: str) -> bool:
    """Return whether ref says itself where it leads."""
    return ref[:8].lower().startswith(SCHEMES)


def url(value: Any) -> str:
    """Return a URL or any other reference as it is."""
    return _reference(value)


def _reference(value: Any) -> str:
    ref = text(value).strip()
    if not ref:
        raise UnfitError("is empty")
    if len(ref) > LONGEST_PATH and not has_scheme(ref):  # fetching has the limits of those
        raise UnfitError("is too long for a URL or a path; send base64 as a data: URI")
    return ref


def under(scheme: str) -> Callable[[Any], str]:
    """Return a converter of bare names to references such as `library:NAME`."""

    def convert(value: Any) -> str:
        ref = _reference(value)
        return ref if has_scheme(ref) else f"{scheme}:{ref}"

    return convert


library = under("library")
store = under("store")


def volume(value: Any) -> str:
    """Return a path as `volume:PATH`, below the mount where it names one; references stay."""
    ref = _reference(value)
    if has_scheme(ref):
        return ref
    mount = next((mount for mount in MOUNTS if ref.startswith(mount)), "")
    return f"volume:{ref.removeprefix(mount)}"


def base64(value: Any) -> str:
    """Return raw base64 as a data: URI; data: URIs and other references stay."""
    ref = text(value).strip()
    if not ref:
        raise UnfitError("is empty")
    if has_scheme(ref):
        return ref
    # what the file is gets decided by its bytes; line breaks are legal in base64
    return f"data:application/octet-stream;base64,{''.join(ref.split())}"


def slug(value: Any) -> str:
    """Return text or a whole number as one part of a key: letters, digits, '.', '_' and '-'.

    Text that is one already stays; any other gets a few hex digits of its own at the end, so that
    different texts stay different.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        value = str(value)
    word = text(value)
    if not word.strip():
        raise UnfitError("is empty")
    if ".." in re.split(r"[/\\]", word):
        raise UnfitError("may not hold '..'")
    plain = unicodedata.normalize("NFKD", word[:LONGEST_SLUG]).encode("ascii", "ignore").decode()
    clean = re.sub(r"[^A-Za-z0-9._\-]+", "-", plain).lstrip("-._").rstrip("-.")[:LONGEST_SLUG]
    if clean == word:
        return clean
    own = hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean[: LONGEST_SLUG - 9]}-{own}".lstrip("-")


def prefix(value: Any) -> str:
    """Return a path of key parts, each as `slug` makes it."""
    parts = [part for part in text(value).split("/") if part.strip(" ")]
    if len(parts) > 8:
        raise UnfitError("has more than 8 parts")
    return "/".join(slug(part) for part in parts)


def file_name(value: Any) -> str:
    """Return the last part of a path, without its suffix, as one part of a key."""
    ref = text(value)
    if ".." in ref.replace("\\", "/").split("/"):
        raise UnfitError("may not hold '..'")
    return slug(re.sub(r"\.[A-Za-z0-9]{1,4}$", "", re.split(r"[/\\]", ref)[-1]))


def box(value: Any) -> list[float]:
    """Return x0, y0, x1, y1."""
    if not isinstance(value, list | tuple) or len(value) != 4:
        raise UnfitError("has to be four numbers: x0, y0, x1, y1")
    return [number(side) for side in value]


def offload(value: Any) -> str:
    """Return where a model's blocks wait, from a switch that forces them off the device."""
    return "block" if flag(value) else "none"
