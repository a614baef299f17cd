"""What comes back from an endpoint: files of a result, compared with what the result says of them.

A file is where the result says: at a link, in `data`, or in the answer's own shape, as the callers
of older systems have it.
"""

import base64
import binascii
import hashlib
import mimetypes
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from talkhead.errors import Code, TalkheadError
from talkhead.serve.client import Client

LONG = 100  # characters of text that may be a file
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be saved: the main files as `file` (file-2, …), and the thumbnail beside it."""

    file: Path
    force: bool = False
    thumbnail: bool = False
    loopback: bool = False  # the endpoint is on this machine: its paths are ours


def suffix_of(result: Mapping[str, Any]) -> str:
    """Return the ending that fits a result's main file."""
    mime = next((str(made.get("mime")) for made in mains(result)), "")
    known = {"video/mp4": ".mp4", "audio/wav": ".wav", "audio/x-wav": ".wav", "image/png": ".png"}
    return known.get(mime) or mimetypes.guess_extension(mime) or ".bin"


def mains(result: Mapping[str, Any]) -> list[Json]:
    """Return a result's files, those of a batch's items too, without thumbnails and streams."""
    return [made for made in _made(result) if made.get("kind") not in ("thumbnail", "stream")]


def _made(result: Mapping[str, Any]) -> Iterator[Json]:
    outputs, items = result.get("outputs"), result.get("items")
    yield from (made for made in outputs or () if isinstance(made, dict))
    for item in items or ():
        if isinstance(item, dict) and isinstance(item.get("result"), dict):
            yield from _made(item["result"])


def save(client: Client, answer: Any, result: Mapping[str, Any], wanted: Wanted) -> list[Path]:
    """Save a result's files, each whole or not at all; return them, the main one first.

    Raises E_INPUT_VALIDATION before anything is fetched where a file is there already.
    """
    targets = _targets(result, wanted)
    for target, _ in targets:
        if target.exists() and not wanted.force:
            raise TalkheadError(
                Code.INPUT, f"{target} exists already", "choose another -o, or add --force"
            )
    for target, made in targets:
        _fetch(client, answer, made, target, wanted)
    return [target for target, _ in targets]


def _targets(result: Mapping[str, Any], wanted: Wanted) -> list[tuple[Path, Json]]:
    file = wanted.file
    found = []
    for number, made in enumerate(mains(result), 1):
        name = file if number == 1 else file.with_name(f"{file.stem}-{number}{file.suffix}")
        found.append((name, made))
    if wanted.thumbnail:
        thumbnails = [made for made in _made(result) if made.get("kind") == "thumbnail"]
        found += [(file.with_name(f"{file.stem}.thumbnail.jpg"), made) for made in thumbnails[:1]]
    return found


def _fetch(client: Client, answer: Any, made: Json, target: Path, wanted: Wanted) -> None:
    link = str(made.get("url") or "")
    carried = made.get("data") or (link if link.startswith("data:") else None)
    if carried is None and not link:
        carried = _carried(answer, str(made.get("sha256")))
    if carried is not None:
        _write(_decoded(str(carried)), made, target)
    elif link.startswith("file:"):
        if not wanted.loopback:
            raise _unreachable(made, "the result is on the endpoint's own disk")
        _copy(Path(url2pathname(urlsplit(link).path)), made, target)
    elif link:
        size = made.get("bytes")
        digest = made.get("sha256")
        client.download(link, target, sha256=digest, size=size if isinstance(size, int) else None)
    else:
        raise _unreachable(made, "the result is in the endpoint's store, and no link came with it")


def _unreachable(made: Json, what: str) -> TalkheadError:
    return TalkheadError(
        Code.UNSUPPORTED,
        f"{what}: {made.get('key')}",
        "ask for output.url=signed, and have the operator use an s3 or supabase store",
    )


def _carried(answer: Any, sha256: str) -> str | None:
    """Return the text of an answer that is the file of this digest, as older systems send it."""
    for text in _texts(answer):
        if len(text) > LONG:
            try:
                content = _decoded(text)
            except TalkheadError:
                continue
            if hashlib.sha256(content).hexdigest() == sha256:
                return text
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _decoded(text: str) -> bytes:
    """Return the bytes of base64 text or of a data: URI."""
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise TalkheadError(
            Code.DOWNLOAD, "a file in the answer is broken base64", "ask for the job once more"
        ) from error


def _write(content: bytes, made: Json, target: Path) -> None:
    part = target.with_name(f".{target.name}.partial")
    _finish(part, made, target, lambda: part.write_bytes(content))


def _copy(source: Path, made: Json, target: Path) -> None:
    part = target.with_name(f".{target.name}.partial")
    _finish(part, made, target, lambda: shutil.copyfile(source, part))


def _finish(part: Path, made: Json, target: Path, fill: Any) -> None:
    """Fill a partial file, compare it, and give it its name."""
    try:
        fill()
        with part.open("rb") as held:
            digest = hashlib.file_digest(held, "sha256").hexdigest()
        sized = made.get("bytes") in (None, part.stat().st_size)
        if not sized or made.get("sha256") not in (None, digest):
            raise TalkheadError(
                Code.DOWNLOAD, "the file that came is not the one in the result", "fetch it again"
            )
        part.replace(target)
    except OSError as error:
        raise TalkheadError(
            Code.CAPACITY, f"cannot save {target.name}: {error.strerror}", "free some disk",
            retryable=False,
        ) from error  # fmt: skip
    finally:
        part.unlink(missing_ok=True)
