"""Weights from files into a model, tensor by tensor, strictly.

The model is built without memory; each tensor is read, mended (a LoRA), converted and put in its
place, so that no more than one tensor at a time is there twice. Linear layers may keep quantised
weights, or have theirs quantised on the way. Files are only read, so that
loading them again with other mendings gives the model that those alone make.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import ADVICE, Entry, Packed, Reader, bare, named, opened
from talkhead.models.quantised import Keep, QuantLinear, fast_fp8, quantise

SHOWN = 3  # names in a message
MATRIX = 2  # sides

Rules = tuple[tuple[re.Pattern[str], str], ...]  # a whole published name, and ours
Mend = Callable[[str, Tensor], Tensor]  # of our name and the tensor as stored, on its device
Tick = Callable[[int, int], None]  # (done, total) tensors; raises to cancel
Model = TypeVar("Model", bound=nn.Module)


class Target(NamedTuple):
    """Where a tensor goes, and as what."""

    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class Source:
    """Files that share a way of naming, the parts of one checkpoint or a whole one."""

    files: tuple[Path, ...]
    rules: Rules
    skip: re.Pattern[str] | None = None  # whole published names that are left to others

    def names(self, keys: Iterable[str]) -> dict[str, str | None]:
        """Return our names of a file's keys, None where no rule knows one; without the skipped."""
        return {
            key: renamed(bare(key), self.rules)
            for key in keys
            if self.skip is None or not self.skip.fullmatch(bare(key))
        }


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor of the model is read from."""

    file: Path
    key: str
    shape: tuple[int, ...]  # the model's


def rules(table: Mapping[str, str]) -> Rules:
    """Return the rules of a table from patterns of published names to our names."""
    return tuple((re.compile(pattern), name) for pattern, name in table.items())


def renamed(key: str, known: Rules) -> str | None:
    """Return our name of a published name, None where no rule knows it."""
    for pattern, name in known:
        if match := pattern.fullmatch(key):
            return match.expand(name)
    return None


def targets(device: torch.device, dtype: torch.dtype, wide: Sequence[str]) -> Callable[..., Target]:
    """Return the target of a tensor by its name: float32 where `wide` has a part of the name.

    `wide` is what diffusers calls `_keep_in_fp32_modules`.
    """

    def target(name: str) -> Target:
        keep = any(part in wide for part in name.split("."))
        return Target(device, torch.float32 if keep else dtype)

    return target


def load(
    build: Callable[[], Model],
    sources: Sequence[Source],
    target: Callable[[str], Target],
    mend: Mend | None = None,
    tick: Tick | None = None,
    keep: Keep | None = None,
) -> Model:
    """Return the model that `build` makes, with the weights of `sources`, ready for inference.

    Of a name in several sources the last counts; one source may have it once. `keep` says which
    weights stay quantised, or are made so; all others are plain, whatever their files have. Raises
    E_PIPELINE_LOAD with file and names where a file cannot be read, or a tensor is missing,
    unknown, given twice or of another shape.
    """
    with torch.device("meta"):
        model = build()
    places = _places(sources, shapes_of(model))
    for done, (name, part) in enumerate(_read(places), start=1):
        if keep is not None and keep.takes(name, places[name].shape):
            _put_packed(model, name, part, target(name), mend, keep)
        else:
            _put(model, name, part, target(name), mend)
        del part
        if tick is not None:
            tick(done, len(places))
    _finished(model)
    return model.eval().requires_grad_(False)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a model needs."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def stored(sources: Sequence[Source]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what the sources hold, by our names; what no rule knows is left out."""
    return {name: entry.shape for name, entry in described(sources).items()}


def described(sources: Sequence[Source]) -> dict[str, Entry]:
    """Return what headers say of the sources' tensors, by our names; of several the last."""
    found: dict[str, Entry] = {}
    for source in sources:
        for file in source.files:
            with opened(file) as tensors:
                for key, name in source.names(tensors.entries).items():
                    if name is not None:
                        found[name] = tensors.entries[key]
    return found


def _places(sources: Sequence[Source], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Return where each tensor of the model is, having compared names and shapes."""
    places: dict[str, Place] = {}
    for source in sources:
        places |= _places_in(source, wanted)
    if lost := [name for name in wanted if name not in places]:
        files = [str(file) for source in sources for file in source.files]
        raise _refused(f"{named(lost)} missing from {', '.join(files)}")
    return places


def _places_in(source: Source, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Return where a source has tensors of the model."""
    places: dict[str, Place] = {}
    for file in source.files:
        with opened(file) as tensors:
            form, entries = tensors.form, tensors.entries
        found = source.names(entries)
        if strange := [key for key, name in found.items() if name not in wanted]:
            raise _refused(f"{file} has {named(strange)}, unknown to this model ({form})")
        wrong = []
        for key, name in found.items():
            assert name is not None  # noqa: S101 - it is in `wanted`
            if not _fits(entries[key], wanted[name]):
                wrong.append(f"{key} is {list(entries[key].shape)}, not {list(wanted[name])}")
            if name in places:
                raise _refused(f"{key} is in {places[name].file} and again in {file}")
            places[name] = Place(file, key, wanted[name])
        if wrong:
            raise _refused(f"{file}: {'; '.join(wrong[:SHOWN])} ({len(wrong)} in all, {form})")
    return places


def _fits(entry: Entry, wanted: tuple[int, ...]) -> bool:
    """Return whether a tensor is of the shape wanted.

    GGUF folds what has many sides, and drops sides of 1: these may be unfolded, matrices may not.
    """
    if entry.foldable and len(wanted) > MATRIX:
        return prod(entry.shape) == prod(wanted)
    return entry.shape == wanted


def _read(places: Mapping[str, Place]) -> Iterator[tuple[str, Tensor | Packed]]:
    """Yield names and tensors file by file, each tensor a view of its file."""
    by_file: dict[Path, list[str]] = {}
    for name, place in places.items():
        by_file.setdefault(place.file, []).append(name)
    for file, names in by_file.items():
        with ExitStack() as stack:
            tensors: Reader = stack.enter_context(opened(file))
            for name in names:
                yield name, _unfolded(tensors.read(places[name].key), places[name].shape)


def _unfolded(part: Tensor | Packed, shape: tuple[int, ...]) -> Tensor | Packed:
    """Return a tensor in the shape that the model has it in."""
    if isinstance(part, Packed) or part.shape == shape:
        return part
    return part.reshape(shape)


def _put(
    model: nn.Module, name: str, part: Tensor | Packed, target: Target, mend: Mend | None
) -> None:
    """Put a tensor in its place in the model, which holds its only copy."""
    there = _whole(part, target.device)  # as it was stored: a device converts and mends faster
    if mend is not None:
        there = mend(name, there)
    ready = there.to(target.dtype, copy=there is part)
    path, _, leaf = name.rpartition(".")
    parent = model.get_submodule(path)
    if leaf in parent._buffers:
        parent._buffers[leaf] = ready
    else:
        parent.register_parameter(leaf, nn.Parameter(ready, requires_grad=False))


def _put_packed(
    model: nn.Module,
    name: str,
    part: Tensor | Packed,
    target: Target,
    mend: Mend | None,
    keep: Keep,
) -> None:
    """Put a weight in its place as it is to be kept: the file's own numbers where that may be."""
    kind = part.kind if isinstance(part, Packed) else None
    whole, changed = None, False
    if mend is not None or keep.kind_of(kind) != kind:
        whole = _whole(part, keep.device)
        mended = whole if mend is None else mend(name, whole)
        whole, changed = mended, mended is not whole
    kept = keep.kind_of(kind, changed=changed)
    if kept is None:
        _put(model, name, part if whole is None else whole, target, None)
        return
    if isinstance(part, Packed) and kept == kind and not changed:
        packed = part.to(target.device, copy=target.device.type == "cpu")
    else:
        assert whole is not None  # noqa: S101 - made above
        packed = quantise(whole, kept).to(target.device)
    path = name.rpartition(".")[0]
    fast = packed.kind == "fp8" and fast_fp8(keep.device, target.dtype, tuple(packed.data.shape))
    bias = model.get_submodule(path)._parameters["bias"]
    model.set_submodule(path, QuantLinear(packed, bias, fast=fast))


def _whole(part: Tensor | Packed, device: torch.device) -> Tensor:
    """Return a tensor on a device, in full."""
    there = part.to(device)
    return there.wide() if isinstance(there, Packed) else there


def _finished(model: nn.Module) -> None:
    """Raise ValueError where a tensor that no file holds was left without memory."""
    left = [name for name, tensor in model.named_buffers() if tensor.is_meta]
    if left:
        raise ValueError(f"buffers are in no checkpoint and were not made: {named(left)}")


def _refused(message: str) -> TalkheadError:
    return TalkheadError(Code.WEIGHTS, message, f"are these files of one model? {ADVICE}")
