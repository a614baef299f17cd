"""References to local files. What a reference may reach is set by the operator, not the request."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath

from talkhead.errors import Code, TalkheadError

MAX_DATA_BYTES = 32 * 2**20
SCHEMES = ("https:", "http:", "data:", "store:", "volume:", "library:")


@dataclass(frozen=True, slots=True)
class Places:
    """Where references may lead."""

    local_paths: bool = False
    library: Path | None = None
    volumes: Sequence[Path] = ()


def fetch(ref: str, into: Path, field: str, places: Places) -> Path:
    """Return a local file for ref; what has to be written goes into the folder `into`.

    Raises E_INPUT_VALIDATION naming field, or E_UNSUPPORTED for a scheme that is not served here.
    """
    scheme, _, rest = ref.partition(":")
    if scheme == "data":
        return _data(rest, into, field)
    if scheme == "library":
        roots = [places.library] if places.library else []
        return _under([*roots, Path(str(files("talkhead.assets")))], rest, ref, field)
    if scheme == "volume":
        return _under(places.volumes, rest, ref, field)
    if ref.startswith(SCHEMES):
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"{field}: this version does not fetch {scheme}: references",
            "download the file and give its path",
            fields=[field],
        )
    if not places.local_paths:
        raise _bad(field, "not a reference", f"use one of {', '.join(SCHEMES)}")
    return _readable(Path(ref).expanduser(), ref, field)


def _data(rest: str, into: Path, field: str) -> Path:
    head, comma, body = rest.partition(",")
    if not comma or not head.endswith(";base64"):
        raise _bad(field, "not a base64 data: URI", "data:image/png;base64,....")
    if len(body) > MAX_DATA_BYTES * 4 // 3 + 4:
        raise _bad(field, f"data: URI over {MAX_DATA_BYTES >> 20} MB", "send a URL or a path")
    try:
        content = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(field, "broken base64 in a data: URI", "encode the file again") from error
    into.mkdir(parents=True, exist_ok=True)
    path = into / f"{field.replace('.', '-')}.bin"
    path.write_bytes(content)
    return path


def _under(roots: Sequence[Path], name: str, ref: str, field: str) -> Path:
    """Return the file called name below one of roots; links may not lead out."""
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise _bad(field, f"{ref!r} does not stay inside its folder", "use a plain relative name")
    for root in roots:
        path = (root / relative).resolve()
        if path.is_file() and path.is_relative_to(root.resolve()):
            return path
    raise _bad(field, f"{ref!r} was not found", "check the name and the operator's folders")


def _readable(path: Path, ref: str, field: str) -> Path:
    if len(ref) > 4096 or "\0" in ref:
        raise _bad(field, "not a path", "give the path of a file")
    if path.is_dir():
        raise _bad(field, f"{ref} is a folder", "give one file")
    if not path.exists():
        raise _bad(field, f"no such file: {ref}", "check the path")
    if not path.is_file():
        raise _bad(field, f"{ref} is not a regular file", "give a file on disk")
    try:
        path.open("rb").close()
    except OSError as error:
        raise _bad(
            field, f"cannot read {ref}: {error.strerror}", "check its permissions"
        ) from error
    return path


def _bad(field: str, message: str, hint: str) -> TalkheadError:
    return TalkheadError(Code.INPUT, f"{field}: {message}", hint, fields=[field])
