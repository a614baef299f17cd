"""Boxes of MP4 files (ISO/IEC 14496-12): written, and found inside one another."""

import struct
from collections.abc import Iterator

HEADER = 8  # bytes: size and name


def box(name: bytes, *content: bytes) -> bytes:
    """Return a box with this name of four letters."""
    body = b"".join(content)
    return struct.pack(">I4s", HEADER + len(body), name) + body


def full_box(name: bytes, version: int, flags: int, *content: bytes) -> bytes:
    """Return a box that begins with a version and 24 bits of flags."""
    return box(name, struct.pack(">I", version << 24 | flags), *content)


def children(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each box in data; ValueError where they do not fill it."""
    at = 0
    while at < len(data):
        if at + HEADER > len(data):
            raise ValueError("a box is cut off")
        size, name = struct.unpack_from(">I4s", data, at)
        if size < HEADER or at + size > len(data):
            raise ValueError(f"box {name!r} does not fit")
        yield name, data[at + HEADER : at + size]
        at += size


def inside(data: bytes, *path: bytes) -> bytes:
    """Return the content of the first box along a path of names; ValueError where there is none."""
    for name in path:
        found = next((content for held, content in children(data) if held == name), None)
        if found is None:
            raise ValueError(f"there is no box {name!r}")
        data = found
    return data
