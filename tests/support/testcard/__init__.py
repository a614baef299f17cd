"""Engines without faces, for tests of the job path.

The grey levels of the test card tell the frame's number; those of the clip card are the mean of the
source's picture at the start of each window.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from support.testcard.options import Options
from talkhead.engines import (
    Arrays,
    Bucket,
    Checkpoint,
    Chunk,
    Inputs,
    Plan,
    Probe,
    Spec,
    Tick,
    cut_segments,
)

WINDOW = 40
CALLS: list[str] = []  # what the engine was asked to do in this process


class TestCard:
    """Implements Engine. Yields a checkpoint before each window, as diffusion engines may."""

    __test__ = False  # not a test case, whatever its name
    spec = Spec(
        name="testcard",
        version="1",
        fps=Fraction(25),
        fps_range=(Fraction(25), Fraction(25)),
        sample_rate=16_000,
        multiple=16,
        min_side=256,
        max_pixels=640 * 640,
        max_speakers=2,
        needs_face=False,
        accepts_video=False,
        weights=(),
        licence="Apache-2.0",
    )

    def plan(self, probe: Probe) -> Plan:
        whole, rest = divmod(probe.frames, WINDOW)
        windows = (WINDOW,) * whole + ((rest,) if rest else ())
        return Plan(
            engine=self.spec.name,
            width=probe.width,
            height=probe.height,
            fps=probe.fps,
            frames=probe.frames,
            segments=cut_segments(windows, probe.fps),
            windows=windows,
            seconds=0.01 * probe.frames,
            memory_bytes=1_000_000,
            estimated=probe.estimated,
            resumable="checkpoint",
            warnings=("testcard shows no face",),
        )

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        CALLS.append("prepare")
        tick(1, 1)
        options: Options = inputs.options
        loud = np.asarray([np.abs(s.speech).max(initial=0) for s in inputs.speakers])
        features = inputs.room((options.features_mb, 2**18))
        features[:] = 7
        return {
            "features": features,
            "levels": np.arange(plan.frames) % 200,
            "pause": np.asarray(options.pause),
            "loud": loud,
            "fault": np.asarray(options.fault),
            "warnings": np.asarray(["it is only a test card"]),
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk | Checkpoint]:
        fault = str(prepared["fault"])
        start = int(state["next"]) if state else 0
        CALLS.append(f"generate from {start}")
        assert (prepared["features"] == 7).all()
        done = 0
        for size in plan.windows:
            done += size
            if done <= start:
                continue
            yield Checkpoint({"next": np.asarray(done - size), "step": np.asarray(3)})
            tick(done - size, plan.frames)
            time.sleep(float(prepared["pause"]))
            if fault == "memory" and done > 80:
                raise MemoryError
            levels = prepared["levels"][done - size : done].astype(np.uint8)
            frames = np.broadcast_to(
                levels[:, None, None, None], (size, plan.height, plan.width, 3)
            )
            if fault == "short" and done == plan.frames:
                return
            yield Chunk(np.ascontiguousarray(frames), {"next": np.asarray(done)})
        tick(plan.frames, plan.frames)


class ClipCard(TestCard):
    """A test card that takes videos, has trained sizes, and remembers what it was given."""

    spec = replace(
        TestCard.spec,
        name="clipcard",
        accepts_video=True,
        buckets={
            480: (Bucket(0.5, 256, 512), Bucket(1.0, 384, 384), Bucket(2.0, 512, 256)),
            720: (Bucket(0.5, 320, 640), Bucket(1.0, 480, 480), Bucket(2.0, 640, 320)),
        },
    )

    def __init__(self) -> None:
        self.probe: Probe | None = None
        self.inputs: Inputs | None = None

    def plan(self, probe: Probe) -> Plan:
        self.probe = probe
        plan = super().plan(probe)
        if probe.source_fps is None:
            return plan
        starts = np.cumsum((0, *plan.windows[:-1]))
        return replace(plan, moments=tuple(float(start / plan.fps) for start in starts))

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        self.inputs = inputs
        means = [round(picture.mean()) for picture in inputs.pictures]
        levels = np.repeat(
            means or [round(inputs.picture.mean())], plan.windows if means else plan.frames
        )
        return {**super().prepare(inputs, plan, tick), "levels": levels}
