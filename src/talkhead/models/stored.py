"""A transformer as its files have it, by their headers, and the network that is made of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

from talkhead.models import lora
from talkhead.models.formats import Entry
from talkhead.models.loading import Source, Tick, load
from talkhead.models.placement import Placement, settle, target_of
from talkhead.models.quantised import Keep

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Stored(Generic[Network]):
    """A transformer that is not loaded yet."""

    kind: type[Network]
    parts: tuple[Source, ...]
    found: Mapping[str, Entry]  # loading.described of the parts
    sizes: Mapping[str, Any]  # the arguments of `kind`
    merge: lora.Merge  # what is changed as it is loaded
    keep: Keep
    matrices: int  # as estimates.Network has it


def network(stored: Stored[Network], placement: Placement, tick: Tick) -> Network:
    """Return the network, loaded and run as placed. `tick(done, total)` counts tensors."""

    def build() -> Network:
        return stored.kind(**stored.sizes, attention_backend=placement.attention)

    with lora.merging(stored.merge) as merge:
        mend = merge if stored.merge.changes else None
        target = target_of(stored.kind, placement)
        made = load(build, stored.parts, target, mend, tick, stored.keep)
    settle(made, placement)
    return made
