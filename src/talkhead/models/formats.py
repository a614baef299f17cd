"""Files of weights in the forms in which people have them, read as names, shapes and tensors.

Forms are told apart by what a file holds, never by its name: plain safetensors, casts to fp8, fp8
with a scale for each tensor (Kijai, ComfyUI) or row (LightX2V), optimum-quanto's state dicts, GGUF.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from talkhead.errors import Code, TalkheadError

LFS = b"version https://git-lfs"
GGUF = b"GGUF"
SHOWN = 3  # names in a message
ADVICE = "`talkhead weights pull` brings what is missing, `talkhead weights verify` finds damage"
PREFIXES = ("model.diffusion_model.", "diffusion_model.")  # before names, in some repacks
SHAPE_FIELD = "comfy.gguf.orig_shape."  # where GGUF files keep shapes that had to be changed
BYTES = {
    "F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
KINDS: Mapping[str, "Kind"] = {"F8_E4M3": "fp8", "I8": "int8"}
SMALL = ("F8_E4M3", "F8_E5M2", "I8")  # types that stand for other numbers, times a scale

Kind = Literal["fp8", "int8", "gguf"]
Shape = tuple[int, ...]


class Packed(NamedTuple):
    """A tensor as it is kept: few bits a number, and what these stand for."""

    kind: Kind
    data: Tensor  # float8_e4m3fn or int8 of the tensor's shape; GGUF: uint8, the bytes of rows
    scale: Tensor | None = None  # f32 (rows, 1, ...), by which data is multiplied; GGUF: none
    number: int = 0  # GGUF's number of the quantisation

    def to(self, device: torch.device, *, copy: bool = False) -> "Packed":
        """Return the same on a device; with `copy`, never in the file's own memory."""
        scale = None if self.scale is None else self.scale.to(device, copy=copy)
        return self._replace(data=self.data.to(device, copy=copy), scale=scale)

    def wide(self) -> Tensor:
        """Return f32 the numbers that it stands for."""
        if self.scale is not None:
            return self.data.float() * self.scale
        return _unpacked(self.data, self.number)


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file, from its header."""

    shape: Shape
    nbytes: int
    kind: Kind | None = None  # None: plain, or in a form that is never kept
    data: str = ""  # the key that holds its numbers
    scale: str = ""  # and the one that holds their scale
    foldable: bool = False  # it may have been stored in another shape


class Reader(Protocol):
    """A file of weights, open."""

    @property
    def form(self) -> str:
        """Return what people call its form."""
        ...

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Return what there is by the names of tensors; the parts of one are one."""
        ...

    def read(self, key: str) -> Tensor | Packed:
        """Return a tensor as it is kept; its memory may be the file's."""
        ...

    def get_tensor(self, key: str) -> Tensor:
        """Return a tensor in the dtype that it was stored in, f32 where that was quantised."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_raised: object) -> None: ...


class Family(NamedTuple):
    """How one way of quantising names its parts."""

    form: str
    data: str  # what is added to a layer's name for its numbers
    scale: str  # and for their scale
    unused: tuple[str, ...]  # ends of names that need not be read


FAMILIES = (
    Family("optimum-quanto", ".weight._data", ".weight._scale", (".input_scale", ".output_scale")),
    # spiece_model is a tokenizer, beside the weights of ComfyUI's encoders
    Family(
        "scaled fp8", ".weight", ".scale_weight", ("scaled_fp8", ".scale_input", "spiece_model")
    ),
    Family("fp8 or int8 with weight_scale", ".weight", ".weight_scale", (".input_scale",)),
)


def bare(key: str) -> str:
    """Return a tensor's name without what repacks put before it."""
    return next((key.removeprefix(start) for start in PREFIXES if key.startswith(start)), key)


def opened(file: Path) -> Reader:
    """Return a file of weights, open for reading; raises E_PIPELINE_LOAD where it is none."""
    try:
        why = _fault(file)
        if not why:
            return _Gguf(file) if _head(file).startswith(GGUF) else _Safetensors(file)
    except SafetensorError as error:
        why = f"is damaged or cut short ({error})"
    except OSError as error:
        why = f"cannot be read ({error})"
    raise refused(file, why)


def shapes(file: Path) -> dict[str, Shape]:
    """Return the shape of every tensor in a file, read from its header alone."""
    with opened(file) as found:
        return {key: entry.shape for key, entry in found.entries.items()}


def refused(file: Path, why: str) -> TalkheadError:
    """Return the error for a file that cannot be read."""
    return TalkheadError(Code.WEIGHTS, f"{file} {why}", f"delete it, then {ADVICE}")


def named(names: Iterable[str]) -> str:
    """Return how many tensors, and the first names."""
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    word = "tensor" if len(found) == 1 else "tensors"
    return f"{len(found)} {word} ({', '.join(found[:SHOWN])}{more})"


class _Safetensors:
    """Implements Reader for safetensors files of all families."""

    def __init__(self, file: Path) -> None:
        self._stack = ExitStack()
        self._tensors: Any = self._stack.enter_context(safe_open(file, framework="pt"))
        found = {}
        for key in self._tensors.keys():  # noqa: SIM118 - not a mapping
            part = self._tensors.get_slice(key)
            found[key] = tuple(part.get_shape()), str(part.get_dtype())
        try:
            self.form, self.entries = _grouped(file, found)
        except TalkheadError:
            self._stack.close()
            raise

    def read(self, key: str) -> Tensor | Packed:
        entry = self.entries[key]
        data: Tensor = self._tensors.get_tensor(entry.data)
        if not entry.scale and entry.kind is None:
            return data
        rows = (-1,) + (1,) * (len(entry.shape) - 1)
        scale = torch.ones(1)
        if entry.scale:
            scale = self._tensors.get_tensor(entry.scale).float()
        scale = scale.reshape(rows).expand(entry.shape[0], *rows[1:]).contiguous()
        return data.float() * scale if entry.kind is None else Packed(entry.kind, data, scale)

    def get_tensor(self, key: str) -> Tensor:
        part = self.read(key)
        return part.wide() if isinstance(part, Packed) else part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._stack.close()


class _Gguf:
    """Implements Reader for GGUF files."""

    form = "GGUF"

    def __init__(self, file: Path) -> None:
        from diffusers.quantizers.gguf import utils  # noqa: PLC0415 (gguf, seldom wanted)
        from gguf import GGUFReader  # noqa: PLC0415

        try:
            reader = GGUFReader(file)  # maps the file, and reads its header
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise refused(file, f"is damaged or cut short ({error})") from error
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        known = {*utils.UNQUANTIZED_TYPES, *utils.dequantize_functions}
        if strange := {t.tensor_type.name for t in reader.tensors if t.tensor_type not in known}:
            raise TalkheadError(
                Code.WEIGHTS,
                f"{file} has tensors quantised as {', '.join(sorted(strange))}",
                f"what can be read: {', '.join(sorted(one.name for one in known))}",
            )
        self._plain = utils.UNQUANTIZED_TYPES
        self.entries: dict[str, Entry] = {}
        for name, tensor in self._tensors.items():
            shape = tuple(int(side) for side in reversed(tensor.shape))
            if field := reader.fields.get(f"{SHAPE_FIELD}{name}"):
                meant = tuple(int(side) for side in field.contents())
                shape = meant if prod(meant) == prod(shape) else shape
            kind: Kind | None = None if tensor.tensor_type in self._plain else "gguf"
            self.entries[name] = Entry(shape, int(tensor.n_bytes), kind, name, foldable=True)

    def read(self, key: str) -> Tensor | Packed:
        tensor, shape = self._tensors[key], self.entries[key].shape
        data = torch.from_numpy(tensor.data.copy())  # what is mapped cannot be written to
        if self.entries[key].kind is None:
            if data.dtype == torch.uint8:
                data = data.view(torch.bfloat16)
            return data.reshape(shape)
        packed = Packed("gguf", data.reshape(-1, data.shape[-1]), None, int(tensor.tensor_type))
        return packed if len(shape) == 2 else packed.wide().reshape(shape)

    def get_tensor(self, key: str) -> Tensor:
        part = self.read(key)
        return part.wide() if isinstance(part, Packed) else part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._tensors = {}


def _grouped(file: Path, found: Mapping[str, tuple[Shape, str]]) -> tuple[str, dict[str, Entry]]:
    """Return the form of a safetensors file and its tensors, from all keys, shapes and types.

    A part whose other half is missing stays what it is, for strict matching to find.
    """
    entries = {}
    for key, (shape, kind) in found.items():
        small = KINDS.get(kind) if kind != "I8" and len(shape) == 2 else None
        entries[key] = Entry(shape, prod(shape) * BYTES.get(kind, 1), small, key)
    families = [one for one in FAMILIES if any(key.endswith(one.scale) for key in found)]
    if len(families) > 1:
        forms = " and ".join(family.form for family in families)
        raise refused(file, f"is a mixture of {forms}")
    if not families:
        cast = any(kind.startswith("F8") for _, kind in found.values())
        return ("fp8 without scales" if cast else "plain safetensors"), entries
    family = families[0]
    for key in [key for key in found if key.endswith(family.scale)]:
        layer = key.removesuffix(family.scale)
        if layer + family.data in found:
            entry = _scaled(file, found, layer + family.data, key)
            del entries[key], entries[layer + family.data]
            entries[f"{layer}.weight"] = entry
    for key in [key for key in entries if key.endswith(family.unused)]:
        del entries[key]
    alone = [key for key in entries if key in found and _halved(found[key], entries[key])]
    if alone:
        raise refused(file, f"({family.form}) has no scale for {named(alone)}")
    return family.form, entries


def _halved(facts: tuple[Shape, str], entry: Entry) -> bool:
    """Return whether a matrix of few bits a number lacks its scale."""
    shape, kind = facts
    return kind in SMALL and len(shape) == 2 and not entry.scale


def _scaled(file: Path, found: Mapping[str, tuple[Shape, str]], data: str, scale: str) -> Entry:
    """Return the tensor of two parts; raises E_PIPELINE_LOAD where these do not go together."""
    shape, kind = found[data]
    count = prod(found[scale][0])
    if not shape or count not in (1, shape[0]):
        raise refused(file, f"has {list(found[scale][0])} scales for {list(shape)}: {scale}")
    kept = KINDS.get(kind) if len(shape) == 2 else None
    return Entry(shape, prod(shape) * BYTES.get(kind, 1), kept, data, scale)


def _unpacked(data: Tensor, number: int) -> Tensor:
    """Return f32 (rows, columns) of the bytes of GGUF's rows."""
    from diffusers.quantizers.gguf import utils  # noqa: PLC0415 (gguf, seldom wanted)

    kind = next(one for one in utils.dequantize_functions if int(one) == number)
    block, size = utils.GGML_QUANT_SIZES[kind]
    function: Any = utils.dequantize_functions[kind]
    made: Tensor = function(data.reshape(-1, size), block, size, torch.float32)
    return made.reshape(data.shape[0], -1)


def _head(file: Path) -> bytes:
    with file.open("rb") as data:
        return data.read(len(LFS))


def _fault(file: Path) -> str:
    """Return why a file cannot hold weights, empty where it may."""
    if not file.is_file():
        return "is not there"
    head = _head(file)
    if not head:
        return "is empty: a placeholder of 0 bytes"
    return "is a git-LFS pointer, not the file itself" if head == LFS else ""
