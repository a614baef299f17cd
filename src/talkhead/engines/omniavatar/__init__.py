"""OmniAvatar: a portrait speaks and moves as a prompt says. Needs weights and a GPU.

Prompt and speech are encoded once (`prepare`); chunks of some seconds follow one another, each
going on from the last frames of the one before (`generate`). torch is loaded by what computes, not
by this module, so that planning without weights stays cheap.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

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
from talkhead.engines.omniavatar import presets
from talkhead.engines.omniavatar.choice import AUTO, Choice, choice_of, located
from talkhead.engines.omniavatar.choice import transformer as best  # a module has its name here
from talkhead.engines.omniavatar.published import NETWORKS
from talkhead.engines.omniavatar.sizes import BUCKETS_480, BUCKETS_720
from talkhead.engines.omniavatar.windows import FPS
from talkhead.engines.settled import read, written
from talkhead.models.estimates import Load
from talkhead.models.windows import Window

if TYPE_CHECKING:
    from talkhead.engines.omniavatar.pipeline import Models

PROMPT = "A person is looking at the camera and talking, in a room."
NEGATIVE_PROMPT = (
    "glaring colors, overexposed, background or camera moving, blurred details, subtitles, a "
    "painting, still image, low quality, compression artifacts, ugly, distorted face, extra "
    "fingers, badly drawn hands, fused fingers, extra limbs, three legs, crowd in the background, "
    "walking backward"
)


class OmniAvatar:
    """Implements Engine."""

    spec = Spec(
        name="omniavatar",
        version="1",
        fps=Fraction(FPS),
        fps_range=(Fraction(FPS), Fraction(FPS)),
        sample_rate=16_000,
        multiple=16,
        min_side=256,
        max_pixels=1280 * 1280,
        max_speakers=1,
        needs_face=False,
        accepts_video=False,
        weights=("omniavatar", "omniavatar-1.3b"),
        licence="not stated in our sources: see the model's page",
        buckets={480: BUCKETS_480, 720: BUCKETS_720},
    )

    def __init__(self, supplies: Supplies) -> None:
        self.supplies = supplies
        self._models: dict[tuple[Choice, bool], Models] = {}  # those of the last job alone

    def plan(self, probe: Probe) -> Plan:
        """Cut the video into chunks and estimate the work from their sizes.

        Raises E_CAPACITY where it does not fit into memory, with the settings that would.
        """
        asked = _settled(probe.options, probe)
        size = probe.width, probe.height
        windows, load = _load_of(asked, probe.frames, size)
        choice = choice_of(asked)
        lack = wan.lacking(located, self.supplies.files, choice)
        if lack is not None:
            network = NETWORKS["14B" if choice.model == AUTO else choice.model]
            weighed = wan.guessed(network, probe.memory, lack)
        else:
            from talkhead.engines.omniavatar import weighing  # noqa: PLC0415 (torch)

            weighed = weighing.weigh(self.supplies, choice, load, probe.memory, asked["vae_tiling"])
        return wan.planned(self.spec.name, probe, windows, load, weighed)

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Encode prompt and speech; raises E_PIPELINE_LOAD before any work."""
        from talkhead.engines.omniavatar import checkpoint, weighing  # noqa: PLC0415 (torch)
        from talkhead.models.placement import place  # noqa: PLC0415
        from talkhead.models.wan_text import encode_texts  # noqa: PLC0415

        supplies = self.supplies
        asked = _settled(inputs.options, inputs)
        size = plan.width, plan.height
        load = presets.load_of(asked, plan.frames, size)
        choice = choice_of(asked)
        weighed = weighing.weigh(supplies, choice, load, inputs.memory, asked["vae_tiling"])
        # a job that goes on has to tile as it began, and with the same network, whatever is here
        asked |= {
            "seed": inputs.seed,
            "vae_tiling": weighed.layout.tiles,
            "offload": inputs.memory.offload,
            "model": best(supplies.files, choice).model,
        }
        there = place(supplies)
        prompts = [inputs.prompt or PROMPT]
        if asked["text_guidance"] != 1:  # else no pass reads it
            prompts.append(inputs.negative_prompt or NEGATIVE_PROMPT)
        tick(0, 1)
        texts = encode_texts(supplies.files, supplies.prompts, prompts, there)
        heard = presets.heard_frames(asked, plan.frames, *size)
        speech = inputs.room(checkpoint.features_shape(supplies.files, heard))
        (speaker,) = inputs.speakers
        checkpoint.encode_speech(supplies.files, speaker.speech, speech, there.device, tick)
        return {
            "picture": inputs.picture,
            "text": texts[0].numpy(),
            "negative": texts[-1].numpy(),
            "speech": speech,
            "asked": written(asked),
        }

    def generate(
        self, prepared: Arrays, plan: Plan, tick: Tick, state: Arrays | None
    ) -> Iterator[Chunk]:
        """Make the chunks from `state` on."""
        from talkhead.engines.omniavatar import (  # noqa: PLC0415 (torch)
            checkpoint,
            pipeline,
            weighing,
        )
        from talkhead.engines.omniavatar.prepared import inputs_of, settings_of  # noqa: PLC0415

        asked = read(prepared)
        windows, load = _load_of(asked, plan.frames, (plan.width, plan.height))
        if state is not None and int(state["window"]) == len(windows):
            return

        def loading(_done: int, _total: int) -> None:
            tick(0, plan.frames)  # time goes by, and no frame is made

        choice, memory = choice_of(asked), Fitting(asked["offload"])
        layout = weighing.weigh(self.supplies, choice, load, memory, asked["vae_tiling"]).layout
        models = wan.loaded(
            self._models, checkpoint.load_models, self.supplies, choice, layout, loading
        )
        inputs, settings = inputs_of(prepared, windows), settings_of(asked)
        for frames, left in pipeline.generate(models, inputs, settings, state, tick):
            yield Chunk(frames, left)


def _settled(options: Any, request: Probe | Inputs) -> dict[str, Any]:
    """Return a job's settings in one table."""
    from talkhead.engines.omniavatar.options import Options  # noqa: PLC0415 (pydantic)

    given = (options or Options()).model_dump()
    settled = presets.settled(given, request.quality, request.sampling)
    return {**settled, "quant": request.memory.quant}


def _load_of(
    asked: Mapping[str, Any], frames: int, size: tuple[int, int]
) -> tuple[tuple[Window, ...], Load]:
    """Return a video's chunks, and what they ask of the network."""
    return presets.windows_of(asked, frames, *size), presets.load_of(asked, frames, size)
