"""InfiniteTalk at full size on one GPU: time of a forward and of a window, peak memory.

Random weights (no result depends on them), 81 frames, bfloat16; ceilings are measured
in the same run. docs/engines/infinitetalk.md quotes the results; predicted peaks
(engines/infinitetalk/estimates.py) are held against measured ones.

Runs where there is torch and diffusers: PYTHONPATH=src python benchmarks/infinitetalk_h200.py
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from _gpu import CUDA, PATHS, REPEATS, Say, begin, ceilings, network, peak, sizes_of, timed, vae
from talkhead.engines.infinitetalk import pipeline
from talkhead.engines.infinitetalk.conditioning import grid_masks, speaker_boxes, speaker_masks
from talkhead.engines.infinitetalk.pipeline import Inputs, Models, Settings
from talkhead.engines.infinitetalk.published import NETWORK, load_for
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models import estimates
from talkhead.models.estimates import Held, Layout
from talkhead.models.passes import Guidance
from talkhead.models.wan_vae import Stills

SIZES = ((640, 640), (832, 480), (1280, 720))
OWN_PATHS = "plain,fast,fp8,offload"
LONG = 1280 * 720  # of such a picture's forward one run tells enough
PLAIN: dict[tuple[tuple[int, int], int], Tensor] = {}  # velocities of the plain path


def inputs(width: int, height: int, speakers: int, frames: int) -> Inputs:
    """Return random inputs of a job."""
    made = torch.Generator().manual_seed(3)
    rows, columns = height // 8, width // 8
    masks = speaker_masks(height, width, speaker_boxes(height, width)[: 2 * (speakers > 1)])
    return Inputs(
        windows=plan_windows(frames),
        pictures=[np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8)],
        looks=torch.randn(1, 257, 1280, generator=made),
        text=torch.randn(40, 4096, generator=made),
        negative=torch.randn(120, 4096, generator=made),
        speech=list(torch.randn(speakers, frames, 12, 768, generator=made).numpy()),
        masks=grid_masks(masks, rows, columns) if speakers > 1 else None,
    )


@torch.inference_mode()
def conditions(models: Models, job: Any) -> tuple[Tensor, Tensor, Any]:
    """Return noise, a time and the condition of the first window's only pass."""
    known = pipeline._known(models, job, 0)
    noise = torch.randn(1, *known.shape, generator=torch.Generator().manual_seed(6)).to(CUDA)
    (told_of,) = pipeline._conditions(models, job, 0, known).values()
    return noise, torch.tensor([700.0], device=CUDA), told_of


@torch.inference_mode()
def forward(models: Models, size: tuple[int, int], speakers: int, ceiling: float) -> dict[str, Any]:
    """Return time, share of the ceiling and memory of one forward."""
    width, height = size
    told = inputs(width, height, speakers, 81)
    job = pipeline.ready(models, told, Settings(4, 7.0, Guidance(1, 1), 5))
    noise, t, condition = conditions(models, job)
    kept: list[Tensor] = []

    def work() -> None:
        kept[:] = [models.transformer(noise, t, condition)]

    with peak() as memory:
        seconds = timed(work, REPEATS if width * height < LONG else 1)
    made = kept[0]
    plain = PLAIN.setdefault((size, speakers), made)  # of the first placement: eager, sdpa
    error = float((made - plain).norm() / plain.norm())
    load = load_for(told.windows, size, 4, 1, speakers)
    flops = NETWORK.pass_flops(load.tokens(81), load.others)
    return {
        "size": f"{width}x{height}",
        "speakers": speakers,
        "seconds": round(seconds, 3),
        "mfu": round(flops / seconds / ceiling, 3),
        "error": round(error, 5),
        "peak_gb": round(memory[0], 2),
    }


@torch.inference_mode()
def window(models: Models, size: tuple[int, int], layout: Layout, *, fp8: bool) -> dict[str, Any]:
    """Return seconds of two windows and what they consist of, and predicted and measured peak."""
    told = inputs(*size, 1, 153)
    settings = Settings(4, 7.0, Guidance(1, 1), 5)
    marks: list[tuple[int, float]] = []  # steps done, and when

    def mark(steps: int) -> None:
        torch.cuda.synchronize()
        marks.append((steps, time.perf_counter()))

    with peak() as memory:
        job = pipeline.ready(models, told, settings)
        prefix = None
        for index in range(2):
            marks.clear()  # the second window counts: it has a prefix, and nothing is new to it
            torch.cuda.synchronize()
            start = time.perf_counter()
            made = pipeline.window(models, job, index, prefix, lambda step, _: mark(step))
            prefix = made.prefix
            torch.cuda.synchronize()
            end = time.perf_counter()
    begun = marks[0][1]
    sampled = next(at for step, at in marks if step == settings.steps)
    load = load_for(told.windows, size, 4, 1)
    held = Held(19_200_000_000, 18_570_000_000, 352_000_000) if fp8 else None  # a byte a number
    # the encoder of text is not here
    sizes = replace(NETWORK, encoder=0, held=held, compiled=True)
    predicted = estimates.peak(load, sizes, layout, 2).device - estimates.OVERHEAD
    return {
        "size": "{}x{}".format(*size),
        "second_window_s": round(end - start, 2),
        "conditioning_s": round(begun - start, 3),
        "steps_s": round(sampled - begun, 3),
        "decoding_s": round(end - sampled, 3),
        "peak_gb": round(memory[0], 2),
        "predicted_gb": round(predicted / 1e9, 2),
    }


def measure(
    path: str,
    decoder: AutoencoderKLWan,
    sizes: Sequence[tuple[int, int]],
    ceiling: float,
    say: Say,
    *,
    long: bool,
) -> None:
    """Measure one of PATHS; with `long` also two speakers and a window of the largest size."""
    _, _, fp8, offload = PATHS[path]
    net = network(path, lambda attention: InfiniteTalkTransformer(attention_backend=attention))
    models = Models(net, decoder, Stills(decoder))
    for size in sizes if path == "fast" else sizes[:1]:
        say("forward", path=path, **forward(models, size, 1, ceiling))
    if path != "plain":
        say("window", path=path, **window(models, sizes[0], Layout(offload), fp8=fp8))
    if path == "fast" and long:
        say("forward", path=path, **forward(models, sizes[0], 2, ceiling))
        say("window", path=path, **window(models, sizes[-1], Layout(offload), fp8=fp8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paths", default=OWN_PATHS, help="which, with commas")
    parser.add_argument("--sizes", default=",".join("{}x{}".format(*one) for one in SIZES))
    parser.add_argument("--long", action="store_true", help="two speakers, a window of 1280x720")
    parser.add_argument("--out", help="write all lines to this file as JSON")
    options = parser.parse_args()
    sizes, say = sizes_of(options.sizes), begin(options.out)
    ceiling, decoder = ceilings(say), vae()
    for path in options.paths.split(","):
        measure(path, decoder, sizes, ceiling, say, long=options.long)


if __name__ == "__main__":
    main()
