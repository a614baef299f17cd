"""What the weights of a job weigh, and how they fit on this machine."""

from dataclasses import replace

from talkhead.engines import Fitting, Supplies
from talkhead.engines.omniavatar import checkpoint
from talkhead.engines.omniavatar.choice import Choice, located
from talkhead.engines.omniavatar.published import MATRICES
from talkhead.models.estimates import Load
from talkhead.models.fitting import choose
from talkhead.models.loading import described
from talkhead.models.placement import place
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
    sizes = checkpoint.sizes(supplies.files, choice, sides)
    changed = set(checkpoint.changes_of(supplies.files, choice, sides).changes)
    network = replace(
        network_of(sides, sizes, keep.lists, MATRICES),
        encoder=encoder_of(supplies.files),
        held=held_of(found, keep, machine.itemsize, changed),
        compiled=placement.compiled,
    )
    layout = choose(load, network, asked.offload, tiles, machine)
    return Weighed(network, machine, layout, supplies.identity(files))
