"""A base and OmniAvatar's checkpoint in one, tensor by tensor, as `convert` writes it. Needs torch.

What pairs change is added in float32 and rounded once, to the type that is written.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from talkhead import __version__
from talkhead.engines.omniavatar import delta
from talkhead.models import lora
from talkhead.models.formats import bare
from talkhead.models.loading import rules
from talkhead.weights import tensors
from talkhead.weights.supply import identity

PLAIN = rules({r"(.+)": r"\1"})  # official names stay
TOLD = ("base", "delta", "lora_alpha", "lora_rank")  # what a merged copy depends on


@dataclass(frozen=True, slots=True)
class Parts:
    """What is merged."""

    base: tuple[Path, ...]  # safetensors
    delta: Path
    config: Path | None  # None: as the published one has it


class Held(NamedTuple):
    """Where a tensor is."""

    file: tensors.Tensors
    key: str

    @property
    def facts(self) -> tuple[tuple[int, ...], str]:
        """Return its shape, and safetensors' word for its type."""
        return self.file.shapes[self.key]

    def read(self) -> Tensor:
        """Return the tensor."""
        return self.file.get(self.key)


@contextmanager
def opened(parts: Parts, dtype: str) -> Iterator[tensors.Tensors]:
    """Yield base and delta as one set of tensors under official names, to be written as `dtype`.

    Raises E_PIPELINE_LOAD where the two do not go together.
    """
    with ExitStack() as stack:
        base = _base([stack.enter_context(tensors.opened(path)) for path in parts.base])
        added = stack.enter_context(tensors.opened(parts.delta))
        wanted = delta.published({name: one.facts[0] for name, one in base.items()}, parts.delta)
        plan = delta.planned(parts.delta, delta.scale_of(parts.config), PLAIN, wanted)
        for name in plan.changes:
            if (kind := base[name].facts[1]) not in tensors.FLOATS:
                why = f"has {name} as {kind}, and quantised weights cannot be merged"
                raise tensors.refused(base[name].file.path, why)
        own = delta.whole(added.shapes, parts.delta)
        held = {**base, **{name: Held(added, key) for name, key in own.items()}}
        facts = {name: one.facts for name, one in held.items()}
        if dtype:  # rounded where it is written, and only there
            facts |= {name: (base[name].facts[0], "F32") for name in plan.changes}
        mend = stack.enter_context(lora.merging(plan))

        def get(name: str) -> Tensor:
            tensor = held[name].read()
            if name not in plan.changes:
                return tensor
            made = mend(name, tensor)
            return made if dtype else _rounded(made, tensor.dtype, name, held[name])

        yield tensors.Tensors(parts.delta, facts, get, about(parts))


def _base(files: Sequence[tensors.Tensors]) -> dict[str, Held]:
    """Return the tensors of a base's files, each of which may be there once."""
    found: dict[str, Held] = {}
    for file in files:
        for key in file.shapes:
            if (name := bare(key)) in found:
                raise tensors.refused(file.path, f"has {name}, as {found[name].file.path} has")
            found[name] = Held(file, key)
    return found


def _rounded(made: Tensor, dtype: torch.dtype, name: str, source: Held) -> Tensor:
    """Return a tensor as the base has it, where that can hold its numbers."""
    stored = made.to(dtype)
    if not torch.equal(stored.isfinite(), made.isfinite()):
        why = f"has {name} as {source.facts[1]}, which cannot hold what it becomes"
        raise tensors.refused(source.file.path, why)
    return stored


def about(parts: Parts) -> dict[str, str]:
    """Return what a merged copy says of its making."""
    scale = delta.scale_of(parts.config)
    return {
        "talkhead": __version__,
        "base": identity(parts.base),
        "base_files": ", ".join(path.name for path in parts.base),
        "delta": identity([parts.delta]),
        "delta_file": parts.delta.name,
        "lora_alpha": f"{scale.alpha:g}",
        "lora_rank": str(scale.rank),
    }


def current(path: Path, parts: Parts) -> bool:
    """Return whether a merged copy was made of these."""
    try:
        with safe_open(path, framework="pt") as file:
            said: Mapping[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):
        return False
    made = about(parts)
    return all(said.get(name) == made[name] for name in TOLD)
