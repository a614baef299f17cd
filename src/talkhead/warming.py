"""Warming up: an engine loads and compiles before the first job asks for it."""

import time

import numpy as np

from talkhead.engines import Inputs, Plan, Probe, Speaker, Spec
from talkhead.runtime import Runtime

SECONDS = 4  # of speech: longer than any engine's window, so that a whole one is made


def warm_up(runtime: Runtime, size: str) -> float:
    """Make the default engine's first frames, of a grey picture and silence; return the seconds.

    `size` is such as "640x640". What the engine loads for its default settings stays loaded; other
    settings may need other weights, and other sizes other kernels. An engine without weights has
    nothing to warm. Raises what its jobs would: E_PIPELINE_LOAD, E_CAPACITY.
    """
    start = time.monotonic()
    name, _ = runtime.choose("auto")
    engine = runtime.engine(name)
    if not engine.spec.weights:
        return 0.0
    width, height = (int(side) for side in size.split("x"))
    probe = _probe(engine.spec, width, height, runtime.options(name, {}))
    plan = engine.plan(probe)
    prepared = engine.prepare(_inputs(engine.spec, probe, plan), plan, _pass)
    next(engine.generate(prepared, plan, _pass, None))
    return time.monotonic() - start


def _probe(spec: Spec, width: int, height: int, options: object) -> Probe:
    return Probe(
        width=width,
        height=height,
        fps=spec.fps,
        frames=int(SECONDS * spec.fps),
        faces=(),
        speech_seconds=SECONDS,
        estimated=False,
        options=options,
        sampling={"steps": 1},
    )


def _inputs(spec: Spec, probe: Probe, plan: Plan) -> Inputs:
    silence = np.zeros(SECONDS * spec.sample_rate, np.float32)
    return Inputs(
        picture=np.full((plan.height, plan.width, 3), 128, np.uint8),
        speakers=(Speaker(speech=silence, face=None),),
        seed=0,
        sampling=probe.sampling,
        options=probe.options,
    )


def _pass(_done: int, _total: int) -> None:
    """Let time go by."""
