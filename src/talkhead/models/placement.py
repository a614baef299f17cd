"""Where a model's weights live while it works: on its device, or block by block on their way there.

With offload the weights of a list of like modules stay in host memory. Before a module runs, its
weights are copied to the device, and those of the next one start on their way while it computes, so
that two modules at most are resident. On CUDA host memory is pinned and copies have a stream of
their own; the device may also be the CPU, which moves nothing faster but works the same.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from talkhead.models.attention import choose_backend
from talkhead.models.loading import Target, targets

HOST = torch.device("cpu")
MEMINFO = Path("/proc/meminfo")
CGROUPS = (  # of a container: folder, limit and what is used; version 2, then 1
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and as what a model computes."""

    device: torch.device
    dtype: torch.dtype
    offload: bool = False  # weights of streamed modules stay in host memory
    compiled: bool = False  # repeated blocks run through torch.compile
    attention: str = "sdpa"  # one of models.attention.BACKENDS
    plans_only: bool = False  # another process renders: all of the device's memory counts as free


class Wanted(Protocol):
    """How an operator wants networks to run: `engines.Supplies` says it."""

    @property
    def device(self) -> str:
        """Return cuda, cuda:1, cpu; auto is a GPU where there is one."""

    @property
    def attention(self) -> str:
        """Return auto, or one of models.attention.BACKENDS."""

    @property
    def compiled(self) -> bool:
        """Return whether repeated blocks run through torch.compile."""

    @property
    def plans_only(self) -> bool:
        """Return whether another process renders, and may hold the device's memory now."""


def place(wanted: Wanted, *, offload: bool = False) -> Placement:
    """Return where and as what models compute; raises E_UNSUPPORTED for what is not there."""
    name = wanted.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    attention = choose_backend(wanted.attention, device)
    return Placement(device, dtype, offload, wanted.compiled, attention, wanted.plans_only)


def target_of(model: type[nn.Module], placement: Placement) -> Callable[[str], Target]:
    """Return where each tensor of a model of this class is to be loaded, by name.

    The class says what stays in float32 (`_keep_in_fp32_modules`) and which lists of modules may be
    streamed (`streamed`).
    """
    streamed: tuple[str, ...] = getattr(model, "streamed", ())
    place = targets(placement.device, placement.dtype, getattr(model, "_keep_in_fp32_modules", ()))

    def target(name: str) -> Target:
        home = place(name)
        if placement.offload and name.partition(".")[0] in streamed:
            return Target(HOST, home.dtype)
        return home

    return target


def settle(model: nn.Module, placement: Placement) -> None:
    """Make a loaded model run as placed: compile its repeated blocks, stream what is offloaded."""
    if placement.compiled:
        compile_blocks(model)
    if placement.offload:
        for name in getattr(model, "streamed", ()):
            modules: Any = getattr(model, name)
            stream_in(modules, placement.device)


def available(device: torch.device, *, whole: bool = False) -> int:
    """Return the bytes of a device that this process may still take, or already has and can reuse.

    Of the host what the kernel and the container's limit leave. `whole` counts all that a GPU has.
    """
    if device.type == "cuda":
        if whole:
            return int(torch.cuda.get_device_properties(device).total_memory)
        free, _ = torch.cuda.mem_get_info(device)
        return int(free) + torch.cuda.memory_reserved(device)
    if not MEMINFO.exists():  # not Linux: all there is
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    free = 1024 * int(lines["MemAvailable"].split()[0])
    for folder, limit, used in CGROUPS:
        if (file := folder / limit).exists() and (most := file.read_text().strip()).isdigit():
            free = min(free, int(most) - int((folder / used).read_text()) + _cached_files(folder))
    return max(0, free)


def _cached_files(folder: Path) -> int:
    """Return the bytes of files that a container's use counts and the kernel gives back at need."""
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def compile_blocks(model: nn.Module, **options: Any) -> None:
    """Compile the forward of every module that the model names in `_repeated_blocks`.

    The forward alone, so that what moves weights before it stays outside of the compiled part.
    """
    repeated: Sequence[str] = getattr(model, "_repeated_blocks", ())
    for module in model.modules():
        if type(module).__name__ in repeated:
            module.forward = torch.compile(module.forward, **options)


def stream_in(modules: Sequence[nn.Module], device: torch.device) -> None:
    """Run modules, needed in this order, on a device that holds two of them at a time."""
    Stream(modules, device)  # the modules' hooks keep it


class Stream:
    """Weights of like modules: all of them in host memory, at most two of them on the device."""

    def __init__(self, modules: Sequence[nn.Module], device: torch.device) -> None:
        self.device = device
        self.modules = list(modules)
        self.copies: Any = None
        if device.type == "cuda":
            self.copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.homes = [_homes(module, pinned=self.copies is not None) for module in self.modules]
        self.arrivals: dict[int, Any] = {}  # of those resident: what tells that they are there
        self.departures: dict[int, Any] = {}  # of the latest that ran: what tells that it has
        for index, module in enumerate(self.modules):
            module.register_forward_pre_hook(self._before(index))
            module.register_forward_hook(self._after(index), always_call=True)

    def _before(self, index: int) -> Callable[[nn.Module, Any], None]:
        def arrive(_module: nn.Module, _given: Any) -> None:
            for other in [other for other in self.arrivals if other != index]:
                self._leave(other)  # fetched for a run that was broken off
            self._fetch(index)
            if self.copies is not None:
                self.arrivals[index].wait(torch.cuda.current_stream(self.device))

        return arrive

    def _after(self, index: int) -> Callable[[nn.Module, Any, Any], None]:
        def leave(_module: nn.Module, _given: Any, _made: Any) -> None:
            event = _event() if self.copies is not None else None
            if event is not None:
                event.record(torch.cuda.current_stream(self.device))
            self._leave(index)
            # The host runs ahead of the device: the next module's weights may only take memory
            # once the module before this one has run and given back its own.
            for earlier in self.departures.values():
                if earlier is not None:
                    earlier.synchronize()
            self.departures = {index: event}
            if index + 1 < len(self.modules):
                self._fetch(index + 1)

        return leave

    def _fetch(self, index: int) -> None:
        """Start copying a module's weights to the device, unless they are there or on their way."""
        if index in self.arrivals:
            return
        if self.copies is None:
            for parameter, home in self.homes[index]:
                parameter.data = home.to(self.device, copy=True)
            self.arrivals[index] = None
            return
        user = torch.cuda.current_stream(self.device)
        event = _event()
        with torch.cuda.stream(self.copies):
            for parameter, home in self.homes[index]:
                there = home.to(self.device, non_blocking=True)
                there.record_stream(user)
                parameter.data = there
            event.record(self.copies)
        self.arrivals[index] = event

    def _leave(self, index: int) -> None:
        """Give the memory of a module's weights on the device back."""
        self.arrivals.pop(index, None)
        for parameter, home in self.homes[index]:
            parameter.data = home


def _event() -> Any:
    return torch.cuda.Event()  # type: ignore[no-untyped-call]


def _homes(module: nn.Module, *, pinned: bool) -> list[tuple[nn.Parameter, Tensor]]:
    """Return a module's parameters, each with its place in host memory."""
    homes = []
    for parameter in module.parameters():
        home = parameter.data.to(HOST)
        if pinned:
            home = home.pin_memory()
        parameter.data = home
        homes.append((parameter, home))
    return homes
