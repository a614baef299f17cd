"""InfiniteTalk's windows from end to end against the official pipeline; facts from the JSON."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from parity import goldens
from parity.goldens import read, shown_video, under
from support import infinitetalk, official
from talkhead.engines import Box, Bucket, Picture, choose_bucket
from talkhead.engines.infinitetalk import conditioning, pipeline
from talkhead.engines.infinitetalk.noise import official_noise
from talkhead.engines.infinitetalk.pipeline import Inputs, Job, Models, Settings
from talkhead.engines.infinitetalk.upstream import OFFICIAL
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models.passes import Guidance, Pass, Projection
from talkhead.models.sampling import Made
from talkhead.models.wan_vae import Stills, levels
from talkhead.models.wan_vae_files import load_vae

LATENTS = 1e-3
FRAMES = 2e-3
PASSES = {
    "v_cond": Pass.BOTH,
    "v_drop_text": Pass.AUDIO,
    "v_drop_audio": Pass.TEXT,
    "v_uncond": Pass.NEITHER,
}

FACTS, TENSORS = read("infinitetalk_pipeline")
CASES = sorted(FACTS["cases"])
RECORDED = sorted({name.split(".")[0] for name in TENSORS if ".s0.v_" in name})


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def options(name: str) -> dict[str, Any]:
    return {**FACTS["cases"][name]["kw"], **FACTS["cases"][name]["ex"]}


def ordered(prefix: str) -> list[Tensor]:
    """Return what is numbered after a prefix, in the order of the numbers."""
    found = [
        (int(m[1]), name) for name in TENSORS if (m := re.fullmatch(rf"{prefix}\.(\d+)", name))
    ]
    return [TENSORS[name] for _, name in sorted(found)]


def fitted(name: str, starts: list[int]) -> list[Picture]:
    """Return the picture of each window, one for all where the source is a still."""
    sources = [picture.numpy() for picture in ordered(r"in\.image")]
    buckets = [Bucket(float(key), *size) for key, (size, _) in FACTS["bucket"].items()]
    size = choose_bucket(*sources[0].shape[:2], buckets)
    shown = [
        official.source_frame(start, len(sources))
        for start in (starts if len(sources) > 1 else starts[:1])
    ]
    return [official.fit_picture(sources[at], size.height, size.width) for at in shown]


def masks(case: Mapping[str, Any], picture: Picture) -> Tensor | None:
    """Return the masks of two speakers on the grid of latents."""
    if FACTS["speakers"] < 2:
        return None
    rows, columns = TENSORS["in.image.0"].shape[:2]
    boxes = list(conditioning.speaker_boxes(rows, columns))
    if given := case.get("bbox"):
        boxes = [Box(*given[key]) for key in sorted(given)]
    whole = conditioning.speaker_masks(
        rows, columns, boxes, boxes_as_rows="bbox" in case and OFFICIAL.boxes_as_rows
    )
    height, width = picture.shape[:2]
    return conditioning.grid_masks(
        official.fit_masks(whole, height, width), height // 8, width // 8
    )


def inputs(name: str) -> Inputs:
    case = options(name)
    limit = min(case["max_frames_num"], FACTS["n_audio_frames"])
    windows = plan_windows(limit, case["frame_num"], case["motion_frame"])
    pictures = fitted(name, [window.start for window in windows])
    return Inputs(
        windows=windows,
        pictures=pictures,
        looks=torch.cat(ordered(r"in\.clip_fea")),
        text=TENSORS["in.context"],
        negative=TENSORS["in.context_null"],
        speech=[features.numpy() for features in ordered(r"in\.full_audio_emb")],
        masks=masks(case, pictures[0]),
    )


def settings(name: str) -> Settings:
    case = options(name)
    usual = Projection()
    projection = Projection(
        case.get("apg_momentum", usual.momentum),
        case.get("apg_norm_threshold", usual.norm_threshold),
    )
    return Settings(
        steps=case["sampling_steps"],
        shift=case["shift"],
        guidance=Guidance(case["text_guide_scale"], case["audio_guide_scale"]),
        seed=case["seed"],
        projection=projection if case.get("use_apg") else None,
        teacache_threshold=case.get("teacache_thresh") if case.get("use_teacache") else None,
        color_strength=case["color_correction_strength"],
        upstream=OFFICIAL,
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    stored = load_file(goldens.folder("infinitetalk_pipeline") / "weights.safetensors")
    folder = tmp_path_factory.mktemp("pipeline")
    net = infinitetalk.loaded(folder, FACTS["dit_config"], under(stored, "dit."))
    save_file(under(stored, "vae."), folder / "vae.safetensors")
    vae = load_vae(folder / "vae.safetensors", torch.device("cpu"), torch.float32)
    return Models(net, vae, Stills(vae))


class Run(NamedTuple):
    """A case, run once for all tests."""

    job: Job
    made: list[Made]  # of each window
    asked: list[Mapping[Pass, Tensor]]  # what the passes of every step returned


RUNS: dict[str, Run] = {}


@pytest.fixture
def run(models: Models, name: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    if name not in RUNS:
        job = pipeline.ready(models, inputs(name), settings(name))
        asked: list[Mapping[Pass, Tensor]] = []
        guided = pipeline._guided

        def spy(outputs: Mapping[Pass, Tensor], *rest: Any) -> Any:
            asked.append(dict(outputs))
            return guided(outputs, *rest)

        monkeypatch.setattr(pipeline, "_guided", spy)
        made: list[Made] = []
        for index in range(len(job.inputs.windows)):
            prefix = made[-1].prefix if made else None
            made.append(pipeline.window(models, job, index, prefix, quiet))
        RUNS[name] = Run(job, made, asked)
    return RUNS[name]


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.mark.parametrize("name", CASES)
def test_noise_is_drawn_as_officially(name: str) -> None:
    windows, how = inputs(name).windows, settings(name)
    assert len(windows) == FACTS["cases"][name]["windows"]
    for index in range(len(windows)):
        wanted = TENSORS[f"{name}.w{index}.noise"]
        shape = wanted.shape[0], wanted.shape[2], wanted.shape[3]
        assert torch.equal(official_noise(how.seed, index, windows, shape, how.steps), wanted)


@pytest.mark.parametrize("name", CASES)
def test_latents(run: Run, name: str) -> None:
    for index, made in enumerate(run.made):
        assert apart(made.latents, TENSORS[f"{name}.w{index}.x0"]) <= LATENTS
        if f"{name}.w{index + 1}.motion_latents" in TENSORS:
            assert made.prefix is not None
            assert apart(made.prefix, TENSORS[f"{name}.w{index + 1}.motion_latents"]) <= LATENTS
    assert run.made[-1].prefix is None


@pytest.mark.parametrize("name", CASES)
def test_frames(models: Models, run: Run, name: str) -> None:
    pieces = []
    with torch.inference_mode():
        for window, made in zip(run.job.inputs.windows, run.made, strict=True):
            frames = torch.cat(list(pipeline.shown(models, run.job, made.latents)))
            pieces.append(frames[window.seen : window.seen + window.fresh])
            assert np.array_equal(made.frames, levels(pieces[-1]))
    video = torch.cat(pieces).transpose(0, 1) * 2 - 1
    every, wanted = shown_video(TENSORS, name)
    assert apart(video[:, ::every], wanted) <= FRAMES


@pytest.mark.parametrize("name", RECORDED)
def test_every_pass_of_every_step(run: Run, name: str) -> None:
    steps = run.job.settings.steps
    assert len(run.asked) == steps * len(run.made)
    for count, outputs in enumerate(run.asked):
        index, step = divmod(count, steps)
        wanted = under(TENSORS, f"{name}.w{index}.s{step}.v_")
        assert {PASSES[f"v_{part}"] for part in wanted} == outputs.keys()
        for part, velocity in wanted.items():
            assert apart(outputs[PASSES[f"v_{part}"]][0], velocity) <= LATENTS


@pytest.mark.parametrize("name", [name for name in CASES if FACTS["cases"][name]["windows"] > 1])
def test_going_on_changes_nothing(models: Models, run: Run, name: str) -> None:
    given = run.job.inputs, run.job.settings
    assert run.made[0].prefix is not None
    state = {"window": np.asarray(1), "prefix": run.made[0].prefix.numpy()}
    rest = list(pipeline.generate(models, *given, state, quiet))
    assert len(rest) == len(run.made) - 1
    for (frames, _), made in zip(rest, run.made[1:], strict=True):
        assert np.array_equal(frames, made.frames)
