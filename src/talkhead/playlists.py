"""Playlists of streams (HLS, RFC 8216): their text, and their way into a store.

    <job>/stream/index.m3u8        the playlist, written again with every part
                 init-DIGEST.mp4   what a player needs first
                 part-NNNNN-DIGEST.m4s

A name holds a digest of the file's bytes, so that what a cache has kept is never the wrong file,
and a run that goes on with a job sees which parts are there. The playlist says the names alone
where URLs need no signature, and signed URLs elsewhere; those are made anew each time.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote, urlsplit

from talkhead.stores import Link, Shelf, Store
from talkhead.stores.mimes import mime_of

PLAYLIST = "stream/index.m3u8"
NAME = re.compile(r"(init-[0-9a-f]{8}\.mp4|part-\d{5,}-[0-9a-f]{8}\.m4s)")
TICK = 1_000_000  # of the second, to which lengths are told
_MAP = re.compile(r'(?<=^#EXT-X-MAP:URI=")[^"]*')


@dataclass(frozen=True, slots=True)
class Published:
    """A playlist as it was stored."""

    link: Link
    bytes: int
    sha256: str


def written(names: Sequence[str], lengths: Sequence[Fraction], *, ended: bool) -> str:
    """Return a playlist of the init segment and the parts after it.

    `lengths` are seconds of every part that is planned, so that the longest is told from the
    first part on. Their sum is exact to the microsecond, however many there are.
    """
    init, *parts = names
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        f"#EXT-X-TARGETDURATION:{math.ceil(max(lengths))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0,PRECISE=YES",  # or a player begins near the newest part
        f'#EXT-X-MAP:URI="{init}"',
    ]
    for name, length in zip(parts, _decimal(lengths), strict=False):
        lines += [f"#EXTINF:{length},", name]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def names(text: str) -> list[str]:
    """Return the names of a playlist's files, the init segment's first; of any other text none."""
    found = [unquote(urlsplit(uri).path).rpartition("/")[2] for uri in _uris(text)]
    return found if found and all(NAME.fullmatch(name) for name in found) else []


def publish(
    text: str, key: str, shelf: Shelf, url: str, expires_s: int, scratch: Path
) -> Published:
    """Store a playlist whose files are stored already; return its own link.

    `url` is a kind of URL that the store offers; `scratch` is a folder to write in.
    """
    home = key.rpartition("/")[0]
    keys = [f"{home}/{name}" for name in names(text)]
    if shelf.store.link(keys[0], url, expires_s).expires_at is not None:
        links = shelf.store.links(keys, url, expires_s)
        text = _addressed(text, (link.url for link in links))
    file, content = scratch / ".index.m3u8", text.encode()
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        file.write_bytes(content)
        shelf.store.put(file, key, mime=mime_of(key), sha256=sha256)
    finally:
        file.unlink(missing_ok=True)
    return Published(shelf.store.link(key, url, expires_s), len(content), sha256)


def stored(store: Store, key: str) -> str:
    """Return the playlist under a key; an empty text where there is none."""
    return (store.read(key) or b"").decode(errors="replace")


def delete(store: Store, key: str) -> None:
    """Delete a stream: all that its playlist names, and the playlist."""
    home = key.rpartition("/")[0]
    for name in names(stored(store, key)):
        store.delete(f"{home}/{name}")
    store.delete(key)


def _decimal(lengths: Iterable[Fraction]) -> Iterator[str]:
    """Yield lengths as text; what rounding takes from one it gives to the next."""
    end, told = Fraction(0), 0
    for length in lengths:
        end += length
        ticks = round(end * TICK) - told
        told += ticks
        yield f"{ticks // TICK}.{ticks % TICK:06d}"


def _uris(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if found := _MAP.search(line):
            yield found[0]
        elif line and not line.startswith("#"):
            yield line


def _addressed(text: str, uris: Iterator[str]) -> str:
    """Return a playlist with other URIs, in the order of the old ones."""
    lines = []
    for line in text.splitlines():
        if _MAP.search(line):
            lines.append(f'#EXT-X-MAP:URI="{next(uris)}"')
        else:
            lines.append(line if line.startswith("#") else next(uris))
    return "\n".join([*lines, ""])
