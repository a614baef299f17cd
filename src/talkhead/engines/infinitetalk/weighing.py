"""What the weights of a job weigh, and how they fit on this machine."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import torch

from talkhead.engines import Fitting, Supplies
from talkhead.engines.infinitetalk import checkpoint
from talkhead.engines.infinitetalk.choice import (
    FULL,
    SMALL_TEXT,
    TEXT,
    Choice,
    Found,
    located,
    transformer,
)
from talkhead.engines.infinitetalk.published import MATRICES
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import TalkheadError
from talkhead.models.estimates import Held, Layout, Load, Network
from talkhead.models.fitting import Machine, choose
from talkhead.models.formats import Entry, Kind, shapes
from talkhead.models.loading import described
from talkhead.models.placement import HOST, Placement, available
from talkhead.models.quantised import Keep


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights that are here for a job, and where they go."""

    network: Network
    machine: Machine
    layout: Layout
    identity: str  # of the files
    notes: tuple[str, ...] = ()  # what the caller should know of the weights


def weigh(
    supplies: Supplies, choice: Choice, load: Load, asked: Fitting, tiles: bool | None
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_PIPELINE_LOAD where files are missing, E_CAPACITY where it does not fit.
    """
    files = located(supplies.files, choice)
    found = described(checkpoint.sources(supplies.files, choice))
    sides = {name: entry.shape for name, entry in found.items()}
    network = network_of(sides, checkpoint.sizes(supplies.files, sides))
    placement = checkpoint.placed(supplies)
    machine = machine_of(placement)
    keep = checkpoint.keep_of(choice, placement.device)
    changed = set(checkpoint.changes_of(supplies.files, choice, sides).changes)
    held = held_of(found, keep, machine.itemsize, changed)
    network = replace(network, encoder=_encoder(supplies), held=held, compiled=placement.compiled)
    layout = choose(load, network, asked.offload, tiles, machine)
    notes = tuple(_notes(transformer(supplies.files, choice), choice, found, keep, changed))
    return Weighed(network, machine, layout, supplies.identity(files), notes)


def held_of(
    found: Mapping[str, Entry], keep: Keep, itemsize: int, changed: Collection[str] = ()
) -> Held | None:
    """Return the bytes of tensors as they are kept, None where none stays quantised.

    `changed` are those that a LoRA changes.
    """
    if not any(_kept(name, entry, keep) for name, entry in found.items()):
        return None
    whole, streamed, blocks = 0, 0, dict[str, int]()
    for name, entry in found.items():
        size = keep.nbytes(name, entry, itemsize, changed=name in changed)
        part, _, rest = name.partition(".")
        whole += size
        if part in InfiniteTalkTransformer.streamed:
            streamed += size
        if part == "blocks":
            index = rest.partition(".")[0]
            blocks[index] = blocks.get(index, 0) + size
    return Held(whole, streamed, max(blocks.values()))


def _kept(name: str, entry: Entry, keep: Keep) -> Kind | None:
    """Return what a tensor is kept as, None where it is plain."""
    return keep.kind_of(entry.kind) if keep.takes(name, entry.shape) else None


def _notes(
    files: Found, choice: Choice, found: Mapping[str, Entry], keep: Keep, changed: Collection[str]
) -> Iterator[str]:
    """Yield what the caller should know of the weights that were found."""
    matrices = {name: entry for name, entry in found.items() if keep.takes(name, entry.shape)}
    kinds = {entry.kind for entry in matrices.values()}
    if choice.quant is None and choice.base is None and files.id != FULL:
        yield f"{FULL} is not here: {files.id} takes its place, quantised, less exact"
    if keep.kind is not None and (others := kinds - {keep.kind, None}):
        were = " and ".join(sorted(kind for kind in others if kind))
        yield f"{files.id}: {were} weights are quantised anew as {keep.kind}, which costs exactness"
    if keep.kind is None and any(
        entry.kind == "gguf" for entry in map(found.get, changed) if entry
    ):
        yield (
            f"{files.id}: what the LoRA changes is kept as int8 with a scale for each row, since "
            "GGUF's blocks cannot be made again"
        )


def _encoder(supplies: Supplies) -> int:
    """Return the parameters of the encoder of text, none where encoded prompts have to do."""
    try:
        files = supplies.files(*TEXT, *SMALL_TEXT)
    except TalkheadError:
        return 0
    return sum(prod(shape) for file in files for shape in shapes(file).values())


def network_of(found: Mapping[str, tuple[int, ...]], sizes: Mapping[str, int]) -> Network:
    """Return what estimates need to know of a transformer, from its tensors' shapes and sizes."""
    streamed, blocks = 0, dict[str, int]()
    for name, shape in found.items():
        part, _, rest = name.partition(".")
        if part in InfiniteTalkTransformer.streamed:
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
        matrices=MATRICES,
    )


def machine_of(placement: Placement) -> Machine:
    """Return the room that is where a model is placed."""
    device = placement.device
    itemsize = torch.empty(0, dtype=placement.dtype).itemsize
    return Machine(device.type, itemsize, available(device), available(HOST))
