"""What the engines on Wan 2.1 do alike around their networks. Loads no torch."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from talkhead.engines import Fitting, Plan, Probe, Supplies, Tick, cut_segments
from talkhead.errors import Code, TalkheadError
from talkhead.models import estimates
from talkhead.models.estimates import Layout, Load, Network
from talkhead.models.fitting import Machine, Weighed
from talkhead.models.wan_files import Files
from talkhead.models.windows import Window, chunks

if TYPE_CHECKING:
    from talkhead.models.placement import Placement

Choice = TypeVar("Choice")
Models = TypeVar("Models")
Quant = TypeVar("Quant", bound=str)

H100 = Machine("cuda", 2, int(80e9), int(80e9))  # what estimates without weights are for


def quant_of(engine: str, asked: Quant | None, known: Sequence[Quant]) -> Quant | None:
    """Return a request's memory.quant; raises E_INPUT_VALIDATION for a kind that is not known."""
    if asked is not None and asked not in known:
        raise TalkheadError(
            Code.INPUT,
            f"memory.quant: {engine} knows no {asked!r}, only {', '.join(known)}",
            "leave it out for weights as their files have them",
            fields=["memory.quant"],
        )
    return asked


def lacking(
    located: Callable[[Files, Choice], object], files: Files, choice: Choice
) -> TalkheadError | None:
    """Return the error for the first file of a choice that is not here, None where all are."""
    try:
        located(files, choice)
    except TalkheadError as error:
        if error.code is not Code.WEIGHTS:
            raise
        return error
    return None


def guessed(network: Network, memory: Fitting, lack: TalkheadError) -> Weighed:
    """Return how a job would fit that lacks weights: the published `network`, on an H100."""
    told = f"estimated from published sizes, for an H100: {lack.message}; {lack.hint}"
    sized = network.quantised(H100.itemsize) if memory.quant else network
    return Weighed(sized, H100, Layout(offload=memory.offload == "block"), notes=(told,))


def planned(
    engine: str,
    probe: Probe,
    windows: Sequence[Window],
    load: Load,
    weighed: Weighed,
    moments: tuple[float, ...] = (0.0,),
) -> Plan:
    """Return the plan of a video of these windows, each a chunk, with an estimate of the work."""
    network, machine = weighed.network, weighed.machine
    peak = estimates.peak(load, network, weighed.layout, machine.itemsize)
    return Plan(
        engine=engine,
        width=probe.width,
        height=probe.height,
        fps=probe.fps,
        frames=probe.frames,
        segments=cut_segments(chunks(windows), probe.fps),
        windows=load.windows,
        seconds=estimates.seconds(load, network, machine.device, machine.itemsize),
        memory_bytes=peak.device,
        estimated=probe.estimated,
        warnings=weighed.notes,
        moments=moments,
        weights=weighed.identity,
    )


def loaded(
    last: dict[tuple[Choice, bool], Models],
    load: Callable[[Files, Choice, "Placement", Tick], Models],
    supplies: Supplies,
    choice: Choice,
    layout: Layout,
    tick: Tick,
) -> Models:
    """Return the networks of a job, and leave them in `last`: those there, if they are the same."""
    from talkhead.models.placement import place  # noqa: PLC0415 (torch)

    key = choice, layout.offload
    if key not in last:
        last.clear()  # before the others are loaded: two do not fit
        last[key] = load(supplies.files, choice, place(supplies, offload=layout.offload), tick)
    return last[key]
