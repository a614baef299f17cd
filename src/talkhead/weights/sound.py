"""Whether a file can be what it is called, without reading all of it."""

import json
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LFS = b"version https://git-lfs"
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[a-z]+)$")

Shapes = Mapping[str, tuple[int, ...]]


def fault(
    path: Path, size: int | None = None, shapes: Shapes | None = None, *, called: str = ""
) -> str:
    """Return what is wrong with a file, empty where nothing shows.

    `size` is its exact length in bytes and `shapes` those of some tensors, where they are known;
    `called` is the name that it will have.
    """
    actual = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(64)
    if actual == 0 and size != 0:
        return "is empty: a placeholder of 0 bytes"
    if head.startswith(LFS):
        return "is a git-LFS pointer, not the file itself"
    if size is not None and actual != size:
        short = "is cut short" if actual < size else "is too long"
        return f"{short}: {actual} bytes, not {size}"
    return _form(path, Path(called or path.name).suffix.lower(), head, shapes or {})


def _form(path: Path, kind: str, head: bytes, shapes: Shapes) -> str:
    if kind not in (".safetensors", ".gguf", ".onnx", *PICKLES):
        return ""
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a web page, not weights"
    if kind == ".safetensors":
        return _safetensors(path, path.stat().st_size, shapes)
    if kind == ".gguf" and not head.startswith(b"GGUF"):
        return "does not begin as a GGUF file does"
    if kind in PICKLES and head.startswith(b"PK") and not zipfile.is_zipfile(path):
        return "is cut short: its table of contents, at the end, is missing"
    return ""


def header(path: Path) -> dict[str, Any]:
    """Return what a safetensors file says of each tensor; raises ValueError with what is wrong."""
    return _header(path)[0]


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return a header, and where the tensors begin."""
    actual = path.stat().st_size
    if actual < 8:
        raise ValueError("is cut short: no safetensors header")
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(LONGEST_HEADER, actual - 8):
            why = f"has a safetensors header of {length} bytes, which does not fit into the file"
            raise ValueError(why)
        text = file.read(length)
    try:
        found = json.loads(text)
        found.pop("__metadata__", None)
        for name, tensor in found.items():
            _end(name, tensor)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"has a damaged safetensors header ({error})") from error
    return found, 8 + length


def _safetensors(path: Path, actual: int, shapes: Shapes) -> str:
    try:
        found, begin = _header(path)
    except ValueError as error:
        return str(error)
    wanted = begin + max((_end(name, tensor) for name, tensor in found.items()), default=0)
    if actual != wanted:
        short = "is cut short" if actual < wanted else "is too long"
        return f"{short}: {actual} bytes, and its header speaks of {wanted}"
    return _shapes(found, shapes)


def _end(name: str, tensor: Mapping[str, Any]) -> int:
    start, end = tensor["data_offsets"]
    bits = BITS.get(tensor["dtype"])
    if not 0 <= start <= end:
        raise ValueError(f"tensor {name} has impossible offsets")
    if bits is not None and (end - start) * 8 != math.prod(tensor["shape"]) * bits:
        raise ValueError(f"tensor {name} has offsets that do not fit its shape")
    return int(end)


def _shapes(found: Mapping[str, Any], shapes: Shapes) -> str:
    for name, wanted in shapes.items():
        if name not in found:
            return f"has no tensor {name}"
        if (actual := tuple(found[name]["shape"])) != tuple(wanted):
            return f"tensor {name} has shape {list(actual)}, not {list(wanted)}"
    return ""


def missing_shards(paths: list[Path]) -> str:
    """Return which parts of a split file are not there, empty where all are."""
    for path in paths:
        if match := SHARD.fullmatch(path.name):
            stem, _, total, suffix = match.groups()
            names = {f"{stem}-{part:05d}-of-{total}{suffix}" for part in range(1, int(total) + 1)}
            if lost := names - {other.name for other in paths}:
                return f"parts are missing: {', '.join(sorted(lost)[:3])}"
    return ""
