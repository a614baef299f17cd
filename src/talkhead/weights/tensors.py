"""Tensors of a pickle or a safetensors file, one at a time, and a safetensors file of them.

Neither side is ever in memory whole: a pickle is mapped where its form allows it, and the writer
holds one tensor, of one that changes its type a piece. Needs torch, which it alone imports.
"""

import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from talkhead.errors import Code, TalkheadError
from talkhead.weights.sound import BITS

PIECE = 2**22  # elements
INSIDE = ("state_dict", "model")  # where training scripts put the weights in a checkpoint
TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
FLOATS = ("F64", "F32", "F16", "BF16")  # fp8 has scales beside it, and stays
WANTED = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Count = Callable[[int], None]  # bytes written; raises to stop


@dataclass(frozen=True, slots=True)
class Tensors:
    """What is in a file: shapes and types at once, each tensor when it is asked for."""

    path: Path
    shapes: Mapping[str, tuple[tuple[int, ...], str]]  # and safetensors' word for the type
    get: Callable[[str], Tensor]
    about: Mapping[str, str] = field(default_factory=dict)  # what a file made of them says


@contextmanager
def opened(path: Path, keep: str = "") -> Iterator[Tensors]:
    """Yield the tensors of a file whose names begin with `keep`, or raise E_PIPELINE_LOAD."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                names = [name for name in file.keys() if name.startswith(keep)]  # noqa: SIM118
                slices = {name: file.get_slice(name) for name in names}
                facts = {
                    name: (tuple(part.get_shape()), part.get_dtype())
                    for name, part in slices.items()
                }
                yield Tensors(path, _some(path, facts, keep), file.get_tensor)
        except SafetensorError as error:
            raise refused(path, f"is damaged ({error})") from error
        return
    found = _unpickled(path)
    kept = {name: tensor for name, tensor in found.items() if name.startswith(keep)}
    facts = {
        name: (tuple(tensor.shape), _type(path, name, tensor)) for name, tensor in kept.items()
    }
    yield Tensors(path, _some(path, facts, keep), kept.__getitem__)


def size(tensors: Tensors, dtype: str) -> int:
    """Return the bytes of a safetensors file of these, with that type, or as they are."""
    return sum(_length(shape, _target(kind, dtype)) for shape, kind in tensors.shapes.values())


def write(tensors: Tensors, partial: Path, dtype: str, count: Count) -> None:
    """Write a safetensors file of these tensors, floats as `dtype` where one is given.

    Raises E_PIPELINE_LOAD for a number that the type cannot hold.
    """
    kinds = {name: _target(kind, dtype) for name, (_, kind) in tensors.shapes.items()}
    # widest first, as readers need every tensor at a multiple of its width
    names = sorted(kinds, key=lambda name: (-BITS[kinds[name]], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **tensors.about}}
    at = 0
    for name in names:
        shape = tensors.shapes[name][0]
        end = at + _length(shape, kinds[name])
        header[name] = {"dtype": kinds[name], "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            for piece in _pieces(tensors, name, dtype):
                file.write(piece)
                count(len(piece))
        file.flush()
        os.fsync(file.fileno())


def _pieces(tensors: Tensors, name: str, dtype: str) -> Iterator[memoryview]:
    """Yield the bytes of a tensor, as that type where it is one of floats."""
    kind = tensors.shapes[name][1]
    flat = tensors.get(name).detach().contiguous().reshape(-1)
    changes = dtype and kind in FLOATS and TYPES[WANTED[dtype]] != kind
    narrower = dtype == "fp16" or kind == "F64"  # of range: bf16 has that of fp32
    for start in range(0, flat.numel(), PIECE):
        given = flat[start : start + PIECE]
        made = given.to(WANTED[dtype]) if changes else given
        if changes and narrower and not torch.equal(made.isfinite(), given.isfinite()):
            raise refused(tensors.path, f"has numbers in {name} that are too large for {dtype}")
        yield made.view(torch.uint8).numpy().data


def _target(kind: str, dtype: str) -> str:
    return TYPES[WANTED[dtype]] if dtype and kind in FLOATS else kind


def _length(shape: tuple[int, ...], kind: str) -> int:
    return math.prod(shape) * BITS[kind] // 8


def _unpickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickle, of which nothing but tensors and plain data is read."""
    try:
        # an older form than zip cannot be mapped, and is read whole
        found = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # damaged or hostile: unpickling raises anything
        why = str(error).partition("\n")[0][:200]
        raise refused(
            path, f"is not a pickle of tensors alone, and nothing in it was run ({why})"
        ) from error
    for name in INSIDE:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
            break
    if not isinstance(found, dict):
        raise refused(path, f"holds one {type(found).__name__}, not tensors by their names")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise refused(path, f"{str(name)[:60]!r} in it is {type(tensor).__name__}, no tensor")
    return found


def _type(path: Path, name: str, tensor: Tensor) -> str:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in TYPES:
        raise refused(
            path, f"{name} in it is {tensor.dtype}, {tensor.layout}, which safetensors lacks"
        )
    return TYPES[tensor.dtype]


def _some(path: Path, facts: Mapping[str, Any], keep: str) -> Mapping[str, Any]:
    """Return facts, or raise where there are none."""
    if not facts:
        raise refused(path, f"holds no tensors{f' called {keep}…' if keep else ''}")
    if strange := [kind for _, kind in facts.values() if kind not in BITS]:
        raise refused(path, f"holds tensors of type {strange[0]}, which is not known here")
    return facts


def refused(path: Path, why: str) -> TalkheadError:
    """Return the error for a file that cannot be converted."""
    hint = "is it the file that it is called? `talkhead weights verify` compares it with its source"
    return TalkheadError(Code.WEIGHTS, f"{path} {why}", hint)
