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
    cut_segments,
)
from talkhead.engines.omniavatar import presets
from talkhead.engines.omniavatar.choice import AUTO, MODELS, Choice, choice_of, located
from talkhead.engines.omniavatar.choice import transformer as best  # a module has its name here
from talkhead.engines.omniavatar.published import NETWORKS
from talkhead.engines.omniavatar.sizes import BUCKETS_480, BUCKETS_720
from talkhead.engines.omniavatar.windows import FPS, padded_frames
from talkhead.engines.settled import read, written
from talkhead.errors import Code, TalkheadError
from talkhead.models import estimates, fitting
from talkhead.models.estimates import Layout, Load
from talkhead.models.windows import Window, chunks

if TYPE_CHECKING:
    from talkhead.engines.omniavatar.pipeline import Models
    from talkhead.models.weighing import Weighed

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
        weighed, warnings = self._weighed(choice, load, probe.memory, asked["vae_tiling"])
        device, itemsize = "cuda", 2
        network = NETWORKS["14B" if choice.model == AUTO else choice.model]
        network = network.quantised(itemsize) if choice.quant else network
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
            weights=weighed.identity if weighed else "",
        )

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Encode prompt and speech; raises E_PIPELINE_LOAD before any work."""
        from talkhead.engines.omniavatar import checkpoint, weighing  # noqa: PLC0415 (torch)
        from talkhead.models.placement import place  # noqa: PLC0415
        from talkhead.models.wan_text import encode_texts  # noqa: PLC0415

        supplies = self.supplies
        asked = _settled(inputs.options, inputs)
        windows, load = _load_of(asked, plan.frames, (plan.width, plan.height))
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
        speech = inputs.room(checkpoint.features_shape(supplies.files, padded_frames(windows)))
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
        from talkhead.engines.omniavatar import pipeline  # noqa: PLC0415 (torch)
        from talkhead.engines.omniavatar.prepared import inputs_of, settings_of  # noqa: PLC0415

        asked = read(prepared)
        windows, load = _load_of(asked, plan.frames, (plan.width, plan.height))
        if state is not None and int(state["window"]) == len(windows):
            return

        def loading(_done: int, _total: int) -> None:
            tick(0, plan.frames)  # time goes by, and no frame is made

        models = self._loaded(load, asked, loading)
        inputs, settings = inputs_of(prepared, windows), settings_of(asked)
        for frames, left in pipeline.generate(models, inputs, settings, state, tick):
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
        from talkhead.engines.omniavatar import weighing  # noqa: PLC0415 (torch)

        weighed = weighing.weigh(self.supplies, choice, load, memory, tiles)
        notes = fitting.told(weighed.layout, memory.offload, tiles)
        found = best(self.supplies.files, choice).model
        if choice.model == AUTO and found != next(iter(MODELS)):
            notes.append(f"the {found} model is here alone, and takes the place of the larger one")
        return weighed, notes

    def _loaded(self, load: Load, asked: Mapping[str, Any], tick: Tick) -> "Models":
        """Return the networks of a job; those of the last one, where they are the same."""
        from talkhead.engines.omniavatar import checkpoint, weighing  # noqa: PLC0415 (torch)
        from talkhead.models.placement import place  # noqa: PLC0415

        choice, memory = choice_of(asked), Fitting(asked["offload"])
        layout = weighing.weigh(self.supplies, choice, load, memory, asked["vae_tiling"]).layout
        if (choice, layout.offload) not in self._models:
            self._models.clear()  # before the others are loaded: two do not fit
            there = place(self.supplies, offload=layout.offload)
            self._models[choice, layout.offload] = checkpoint.load_models(
                self.supplies.files, choice, there, tick
            )
        return self._models[choice, layout.offload]


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
