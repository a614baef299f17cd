"""InfiniteTalk: a portrait speaks, drawn anew by a video diffusion model. Needs weights and a GPU.

Speech, prompt and pictures are encoded once (`prepare`); windows of 81 frames follow one another,
each going on from the last frames of the one before (`generate`). torch is loaded by what computes,
not by this module, so that planning without weights stays cheap.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from talkhead.engines import (
    Arrays,
    Chunk,
    Fitting,
    Inputs,
    Plan,
    Probe,
    Spec,
    Supplies,
    Tick,
    wan,
)
from talkhead.engines.infinitetalk import presets
from talkhead.engines.infinitetalk.choice import Choice, choice_of, located
from talkhead.engines.infinitetalk.published import NETWORK
from talkhead.engines.infinitetalk.sizes import BUCKETS_480, BUCKETS_720
from talkhead.engines.infinitetalk.upstream import OFFICIAL, Upstream
from talkhead.engines.infinitetalk.windows import FPS
from talkhead.engines.settled import read, written
from talkhead.models.windows import Window

if TYPE_CHECKING:
    from talkhead.engines.infinitetalk.pipeline import Models

Moments = tuple[float, ...]  # seconds

PROMPT = "a person is talking"
NEGATIVE_PROMPT = (  # the official code's
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, ugly, "
    "incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, "
    "misshapen limbs, fused fingers, still picture, messy background, three legs, many people in "
    "the background, walking backwards"
)


class InfiniteTalk:
    """Implements Engine."""

    spec = Spec(
        name="infinitetalk",
        version="1",
        fps=Fraction(FPS),
        fps_range=(Fraction(FPS), Fraction(FPS)),
        sample_rate=16_000,
        multiple=16,
        min_side=256,
        max_pixels=1280 * 1280,
        max_speakers=2,
        needs_face=False,
        accepts_video=True,
        weights=("infinitetalk", "infinitetalk-multi", "infinitetalk-fp8", "infinitetalk-fast"),
        licence="not stated in our sources: see the model's page",
        buckets={480: BUCKETS_480, 720: BUCKETS_720},
    )

    def __init__(self, supplies: Supplies) -> None:
        self.supplies = supplies
        self._models: dict[tuple[Choice, bool], Models] = {}  # those of the last job alone

    def plan(self, probe: Probe) -> Plan:
        """Cut the video into windows, each a chunk, and estimate the work from their sizes.

        Raises E_CAPACITY where it does not fit into memory, with the settings that would.
        """
        asked = _settled(probe.options, probe, (probe.width, probe.height))
        load = presets.load_of(asked, probe.frames, (probe.width, probe.height), probe.speakers)
        choice = choice_of(asked, probe.speakers)
        lack = wan.lacking(located, self.supplies.files, choice)
        if lack is not None:
            weighed = wan.guessed(NETWORK, probe.memory, lack)
        else:
            from talkhead.engines.infinitetalk import weighing  # noqa: PLC0415 (torch)

            weighed = weighing.weigh(self.supplies, choice, load, probe.memory, asked["vae_tiling"])
        windows = presets.windows_of(asked, probe.frames)
        moments = _moments(asked, windows, probe.source_fps)
        return wan.planned(self.spec.name, probe, windows, load, weighed, moments)

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Encode prompt, pictures and speech; raises E_PIPELINE_LOAD before any work."""
        from talkhead.engines.infinitetalk import (  # noqa: PLC0415 (torch)
            checkpoint,
            prepared,
            weighing,
        )
        from talkhead.models.placement import place  # noqa: PLC0415
        from talkhead.models.wan_text import encode_texts  # noqa: PLC0415

        supplies, speakers = self.supplies, len(inputs.speakers)
        size = plan.width, plan.height
        asked = _settled(inputs.options, inputs, size)
        load = presets.load_of(asked, plan.frames, size, speakers)
        choice = choice_of(asked, speakers)
        weighed = weighing.weigh(supplies, choice, load, inputs.memory, asked["vae_tiling"])
        # a job that goes on has to tile as it began, whatever is free then
        asked |= {"seed": inputs.seed, "vae_tiling": weighed.layout.tiles}
        asked["offload"] = inputs.memory.offload
        there = place(supplies)
        stored = checkpoint.stored(supplies.files, choice, there.device)
        prompts = [inputs.prompt or PROMPT]
        if asked["text_guidance"] != 1:  # else no pass reads it
            prompts.append(inputs.negative_prompt or NEGATIVE_PROMPT)
        tick(0, 1)
        texts = encode_texts(supplies.files, supplies.prompts, prompts, there)
        pictures = inputs.pictures if len(inputs.pictures) else [inputs.picture]
        looks = checkpoint.encode_pictures(supplies.files, pictures, there, lambda: tick(0, 1))
        speech = inputs.room(checkpoint.features_shape(supplies.files, speakers, plan.frames))
        tracks = [speaker.speech for speaker in inputs.speakers]
        loud = asked["normalize_loudness"]
        checkpoint.encode_speech(supplies.files, tracks, speech, there.device, loud=loud, tick=tick)
        return {
            "pictures": np.asarray(pictures),
            "looks": looks.numpy(),
            "text": texts[0].numpy(),
            "negative": texts[-1].numpy(),
            "speech": speech,
            "boxes": prepared.boxes_of(inputs.speakers, plan),
            "asked": written(asked),
            "warnings": np.asarray(stored.merge.warnings, np.str_),
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk]:
        """Make the windows from `state` on; each is a chunk."""
        from talkhead.engines.infinitetalk import (  # noqa: PLC0415 (torch)
            checkpoint,
            pipeline,
            weighing,
        )
        from talkhead.engines.infinitetalk.prepared import (  # noqa: PLC0415
            inputs_of,
            settings_of,
        )

        asked = read(prepared)
        inputs = inputs_of(prepared, asked, plan)
        if state is not None and int(state["window"]) == len(inputs.windows):
            return

        def loading(_done: int, _total: int) -> None:
            tick(0, plan.frames)  # time goes by, and no frame is made

        speakers = len(inputs.speech)
        load = presets.load_of(asked, plan.frames, (plan.width, plan.height), speakers)
        choice, memory = choice_of(asked, speakers), Fitting(asked["offload"])
        layout = weighing.weigh(self.supplies, choice, load, memory, asked["vae_tiling"]).layout
        models = wan.loaded(
            self._models, checkpoint.load_models, self.supplies, choice, layout, loading
        )
        for frames, left in pipeline.generate(models, inputs, settings_of(asked), state, tick):
            yield Chunk(frames, left)


def _settled(options: Any, request: Probe | Inputs, size: tuple[int, int]) -> dict[str, Any]:
    """Return a job's settings in one table."""
    from talkhead.engines.infinitetalk.options import Options  # noqa: PLC0415 (pydantic)

    given = (options or Options()).model_dump()
    settled = presets.settled(given, request.quality, request.sampling, *size)
    return {**settled, "quant": request.memory.quant}


def _moments(
    asked: Mapping[str, Any], windows: Sequence[Window], source_fps: Fraction | None
) -> tuple[float, ...]:
    """Return when in its source each window looks; the official code counts frames instead."""
    if source_fps is None:
        return (0.0,)
    upstream = OFFICIAL if asked["official"] else Upstream()
    rate = source_fps if upstream.source_by_index else FPS
    return tuple(float(window.start / rate) for window in windows)
