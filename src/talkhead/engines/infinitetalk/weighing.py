"""What the weights of a job weigh, and how they fit on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch

from talkhead.engines import Fitting, Supplies
from talkhead.engines.infinitetalk import checkpoint
from talkhead.engines.infinitetalk.choice import TEXT, Choice, located
from talkhead.engines.infinitetalk.estimates import Layout, Load, Network
from talkhead.engines.infinitetalk.fitting import Machine, choose
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import TalkheadError
from talkhead.models.formats import shapes
from talkhead.models.loading import stored
from talkhead.models.placement import HOST, Placement, available


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights that are here for a job, and where they go."""

    network: Network
    machine: Machine
    layout: Layout
    identity: str  # of the files


def weigh(
    supplies: Supplies, choice: Choice, load: Load, asked: Fitting, tiles: bool | None
) -> Weighed:
    """Return how a job fits, from its files' headers and the memory that is free.

    Raises E_PIPELINE_LOAD where files are missing, E_CAPACITY where it does not fit.
    """
    files = located(supplies.files, choice)
    found = stored(checkpoint.sources(supplies.files, choice))
    network = network_of(found, checkpoint.sizes(supplies.files, found))
    network = replace(network, encoder=_encoder(supplies))
    machine = machine_of(checkpoint.placed(supplies.device, offload=False))
    layout = choose(load, network, asked, tiles, machine)
    return Weighed(network, machine, layout, supplies.identity(files))


def _encoder(supplies: Supplies) -> int:
    """Return the parameters of the encoder of text, none where encoded prompts have to do."""
    try:
        files = supplies.files(*TEXT)
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
    )


def machine_of(placement: Placement) -> Machine:
    """Return the room that is where a model is placed."""
    device = placement.device
    itemsize = torch.empty(0, dtype=placement.dtype).itemsize
    return Machine(device.type, itemsize, available(device), available(HOST))
