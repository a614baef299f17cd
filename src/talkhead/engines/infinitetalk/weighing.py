"""What the weights of a job weigh, and how they fit on this machine."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from talkhead.engines import Fitting, Supplies
from talkhead.engines.infinitetalk import checkpoint
from talkhead.engines.infinitetalk.choice import (
    FULL,
    Choice,
    Found,
    located,
    transformer,
)
from talkhead.engines.infinitetalk.published import MATRICES
from talkhead.models.estimates import Load
from talkhead.models.fitting import choose
from talkhead.models.formats import Entry
from talkhead.models.loading import described
from talkhead.models.placement import place
from talkhead.models.quantised import Keep
from talkhead.models.weighing import Weighed, encoder_of, held_of, machine_of, network_of


def weigh(
    supplies: Supplies, choice: Choice, load: Load, asked: Fitting, tiles: bool | None
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_PIPELINE_LOAD where files are missing, E_CAPACITY where it does not fit.
    """
    files = located(supplies.files, choice)
    found = described(checkpoint.sources(supplies.files, choice))
    sides = {name: entry.shape for name, entry in found.items()}
    placement = place(supplies)
    machine = machine_of(placement)
    keep = checkpoint.keep_of(choice, placement.device)
    network = network_of(sides, checkpoint.sizes(supplies.files, sides), keep.lists, MATRICES)
    changed = set(checkpoint.changes_of(supplies.files, choice, sides).changes)
    held = held_of(found, keep, machine.itemsize, changed)
    encoder = encoder_of(supplies.files)
    network = replace(network, encoder=encoder, held=held, compiled=placement.compiled)
    layout = choose(load, network, asked.offload, tiles, machine)
    notes = tuple(_notes(transformer(supplies.files, choice), choice, found, keep, changed))
    return Weighed(network, machine, layout, supplies.identity(files), notes)


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
