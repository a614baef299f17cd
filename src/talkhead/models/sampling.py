"""From noise to a window's latents, step by step, as the Wan 2.1 models sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from talkhead.models import schedule
from talkhead.models.passes import Pass
from talkhead.models.wan_transformer import Told, WanTransformer


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """When the network is asked, and at which of the times its blocks compute."""

    times: Tensor  # f32 (steps + 1,), from 1000 down to 0
    computed: tuple[bool, ...]  # the other steps use the last change again


def denoise(
    network: WanTransformer,
    conditions: Mapping[Pass, Told],
    steps: Steps,
    guided: Callable[[Mapping[Pass, Tensor]], Tensor],
    start: tuple[Tensor, Tensor],
    tick: Callable[[int, int], None],
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
        t = steps.times[index : index + 1].to(latents.device)
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
