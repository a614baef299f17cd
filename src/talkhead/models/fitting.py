"""Whether a job fits into memory, and how: what the request leaves open is chosen here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from talkhead.errors import Code, TalkheadError
from talkhead.models.estimates import Layout, Load, Network, Peak, peak, smaller

Offload = Literal["auto", "none", "block"]

SHOWN = 3  # settings in a hint
# From the fastest on; the last is for where blocks may not wait.
LAYOUTS = (Layout(), Layout(offload=True), Layout(offload=True, tiles=True), Layout(tiles=True))


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a job is to run, and how much room there is."""

    device: str  # cuda or cpu
    itemsize: int  # bytes of a number in weights
    free: int  # bytes of the device
    host_free: int  # bytes of main memory; the device's where that is the host


@dataclass(frozen=True, slots=True)
class Weighed:
    """The weights of a job, and where they go."""

    network: Network
    machine: Machine
    layout: Layout
    identity: str = ""  # of the files, where they are here
    notes: tuple[str, ...] = ()  # what the caller should know


def choose(
    load: Load, network: Network, offload: Offload, tiles: bool | None, machine: Machine
) -> Layout:
    """Return the first layout that the request allows and that fits.

    Raises E_CAPACITY with the settings that would fit.
    """
    allowed = [
        layout
        for layout in LAYOUTS
        if offload in ("auto", "block" if layout.offload else "none")
        and tiles in (None, layout.tiles)
    ]
    if tiles:
        allowed.reverse()  # blocks wait only where tiles alone do not do
    for layout in allowed:
        if fits(peak(load, network, layout, machine.itemsize), machine):
            return layout
    smallest = min(allowed, key=lambda one: peak(load, network, one, machine.itemsize).device)
    raise _refused(load, network, smallest, machine)


def fits(needed: Peak, machine: Machine) -> bool:
    """Return whether there is room for a peak."""
    if machine.device == "cpu":
        return needed.device + needed.host <= machine.free
    return needed.device <= machine.free and needed.host <= machine.host_free


def told(layout: Layout, offload: Offload, tiles: bool | None) -> list[str]:
    """Return what to tell of a layout that was not asked for."""
    chosen = []
    if layout.offload and offload == "auto":
        chosen.append("blocks wait in main memory (memory.offload=block), which is slower")
    if layout.tiles and tiles is None:
        chosen.append("the VAE works in tiles (options.vae_tiling)")
    return [f"to fit into memory, {' and '.join(chosen)}"] if chosen else []


def _refused(load: Load, network: Network, layout: Layout, machine: Machine) -> TalkheadError:
    needed = peak(load, network, layout, machine.itemsize)
    where = "main" if machine.device == "cpu" else "GPU"
    message = (
        f"{load.width}x{load.height} needs about {_gb(needed.device)} of {where} memory, "
        f"and {_gb(machine.free)} are free"
    )
    if machine.device != "cpu" and needed.device <= machine.free:
        message = (
            f"blocks that wait in main memory need about {_gb(needed.host)} of it, "
            f"and {_gb(machine.host_free)} are free"
        )
    found = list(_that_fit(load, network, layout, machine))
    hint = f"what would fit: {'; or '.join(found[:SHOWN])}" if found else (
        "no setting of this version fits: use a machine with more memory"
    )  # fmt: skip
    fields = ["size", "memory.offload", "memory.quant"]
    return TalkheadError(Code.CAPACITY, message, hint, fields=fields, retryable=False)


def _that_fit(load: Load, network: Network, tried: Layout, machine: Machine) -> Iterator[str]:
    """Yield settings that would fit, in the order in which they cost."""
    for layout in LAYOUTS[1:3]:
        needed = peak(load, network, layout, machine.itemsize)
        if layout != tried and fits(needed, machine):
            yield f"{layout} ({_gb(needed.device)})"
    yield from _quantised(load, network, tried, machine)
    for layout in (tried, Layout(offload=True, tiles=True)):
        for width, height in smaller(load.width, load.height, 16, 256):
            needed = peak(
                replace(load, width=width, height=height), network, layout, machine.itemsize
            )
            if fits(needed, machine):
                more = "" if layout == tried else f" with {layout}"
                yield f"size={width}x{height}{more} ({_gb(needed.device)})"
                return


def _quantised(load: Load, network: Network, tried: Layout, machine: Machine) -> Iterator[str]:
    """Yield the first layout in which a network that is not quantised yet would fit, were it so."""
    if network.held is not None:
        return
    for layout in (tried, *LAYOUTS[1:3]):
        needed = peak(load, network.quantised(machine.itemsize), layout, machine.itemsize)
        if fits(needed, machine):
            more = "" if layout == tried else f" with {layout}"
            yield f"memory.quant=fp8{more} ({_gb(needed.device)})"
            return


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
