"""From noise to frames, step by step and window by window, as the Wan 2.1 models sample."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talkhead.models import schedule
from talkhead.models.passes import Pass
from talkhead.models.wan_transformer import Told, WanTransformer
from talkhead.models.wan_vae import levels

Frames = NDArray[np.uint8]  # (n, h, w, 3)
State = Mapping[str, NDArray[np.generic]]
Tick = Callable[[int, int], None]  # (done, total); raises to cancel


class Made(NamedTuple):
    """What came out of a window."""

    frames: Frames  # those that are new and wanted
    latents: Tensor  # f32 (c, t, h, w)
    prefix: Tensor | None  # f32 (c, p, h, w): what the next window begins with; None after all


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """When the network is asked, and at which of the times its blocks compute."""

    times: Tensor  # f32 (steps + 1,), from 1000 down to 0
    computed: tuple[bool, ...]  # the other steps use the last change again
    told: Tensor | None = None  # the times as the network is told them, where others than those


def denoise(
    network: WanTransformer,
    conditions: Mapping[Pass, Told],
    steps: Steps,
    guided: Callable[[Mapping[Pass, Tensor]], Tensor],
    start: tuple[Tensor, Tensor],
    tick: Tick,
) -> Tensor:
    """Return the clean latents f32 (c, t, h, w) from noise and the prefix that is known of them.

    Both are f32 (c, ., h, w), the prefix as long as it is known. Passes run one after the other;
    `guided` makes one velocity of theirs. `tick(step, steps)` is called before the first step and
    after each.
    """
    noise, prefix = (part[None] for part in start)
    latents = schedule.keep_prefix(noise, prefix)
    changes: dict[Pass, Tensor] = {}
    count = len(steps.computed)
    tick(0, count)
    for index in range(count):
        t = (steps.times if steps.told is None else steps.told)[index : index + 1]
        t = t.to(latents.device)
        outputs: dict[Pass, Tensor] = {}
        for name, told in conditions.items():
            if all(steps.computed):
                outputs[name] = network(latents, t, told)
            else:
                change = None if steps.computed[index] else changes[name]
                outputs[name], changes[name] = network.sample(latents, t, told, change)
        latents = schedule.step(latents, guided(outputs), steps.times, index, prefix)
        tick(index + 1, count)
    return latents[0]


def collect(
    pieces: Iterator[Tensor], seen: int, fresh: int, overlap: int, pulse: Callable[[], None]
) -> tuple[Frames, Tensor | None]:
    """Return a window's new frames, and f32 (overlap, 3, h, w) of the last of them, or None.

    `pieces` are its frames in order, f32 (n, 3, h, w) in 0..1, of which the first `seen` are known.
    Those after the wanted ones are not asked for. `pulse` is called after each piece.
    """
    frames: list[Frames] = []
    last: list[Tensor] = []
    for piece in pieces:
        frames.append(levels(piece))
        if overlap:
            last = [torch.cat([*last, piece])[-overlap:]]
        if sum(map(len, frames)) >= seen + fresh:
            break
        pulse()
    return np.concatenate(frames)[seen : seen + fresh], last[0] if last else None


def each_window(
    fresh: Sequence[int],
    state: State | None,
    make: Callable[[int, Tensor | None, Tick], Made],
    tick: Tick,
) -> Iterator[tuple[Frames, dict[str, NDArray[np.generic]]]]:
    """Yield each window's new frames, and the state from which the next one goes on.

    `fresh` says how many frames each yields. Goes on from `state`, or begins. `make(index, prefix,
    advance)` makes one, and counts its steps. `tick(done, total)` counts in frames of the video.
    """
    begin = int(state["window"]) if state else 0
    prefix = torch.tensor(state["prefix"]) if state and "prefix" in state else None
    total = sum(fresh)
    for index in range(begin, len(fresh)):
        before = sum(fresh[:index])

        def advance(step: int, steps: int, before: int = before, own: int = fresh[index]) -> None:
            tick(before + own * step // (steps + 1), total)  # the rest is for decoding

        done = make(index, prefix, advance)
        prefix = done.prefix
        left = {} if prefix is None else {"prefix": prefix.float().cpu().numpy()}
        yield done.frames, {"window": np.asarray(index + 1), **left}
        tick(before + fresh[index], total)
