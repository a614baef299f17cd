"""Weights from safetensors files into a model, tensor by tensor, strictly.

The model is built without memory; each tensor is read, mended (a LoRA), converted and put in its
place, so that no more than one tensor at a time is there twice. Files are only read, so that
loading them again with other mendings gives the model that those alone make.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from talkhead.errors import Code, TalkheadError

LFS = b"version https://git-lfs"
SHOWN = 3  # names in a message
ADVICE = "`talkhead weights pull` brings what is missing, `talkhead weights verify` finds damage"

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor of the model is read from."""

    file: Path
    key: str
    shape: tuple[int, ...]


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
) -> Model:
    """Return the model that `build` makes, with the weights of `sources`, ready for inference.

    Of a name in several sources the last counts; one source may have it once. Raises
    E_PIPELINE_LOAD with file and names where a file cannot be read, or a tensor is missing,
    unknown, given twice or of another shape.
    """
    with torch.device("meta"):
        model = build()
    places = _places(sources, shapes_of(model))
    for done, (name, tensor) in enumerate(_read(places), start=1):
        _put(model, name, tensor, target(name), mend)
        del tensor
        if tick is not None:
            tick(done, len(places))
    _finished(model)
    return model.eval().requires_grad_(False)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor that a model needs."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def stored(sources: Sequence[Source]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what the sources hold, by our names; what no rule knows is left out."""
    return {
        name: shape
        for source in sources
        for file in source.files
        for key, shape in shapes(file).items()
        if (name := renamed(key, source.rules)) is not None
    }


def shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a file, read from its header alone."""
    with opened(file) as tensors:
        return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118 - not a mapping


def opened(file: Path) -> Any:
    """Return a safetensors file, open for reading; raises E_PIPELINE_LOAD where it is none."""
    try:
        why = _fault(file)
        if not why:
            return safe_open(file, framework="pt")
    except SafetensorError as error:
        why = f"is damaged or cut short ({error})"
    except OSError as error:
        why = f"cannot be read ({error})"
    raise TalkheadError(Code.WEIGHTS, f"{file} {why}", f"delete it, then {ADVICE}")


def _fault(file: Path) -> str:
    """Return why a file cannot hold weights, empty where it may."""
    if not file.is_file():
        return "is not there"
    with file.open("rb") as data:
        head = data.read(len(LFS))
    if not head:
        return "is empty: a placeholder of 0 bytes"
    return "is a git-LFS pointer, not the file itself" if head == LFS else ""


def _places(sources: Sequence[Source], wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Return where each tensor of the model is, having compared names and shapes."""
    places: dict[str, Place] = {}
    for source in sources:
        places |= _places_in(source, wanted)
    if lost := [name for name in wanted if name not in places]:
        files = [str(file) for source in sources for file in source.files]
        raise _refused(f"{_named(lost)} missing from {', '.join(files)}")
    return places


def _places_in(source: Source, wanted: Mapping[str, tuple[int, ...]]) -> dict[str, Place]:
    """Return where a source has tensors of the model."""
    places: dict[str, Place] = {}
    for file in source.files:
        found = {key: (renamed(key, source.rules), shape) for key, shape in shapes(file).items()}
        if strange := [key for key, (name, _) in found.items() if name not in wanted]:
            raise _refused(f"{file} has {_named(strange)}, unknown to this model")
        for key, (name, shape) in found.items():
            assert name is not None  # noqa: S101 - it is in `wanted`
            if shape != wanted[name]:
                raise _refused(f"{file}: {key} is {list(shape)}, not {list(wanted[name])}")
            if name in places:
                raise _refused(f"{key} is in {places[name].file} and again in {file}")
            places[name] = Place(file, key, shape)
    return places


def _read(places: Mapping[str, Place]) -> Iterator[tuple[str, Tensor]]:
    """Yield names and tensors file by file, each tensor a view of its file."""
    by_file: dict[Path, list[str]] = {}
    for name, place in places.items():
        by_file.setdefault(place.file, []).append(name)
    for file, names in by_file.items():
        with ExitStack() as stack:
            tensors = stack.enter_context(opened(file))
            for name in names:
                yield name, tensors.get_tensor(places[name].key)


def _put(model: nn.Module, name: str, tensor: Tensor, target: Target, mend: Mend | None) -> None:
    """Put a tensor in its place in the model, which holds its only copy."""
    there = tensor.to(target.device)  # as it was stored: a device converts and mends faster
    if mend is not None:
        there = mend(name, there)
    ready = there.to(target.dtype, copy=there is tensor)
    path, _, leaf = name.rpartition(".")
    parent = model.get_submodule(path)
    if leaf in parent._buffers:
        parent._buffers[leaf] = ready
    else:
        parent.register_parameter(leaf, nn.Parameter(ready, requires_grad=False))


def _finished(model: nn.Module) -> None:
    """Raise ValueError where a tensor that no file holds was left without memory."""
    left = [name for name, tensor in model.named_buffers() if tensor.is_meta]
    if left:
        raise ValueError(f"buffers are in no checkpoint and were not made: {_named(left)}")


def _named(names: Sequence[str]) -> str:
    """Return how many tensors, and the first names."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    word = "tensor" if len(names) == 1 else "tensors"
    return f"{len(names)} {word} ({', '.join(names[:SHOWN])}{more})"


def _refused(message: str) -> TalkheadError:
    return TalkheadError(Code.WEIGHTS, message, f"are these files of one model? {ADVICE}")
