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
    cut_segments,
)
from talkhead.engines.infinitetalk import presets
from talkhead.engines.infinitetalk.choice import Choice, choice_of, located
from talkhead.engines.infinitetalk.published import NETWORK
from talkhead.engines.infinitetalk.sizes import BUCKETS_480, BUCKETS_720
from talkhead.engines.infinitetalk.upstream import OFFICIAL, Upstream
from talkhead.engines.infinitetalk.windows import FPS
from talkhead.engines.settled import read, written
from talkhead.errors import Code, TalkheadError
from talkhead.models import estimates, fitting
from talkhead.models.estimates import Layout, Load
from talkhead.models.windows import Window, chunks

if TYPE_CHECKING:
    from talkhead.engines.infinitetalk.pipeline import Models
    from talkhead.models.weighing import Weighed

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
        weighed, warnings = self._weighed(choice, load, probe.memory, asked["vae_tiling"])
        windows = presets.windows_of(asked, probe.frames)
        device, itemsize = "cuda", 2
        network = NETWORK.quantised(itemsize) if asked["quant"] else NETWORK
        layout = Layout(probe.memory.offload == "block")
        if weighed:
            network, layout = weighed.network, weighed.layout
            device, itemsize = weighed.machine.device, weighed.machine.itemsize
        return Plan(
            engine=self.spec.name,
            width=probe.width,
            height=probe.height,
            fps=probe.fps,
            frames=probe.frames,
            segments=cut_segments(chunks(windows), probe.fps),
            windows=load.windows,
            seconds=estimates.seconds(load, network, device, itemsize),
            memory_bytes=estimates.peak(load, network, layout, itemsize).device,
            estimated=probe.estimated,
            warnings=tuple(warnings),
            moments=_moments(asked, windows, probe.source_fps),
            weights=weighed.identity if weighed else "",
        )

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
            "warnings": np.asarray(checkpoint.lora_warnings(supplies.files, choice), np.str_),
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk]:
        """Make the windows from `state` on; each is a chunk."""
        from talkhead.engines.infinitetalk import pipeline  # noqa: PLC0415 (torch)
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
        models = self._loaded(choice_of(asked, speakers), load, asked, loading)
        for frames, left in pipeline.generate(models, inputs, settings_of(asked), state, tick):
            yield Chunk(frames, left)

    def _weighed(
        self, choice: Choice, load: Load, memory: Fitting, tiles: bool | None
    ) -> tuple["Weighed | None", list[str]]:
        """Return how a job fits here, None without its weights, and what to tell of it."""
        try:
            located(self.supplies.files, choice)
        except TalkheadError as error:
            if error.code is not Code.WEIGHTS:
                raise
            told = f"estimated from published sizes, for an H100: {error.message}; {error.hint}"
            return None, [told]
        from talkhead.engines.infinitetalk import weighing  # noqa: PLC0415 (torch)

        weighed = weighing.weigh(self.supplies, choice, load, memory, tiles)
        return weighed, [*weighed.notes, *fitting.told(weighed.layout, memory.offload, tiles)]

    def _loaded(self, choice: Choice, load: Load, asked: Mapping[str, Any], tick: Tick) -> "Models":
        """Return the networks of a job; those of the last one, where they are the same."""
        from talkhead.engines.infinitetalk import checkpoint, weighing  # noqa: PLC0415 (torch)
        from talkhead.models.placement import place  # noqa: PLC0415

        memory = Fitting(asked["offload"])
        layout = weighing.weigh(self.supplies, choice, load, memory, asked["vae_tiling"]).layout
        if (choice, layout.offload) not in self._models:
            self._models.clear()  # before the others are loaded: two do not fit
            there = place(self.supplies, offload=layout.offload)
            self._models[choice, layout.offload] = checkpoint.load_models(
                self.supplies.files, choice, there, tick
            )
        return self._models[choice, layout.offload]


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
