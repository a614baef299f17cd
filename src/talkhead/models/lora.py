"""Low-rank changes (LoRA) added to weights while they are read, so that the files stay as they are.

Merging is done in float32 on the tensor as it is stored, before it is converted; another LoRA, or
none, means reading the files again. InfiniteTalk's official code (commit 0107cd9) adds
strength * (up @ down) to weights, and strength times the value of `diff` and `diff_b` to weights
and biases, those of norms included.

A checkpoint that holds pairs beside whole tensors (OmniAvatar's) is one such file, `beside` the
rules of those tensors, which are loaded as any others.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import opened, shapes
from talkhead.models.loading import Mend, Rules, renamed

PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "transformer.",
    "pipe.dit.",
    "base_model.model.",
)
SUFFIXES = {
    ".lora_down.weight": "down",
    ".lora_A.weight": "down",
    ".lora_A.default.weight": "down",  # peft, as it names its first adapter
    ".lora_up.weight": "up",
    ".lora_B.weight": "up",
    ".lora_B.default.weight": "up",
    ".alpha": "alpha",
    ".diff": "diff",
    ".diff_b": "diff_b",
}
SHOWN = 3  # names in a message

Shape = tuple[int, ...]


class Part(NamedTuple):
    """One tensor of a layer."""

    key: str  # in the file
    shape: Shape


Parts = dict[str, Part]  # by what they are: a value of SUFFIXES


@dataclass(frozen=True, slots=True)
class Lora:
    """A file of changes, and how strongly they are made.

    Many files say by `alpha` that their changes are meant times alpha / rank ("standard"); the
    official code does not read it ("ignore").
    """

    file: Path
    strength: float = 1.0
    alpha_mode: Literal["ignore", "standard"] = "ignore"
    beside: Rules = ()  # of whole tensors in the same file, which are no changes
    advice: str = "use a LoRA that was made for Wan 2.1 14B"


@dataclass(frozen=True, slots=True)
class Change:
    """What one file adds to one tensor: scale * value, or scale * (up @ down)."""

    file: Path
    keys: tuple[str, ...]  # of the value, or of up and down
    scale: float


@dataclass(frozen=True, slots=True)
class Merge:
    """All changes, by our names of tensors, and what the caller should be told."""

    changes: Mapping[str, tuple[Change, ...]]
    warnings: tuple[str, ...] = ()


def plan(loras: Sequence[Lora], known: Rules, wanted: Mapping[str, Shape]) -> Merge:
    """Return what the files change in a model of the tensors `wanted`, from their headers.

    `known` names layers as their checkpoints do. A file may leave out any layer. What it has for
    layers that the model has not is left out with a warning. Raises E_PIPELINE_LOAD for a file that
    changes nothing here, lacks half of a pair or is of other shapes.
    """
    changes: dict[str, tuple[Change, ...]] = {}
    warnings: list[str] = []
    for lora in loras:
        layers, others = _layers(shapes(lora.file))
        strange = [key for key in others if renamed(key, lora.beside) is None]
        alphas = _alphas(lora.file, layers)
        applied = 0
        for layer, parts in layers.items():
            scale = lora.strength
            if lora.alpha_mode == "standard" and layer in alphas:
                scale *= alphas[layer] / parts["down"].shape[0]
            made = list(_changes(lora, layer, parts, scale, known))
            if any(name not in wanted for name, _, _ in made):
                strange += [part.key for part in parts.values()]
                continue
            for name, change, shape in made:
                if not _fits(shape, wanted[name]):
                    raise _refused(lora, f"{change.keys[0]} is for {shape}, not {wanted[name]}")
                changes[name] = (*changes.get(name, ()), change)
            applied += len(made)
        if not applied:
            raise _refused(lora, f"changes nothing in this model ({_named(strange)})")
        warnings += _warnings(lora, strange, layers, alphas)
    return Merge(changes, tuple(warnings))


@contextmanager
def merging(merge: Merge) -> Iterator[Mend]:
    """Keep the files open and yield what adds the changes to a tensor, for loading.load."""
    with ExitStack() as stack:
        files = {
            file: stack.enter_context(opened(file))
            for file in {change.file for made in merge.changes.values() for change in made}
        }

        def mend(name: str, tensor: Tensor) -> Tensor:
            for change in merge.changes.get(name, ()):
                tensor = tensor.float() + _added(files[change.file], change, tensor)
            return tensor

        yield mend


def _added(file: Any, change: Change, tensor: Tensor) -> Tensor:
    """Return f32 what is added to a tensor, of its shape and on its device."""
    first, *rest = (file.get_tensor(key).to(tensor.device).float() for key in change.keys)
    value = first.flatten(1) @ rest[0].flatten(1) if rest else first
    whole: Tensor = change.scale * value.reshape(tensor.shape)
    return whole


def _layers(found: Mapping[str, Shape]) -> tuple[dict[str, Parts], list[str]]:
    """Return the parts of each layer by what they are, and the keys that are none."""
    layers: dict[str, Parts] = {}
    strange: list[str] = []
    for key, shape in found.items():
        bare = _bare(key)
        suffix = next((end for end in SUFFIXES if bare.endswith(end)), None)
        if suffix is None:
            strange.append(key)
        else:
            layers.setdefault(bare.removesuffix(suffix), {})[SUFFIXES[suffix]] = Part(key, shape)
    return layers, strange


def _bare(key: str) -> str:
    """Return a key without what trainers put before it, of which there may be several."""
    while start := next((one for one in PREFIXES if key.startswith(one)), ""):
        key = key.removeprefix(start)
    return key


def _alphas(file: Path, layers: Mapping[str, Parts]) -> dict[str, float]:
    """Return each layer's alpha, where the file has one for its pair."""
    with opened(file) as tensors:
        return {
            layer: float(tensors.get_tensor(parts["alpha"].key).item())
            for layer, parts in layers.items()
            if "alpha" in parts and "down" in parts
        }


def _changes(
    lora: Lora, layer: str, parts: Parts, scale: float, known: Rules
) -> Iterator[tuple[str, Change, Shape]]:
    """Yield our names of the tensors that a layer's parts change, how, and for which shape.

    A name that no rule knows is the layer's own.
    """
    weight = renamed(f"{layer}.weight", known) or layer
    bias = renamed(f"{layer}.bias", known) or layer
    if "down" in parts or "up" in parts:
        if "down" not in parts or "up" not in parts:
            raise _refused(lora, f"has half of a pair for {layer}")
        up, down = parts["up"], parts["down"]
        if up.shape[1] != down.shape[0]:
            raise _refused(lora, f"has a pair of ranks {up.shape[1]} and {down.shape[0]}: {layer}")
        yield weight, Change(lora.file, (up.key, down.key), scale), (up.shape[0], *down.shape[1:])
    if "diff" in parts:
        part = parts["diff"]
        yield weight, Change(lora.file, (part.key,), lora.strength), part.shape
    if "diff_b" in parts:
        part = parts["diff_b"]
        yield bias, Change(lora.file, (part.key,), lora.strength), part.shape


def _fits(shape: Shape, wanted: Shape) -> bool:
    """Return whether a change is of a tensor's shape; that of a convolution may come flattened."""
    return shape[0] == wanted[0] and prod(shape) == prod(wanted)


def _warnings(
    lora: Lora, strange: Sequence[str], layers: Mapping[str, Parts], alphas: Mapping[str, float]
) -> Iterator[str]:
    """Yield what the caller should know of a file."""
    if strange:
        yield f"{lora.file.name}: not used: {_named(strange)}"
    scales = {alphas[layer] / layers[layer]["down"].shape[0] for layer in alphas} - {1.0}
    if scales and lora.alpha_mode == "ignore":
        meant = ", ".join(f"{scale:g}" for scale in sorted(scales)[:SHOWN])
        yield (
            f"{lora.file.name}: its alpha asks for changes times {meant}, which is ignored as the "
            "official code does; lora_alpha=standard follows it"
        )


def _named(keys: Sequence[str]) -> str:
    """Return how many tensors, and the first names."""
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{len(keys)} tensors: {', '.join(keys[:SHOWN])}{more}"


def _refused(lora: Lora, message: str) -> TalkheadError:
    return TalkheadError(Code.WEIGHTS, f"{lora.file} {message}", lora.advice)
