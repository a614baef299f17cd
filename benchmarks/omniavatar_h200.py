"""OmniAvatar at full size on one GPU: time of a forward and of a chunk, peak memory.

Random weights (no result depends on them), 14B and 1.3B, chunks of 30,000 tokens, bfloat16.
The arithmetic floor of a forward is the operations it cannot do without (`operations`) at the rate
of a large product in the same run; the bar is 1.35 times that. A chunk is the second of three: it
goes on from a prefix and leaves one, and each of its steps is two forwards. For cards of 24 GB the
bar is a peak under 20 GiB. docs/engines/omniavatar.md quotes the results; predicted peaks
(models/estimates.py) are held against measured ones.

Sizes are width x height. Every path runs the first size; `plain` and `fast` all of them, `fast`
also a chunk of the last. Estimated seconds on an H200 with the default sizes, first 14B, then 1.3B:
plain 25, 8; fast 120, 60; fp8 55, 30; offload 90, 35; offload-fp8 80, 35; start 40. A path is left
out with --paths; `error` needs plain before it in the same run, `slowdown` fast.

Runs where there is torch and diffusers: PYTHONPATH=src python benchmarks/omniavatar_h200.py
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from _gpu import CUDA, PATHS, REPEATS, Say, begin, ceilings, network, peak, sizes_of, timed, vae
from talkhead.engines.omniavatar import pipeline
from talkhead.engines.omniavatar.pipeline import Inputs, Models, Settings
from talkhead.engines.omniavatar.published import NETWORKS, TEXT_DIM, load_for
from talkhead.engines.omniavatar.sizes import chunk_frames
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer
from talkhead.engines.omniavatar.windows import OVERLAP, padded_frames, plan_windows
from talkhead.models import estimates
from talkhead.models.estimates import TEXT, Layout, Network
from talkhead.models.passes import Guidance, Pass
from talkhead.models.windows import latent_frames

SIZES = "400x720,720x720,720x1280"
STEPS, SHIFT = 2, 5.0  # as many steps as show what one takes
GUIDED = Guidance(4.5, 4.5)  # two forwards a step
KNOWN = latent_frames(OVERLAP)  # latent frames that a chunk goes on from
FEATURES = 14 * 768  # numbers for each frame of speech
SEEN_AS = 700.0  # the time of a forward alone
SAME_WITHIN = 0.01  # operations as they are counted here and by models/estimates.py
BAR, CARD = 1.35, 20 * 2**30  # of a forward over its floor; bytes of a peak


@dataclass(frozen=True, slots=True)
class Before:
    """What later paths of a model are compared with, by size."""

    plain: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # velocities
    fast: dict[tuple[str, tuple[int, int]], float] = field(default_factory=dict)  # seconds


@dataclass(frozen=True, slots=True)
class Run:
    """One path of one model."""

    model: str  # a key of NETWORKS
    path: str  # a key of PATHS
    models: Models
    ceiling: float  # FLOP/s
    before: Before

    def compared(self, what: str, size: tuple[int, int], seconds: float) -> float | None:
        """Return how many times as long this takes as on the fast path, None if that did not run.

        `what` names what was measured.
        """
        if self.path == "fast":
            self.before.fast[what, size] = seconds
        fast = self.before.fast.get((what, size))
        return None if fast is None else round(seconds / fast, 3)


def operations(sizes: Network, tokens: int) -> float:
    """Return the floating point operations of one forward, as they are counted by hand.

    Of a block: self-attention's four products and itself; queries, output, keys and values of text
    and attention to it; feed-forward.
    """
    d, f, n = sizes.dim, sizes.ffn, tokens
    own = 8 * n * d**2 + 4 * n**2 * d
    text = 4 * n * d**2 + 4 * TEXT * d**2 + 4 * TEXT * n * d
    return float(sizes.layers * (own + text + 4 * n * d * f))


def agreed(sizes: Network, tokens: int) -> float:
    """Return `operations`; raises where models/estimates.py counts others."""
    counted, estimated = operations(sizes, tokens), sizes.pass_flops(tokens)
    if abs(estimated / counted - 1) > SAME_WITHIN:
        raise RuntimeError(f"{counted / 1e12:.0f} TFLOP by hand, estimated {estimated / 1e12:.0f}")
    return counted


def inputs(size: tuple[int, int]) -> Inputs:
    """Return random inputs of a job of three chunks."""
    width, height = size
    long = chunk_frames(height, width)
    windows = plan_windows(3 * long - 1 - 2 * OVERLAP, long)
    made = torch.Generator().manual_seed(3)
    return Inputs(
        windows=windows,
        picture=np.random.default_rng(4).integers(0, 256, (height, width, 3), np.uint8),
        text=torch.randn(40, TEXT_DIM, generator=made),
        negative=torch.randn(120, TEXT_DIM, generator=made),
        speech=torch.randn(padded_frames(windows), FEATURES, generator=made).numpy(),
    )


@torch.inference_mode()
def forward(run: Run, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Return time, shares of floor and ceiling, error and memory of one forward."""
    told = inputs(size)
    load, sizes, net = load_for(told.windows, size, 1, 2), NETWORKS[run.model], run.models
    with peak() as memory:
        job = pipeline.ready(net, told, Settings(1, SHIFT, GUIDED, 5))
        condition = pipeline.conditions(net.transformer, job, 1, KNOWN)[Pass.BOTH]
        shape = 1, 16, latent_frames(load.longest), size[1] // 8, size[0] // 8
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(6)).to(CUDA)
        t, kept = torch.tensor([SEEN_AS], device=CUDA), list[Tensor]()

        def work() -> None:
            kept[:] = [net.transformer(noise, t, condition)]

        seconds = timed(work, repeats)
    if run.path == "plain":
        run.before.plain[size] = kept[0].cpu()
    plain, error = run.before.plain.get(size), None
    if plain is not None:
        error = round(float((kept[0].cpu() - plain).norm() / plain.norm()), 5)
    tokens = load.tokens(load.longest)
    floor = agreed(sizes, tokens) / run.ceiling
    return {
        "size": "{}x{}".format(*size),
        "frames": load.longest,
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "tflop": round(operations(sizes, tokens) / 1e12),
        "floor_s": round(floor, 3),
        "of_floor": round(seconds / floor, 3),
        "within_bar": seconds <= BAR * floor,
        "mfu": round(floor / seconds, 3),
        "error": error,
        "slowdown": run.compared("forward", size, seconds),
        "peak_gb": round(memory[0], 2),
    }


@torch.inference_mode()
def chunk(run: Run, size: tuple[int, int]) -> dict[str, Any]:
    """Return seconds of a second chunk and what they consist of, and peaks, also predicted."""
    told, net = inputs(size), run.models
    settings = Settings(STEPS, SHIFT, GUIDED, 5)
    marks: list[tuple[int, float]] = []  # steps done, and when

    def mark(steps: int, _of: int) -> None:
        torch.cuda.synchronize()
        marks.append((steps, time.perf_counter()))

    with peak() as memory:
        # The first chunk, of one step, brings the prefix; after it nothing is new to the second.
        brief = pipeline.ready(net, told, replace(settings, steps=1))
        prefix = pipeline.window(net, brief, 0, None, lambda *_: None).prefix
        del brief
        job = pipeline.ready(net, told, settings)
        torch.cuda.synchronize()
        start = time.perf_counter()
        pipeline.window(net, job, 1, prefix, mark)
        torch.cuda.synchronize()
        end = time.perf_counter()
    begun = marks[0][1]
    sampled = next(at for step, at in marks if step == STEPS)
    return {
        "size": "{}x{}".format(*size),
        "fresh_frames": told.windows[1].fresh,
        "steps": STEPS,
        "chunk_s": round(end - start, 2),
        "conditioning_s": round(begun - start, 3),
        "steps_s": round(sampled - begun, 3),
        "step_s": round((sampled - begun) / STEPS, 3),
        "decoding_s": round(end - sampled, 3),  # and encoding what is handed over
        "slowdown": run.compared("step", size, sampled - begun),
        **peaks(run, size, told, memory[0]),
    }


def peaks(run: Run, size: tuple[int, int], told: Inputs, measured: float) -> dict[str, Any]:
    """Return a measured peak in 10^9 bytes, and the one that a plan would predict."""
    _, compiled, fp8, offload = PATHS[run.path]
    # the encoder of text is not here
    sizes = replace(NETWORKS[run.model], encoder=0, compiled=compiled)
    sizes = sizes.quantised(2) if fp8 else sizes
    load = load_for(told.windows, size, STEPS, 2)
    predicted = estimates.peak(load, sizes, Layout(offload), 2).device - estimates.OVERHEAD
    return {
        "peak_gb": round(measured, 2),
        "predicted_gb": round(predicted / 1e9, 2),
        "under_20_gib": measured * 1e9 < CARD,
    }


def measure(run: Run, sizes: Sequence[tuple[int, int]], say: Say) -> None:
    """Measure one path of one model."""
    names: Mapping[str, Any] = {"model": run.model, "path": run.path}
    plain, fast = run.path == "plain", run.path == "fast"
    for size in sizes if plain or fast else sizes[:1]:
        say("forward", **names, **forward(run, size, 1 if plain else REPEATS))
    if not plain:
        say("chunk", **names, **chunk(run, sizes[0]))
    if fast and len(sizes) > 1:
        say("chunk", **names, **chunk(run, sizes[-1]))


def build(model: str, attention: str) -> OmniAvatarTransformer:
    """Return the published network of a size, without weights."""
    sizes = NETWORKS[model]
    net: OmniAvatarTransformer = OmniAvatarTransformer(
        num_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.dim // sizes.heads,
        ffn_dim=sizes.ffn,
        attention_backend=attention,
    )
    return net


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(NETWORKS), help="which, with commas")
    parser.add_argument("--paths", default=",".join(PATHS), help="which, with commas")
    parser.add_argument("--sizes", default=SIZES, help="which, with commas; the first is the main")
    parser.add_argument("--out", help="write all lines to this file as JSON")
    options = parser.parse_args()
    sizes, say = sizes_of(options.sizes), begin(options.out)
    ceiling, decoder = ceilings(say), vae()
    for model in options.models.split(","):
        before = Before()
        for path in options.paths.split(","):
            torch.compiler.reset()  # else blocks of many shapes reach the limit and run as written
            start = time.perf_counter()
            net = network(path, lambda attention, model=model: build(model, attention))
            run = Run(model, path, Models(net, decoder), ceiling, before)
            say("loaded", model=model, path=path, seconds=round(time.perf_counter() - start, 1))
            measure(run, sizes, say)
            del net, run  # before the next one is there: two may not fit
            say("path", model=model, path=path, seconds=round(time.perf_counter() - start, 1))


if __name__ == "__main__":
    main()
