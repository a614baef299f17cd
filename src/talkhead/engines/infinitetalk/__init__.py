"""InfiniteTalk: a portrait speaks, drawn anew by a video diffusion model. Needs weights and a GPU.

Speech, prompt and picture are encoded once (`prepare`); windows of 81 frames follow one another,
each going on from the last frames of the one before (`generate`). torch is loaded by what computes,
not by this module, so that planning stays cheap.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from talkhead.engines import (
    Arrays,
    Chunk,
    Inputs,
    Plan,
    Probe,
    Spec,
    Tick,
    cut_segments,
)
from talkhead.engines.infinitetalk.estimates import cost
from talkhead.engines.infinitetalk.windows import FPS, OVERLAP, WINDOW, chunks, plan_windows

if TYPE_CHECKING:
    from talkhead.engines.infinitetalk.pipeline import Models

PROMPT = "a person is talking"
NEGATIVE_PROMPT = (  # the official code's
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, "
    "images, static, overall gray, worst quality, low quality, JPEG compression residue, ugly, "
    "incomplete, extra fingers, poorly drawn hands, poorly drawn faces, deformed, disfigured, "
    "misshapen limbs, fused fingers, still picture, messy background, three legs, many people in "
    "the background, walking backwards"
)


@dataclass(frozen=True, slots=True)
class Supplies:  # to become talkhead.engines.Supplies, once the runtime builds engines with it
    """What the engine is given where it is built."""

    files: Callable[[str], tuple[Path, ...]]  # of an id in the manifest; raises E_PIPELINE_LOAD
    cache: Path  # folder of encoded prompts
    device: str = "auto"
    offload: bool = False  # blocks wait in main memory
    distilled: str | None = None  # id of a LoRA that needs few steps


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
        max_pixels=1024 * 1024,
        max_speakers=2,
        needs_face=False,
        accepts_video=False,
        weights=("infinitetalk", "infinitetalk-multi"),
        licence="not stated in our sources: see the model's page",
    )

    def __init__(self, supplies: Supplies) -> None:
        self.supplies = supplies
        self._models: dict[int, Models] = {}  # by speakers; those of the last job alone

    def plan(self, probe: Probe) -> Plan:
        """Cut the video into windows, each a chunk, and estimate the work from their sizes."""
        options = probe.options
        size = options.window if options else WINDOW
        overlap = options.motion_frames if options else OVERLAP
        windows = plan_windows(probe.frames, size, overlap)
        steps, passes = (4, 1) if self.supplies.distilled else (40, 3)
        taken = cost(windows, probe.width, probe.height, steps, passes)
        return Plan(
            engine=self.spec.name,
            width=probe.width,
            height=probe.height,
            fps=probe.fps,
            frames=probe.frames,
            segments=cut_segments(chunks(windows), probe.fps),
            windows=tuple(window.size for window in windows),
            seconds=taken.seconds,
            memory_bytes=taken.memory_bytes,
            estimated=probe.estimated,
        )

    def prepare(self, inputs: Inputs, plan: Plan, tick: Tick) -> Arrays:
        """Encode prompt, picture and speech."""
        from talkhead.engines.infinitetalk import checkpoint, prepared  # noqa: PLC0415 (torch)
        from talkhead.engines.infinitetalk.options import Options  # noqa: PLC0415 (pydantic)

        options = inputs.options or Options()
        files, cache = self.supplies.files, self.supplies.cache
        place = checkpoint.placed(self.supplies.device, offload=False)
        prompts = [inputs.prompt or PROMPT, inputs.negative_prompt or NEGATIVE_PROMPT]
        tick(0, 1)
        text, negative = checkpoint.encode_texts(files, cache, prompts, place)
        tick(0, 1)
        looks = checkpoint.encode_picture(files, inputs.picture, place)
        tracks = [speaker.speech for speaker in inputs.speakers]
        loud = options.normalize_loudness
        speech = checkpoint.encode_speech(files, tracks, plan.frames, loud=loud, tick=tick)
        distilled = self.supplies.distilled is not None
        sampling = prepared.sampling_of(inputs.sampling, plan, distilled=distilled)
        return {
            "picture": inputs.picture,
            "looks": looks.numpy(),
            "text": text.numpy(),
            "negative": negative.numpy(),
            "speech": speech,
            "boxes": prepared.boxes_of(inputs.speakers, plan),
            "asked": prepared.asked_for(sampling, options.model_dump(), inputs.seed),
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

        inputs, settings = inputs_of(prepared, plan), settings_of(prepared)
        if state is not None and int(state["window"]) == len(inputs.windows):
            return

        def loading(_done: int, _total: int) -> None:
            tick(0, plan.frames)  # time goes by, and no frame is made

        models = self._loaded(len(inputs.speech), loading)
        for frames, left in pipeline.generate(models, inputs, settings, state, tick):
            yield Chunk(frames, left)

    def _loaded(self, speakers: int, tick: Tick) -> "Models":
        from talkhead.engines.infinitetalk import checkpoint  # noqa: PLC0415 (torch)

        if speakers not in self._models:
            self._models.clear()  # before the others are loaded: two do not fit
            place = checkpoint.placed(self.supplies.device, offload=self.supplies.offload)
            self._models[speakers] = checkpoint.load_models(
                self.supplies.files, speakers, place, self.supplies.distilled, tick
            )
        return self._models[speakers]
