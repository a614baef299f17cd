"""How large a network of Wan 2.1 is, from its files' headers, and the room that there is for it."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch

from talkhead.errors import TalkheadError
from talkhead.models.estimates import Held, Load, Network
from talkhead.models.fitting import Machine, Offload, Weighed, choose, told
from talkhead.models.formats import Entry, Kind, shapes
from talkhead.models.placement import HOST, Placement, available
from talkhead.models.quantised import Keep
from talkhead.models.stored import Stored
from talkhead.models.wan_files import SMALL_TEXT, TEXT, Files


def weigh(
    stored: Stored[Any],
    files: Files,
    placement: Placement,
    load: Load,
    offload: Offload,
    tiles: bool | None,
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_CAPACITY where it does not.
    """
    machine = machine_of(placement)
    sides = {name: entry.shape for name, entry in stored.found.items()}
    network = replace(
        network_of(sides, stored.sizes, stored.keep.lists, stored.matrices),
        encoder=encoder_of(files),
        held=held_of(stored.found, stored.keep, machine.itemsize, stored.merge.changes),
        compiled=placement.compiled,
    )
    layout = choose(load, network, offload, tiles, machine)
    return Weighed(network, machine, layout, notes=tuple(told(layout, offload, tiles)))


def held_of(
    found: Mapping[str, Entry], keep: Keep, itemsize: int, changed: Collection[str] = ()
) -> Held | None:
    """Return the bytes of tensors as they are kept, None where none stays quantised.

    `changed` are those that a LoRA changes.
    """
    if not any(kept_as(name, entry, keep) for name, entry in found.items()):
        return None
    whole, streamed, blocks = 0, 0, dict[str, int]()
    for name, entry in found.items():
        size = keep.nbytes(name, entry, itemsize, changed=name in changed)
        part, _, rest = name.partition(".")
        whole += size
        if part in keep.lists:
            streamed += size
        if part == "blocks":
            index = rest.partition(".")[0]
            blocks[index] = blocks.get(index, 0) + size
    return Held(whole, streamed, max(blocks.values()))


def kept_as(name: str, entry: Entry, keep: Keep) -> Kind | None:
    """Return what a tensor is kept as, None where it is plain."""
    return keep.kind_of(entry.kind) if keep.takes(name, entry.shape) else None


def encoder_of(files: Files) -> int:
    """Return the parameters of the encoder of text, none where encoded prompts have to do."""
    try:
        found = files(*TEXT, *SMALL_TEXT)
    except TalkheadError:
        return 0
    return sum(prod(shape) for file in found for shape in shapes(file).values())


def network_of(
    found: Mapping[str, tuple[int, ...]],
    sizes: Mapping[str, int],
    lists: Collection[str],
    matrices: int,
) -> Network:
    """Return what estimates need to know of a transformer, from its tensors' shapes and sizes.

    `lists` are its lists of modules that may wait in main memory.
    """
    streamed, blocks = 0, dict[str, int]()
    for name, shape in found.items():
        part, _, rest = name.partition(".")
        if part in lists:
            streamed += prod(shape)
        if part == "blocks":
            index = rest.partition(".")[0]
            blocks[index] = blocks.get(index, 0) + prod(shape)
    return Network(
        dim=sizes["num_attention_heads"] * sizes["attention_head_dim"],
        layers=sizes["num_layers"],
        ffn=sizes["ffn_dim"],
        parameters=sum(map(prod, found.values())),
        streamed=streamed,
        block=max(blocks.values()),
        heads=sizes["num_attention_heads"],
        matrices=matrices,
    )


def machine_of(placement: Placement) -> Machine:
    """Return the room that is where a model is placed."""
    device = placement.device
    itemsize = torch.empty(0, dtype=placement.dtype).itemsize
    free = available(device, whole=placement.plans_only)
    return Machine(device.type, itemsize, free, available(HOST))
