"""The engines on Wan 2.1 by themselves, at a tiny size: plans, inputs and frames."""

from fractions import Fraction
from typing import Any

import numpy as np

from talkhead.engines import Arrays, Chunk, Engine, Inputs, Plan, Probe, Speaker

WIDTH, HEIGHT = 48, 32


def quiet(_done: int, _total: int) -> None:
    pass


def planned(engine: Engine, frames: int, **more: Any) -> Plan:
    """Return an engine's plan for so many frames; `more` is of the probe."""
    known: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "fps": Fraction(25), "faces": ()}
    known |= {"frames": frames, "speech_seconds": frames / 25, "estimated": False}
    return engine.plan(Probe(**{**known, **more}))


def given(frames: int, voices: int = 1, **more: Any) -> Inputs:
    """Return random inputs of so many frames, spoken by so many."""
    made = np.random.default_rng(8)
    picture = made.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)  # the same for any length
    heard = [made.normal(0, 0.1, frames * 640).astype(np.float32) for _ in range(voices)]
    known: dict[str, Any] = {"speakers": tuple(Speaker(voice, None) for voice in heard)}
    known |= {"picture": picture, "seed": 5, "prompt": "a person is talking"}
    return Inputs(**{**known, **more})


def made(engine: Engine, prepared: Arrays, plan: Plan, state: Any = None) -> list[Chunk]:
    """Return all chunks of a job, or those after a state."""
    return list(engine.generate(prepared, plan, quiet, state))
