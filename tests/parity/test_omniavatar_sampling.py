"""OmniAvatar's chunks from end to end against the official pipeline; facts from meta.json."""

from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from parity.goldens import folder, meta, part
from support import official, omniavatar
from support.wan import saved
from talkhead.engines import Bucket, choose_bucket
from talkhead.engines.omniavatar import audio, pipeline
from talkhead.engines.omniavatar.pipeline import Inputs, Job, Models, Settings
from talkhead.engines.omniavatar.sizes import chunk_frames
from talkhead.engines.omniavatar.windows import FPS, padded_frames, plan_windows
from talkhead.models import sampling, wan_vae, wav2vec2
from talkhead.models.passes import Guidance, Pass
from talkhead.models.wan_vae_files import load_vae

VIDEO = 5e-4
CPU = torch.device("cpu")
RUNS = ("omniavatar_sampling", "omniavatar_sampling_acfg", "omniavatar_sampling_tea")


class Run:
    """One official run: its facts and tensors, and ours with the same inputs."""

    def __init__(self, name: str, there: Path) -> None:
        self.facts, self.tensors = meta(name), part(name)
        heads, scale = omniavatar.config(self.facts["dit_config"])
        net = omniavatar.network(
            there, part(name, "base_wan"), part(name, "omniavatar_ckpt"), heads, scale
        )
        net.text_length = self.tensors["context_pos"].shape[1]
        vae: Any = None  # a copy may be without
        if (folder(name) / "vae.safetensors").exists():
            vae = load_vae(saved(part(name, "vae"), there / "vae.safetensors"), CPU, torch.float32)
        self.models = Models(net, vae)
        self.picture = self.fitted(name)
        self.job = self.ready(name)

    def fitted(self, name: str) -> Tensor:
        """Return the picture f32 (3, 1, h, w) in -1..1 as the official code fits it."""
        buckets = [Bucket(h / w, h, w) for h, w in self.facts["buckets_hw"]]
        size = choose_bucket(*self.facts["image_hw"], buckets)
        read = cv2.imread(str(folder(name) / "image.png"))
        assert read is not None
        return official.fit_still(read[..., ::-1].copy(), size.height, size.width)[:, None]

    def ready(self, name: str) -> Job:
        facts, tensors = self.facts, self.tensors
        wave = tensors["waveform"].numpy()
        count = ceil(len(wave) / wav2vec2.RATE * FPS)
        height, width = self.picture.shape[2:]
        size = chunk_frames(height, width, facts["max_tokens"])
        windows = plan_windows(count, size, facts["overlap_frame"], keep_still=True)
        frames = padded_frames(windows)
        encoder = wav2vec2.build(facts["wav2vec_config"], part(name, "wav2vec"))
        heard = audio.padded(wav2vec2.normalise(wave), frames)
        strength = facts["guidance_scale"]
        settings = Settings(
            steps=facts["num_steps"],
            shift=facts["shift"],
            guidance=Guidance(strength, facts["audio_scale"] or strength),
            seed=0,
            teacache_threshold=facts["tea_cache_l1_thresh"] or None,
            cache_table="14B",  # upstream knows no other
        )
        inputs = Inputs(
            windows=windows,
            picture=np.zeros((height, width, 3), np.uint8),
            text=tensors["context_pos"][0],
            negative=tensors["context_neg"][0],
            speech=wav2vec2.states(encoder, heard, frames),
        )
        # the official picture is not rounded to 8 bits after it was fitted
        reference = tensors["chunk0.y"][0, :-1, :1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wan_vae, "encode", lambda *_given, **_named: reference)
            return pipeline.ready(self.models, inputs, settings)


def quiet(_done: int, _total: int) -> None:
    pass


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp("run"))


def test_the_picture(run: Run) -> None:
    if run.models.vae is None:
        pytest.skip("only in whole sets: the VAE")
    assert apart(wan_vae.encode(run.models.vae, run.picture), run.job.reference) <= VIDEO


def test_what_chunks_are_told(run: Run) -> None:
    assert len(run.job.inputs.windows) == run.facts["chunks"]
    for index in range(run.facts["chunks"]):
        known = int(run.tensors[f"chunk{index}.n_prefix_latent"])
        told = pipeline.conditions(run.models.transformer, run.job, index, known)
        assert apart(told[Pass.BOTH].y, run.tensors[f"chunk{index}.y"]) <= VIDEO


def test_the_video(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every guided velocity, each chunk's latents, and the frames of all."""
    tensors, models, job = run.tensors, run.models, run.job
    seen: list[Tensor] = []
    blend = pipeline.blend

    def watched(*given: Any) -> Tensor:
        seen.append(blend(*given))
        return seen[-1]

    monkeypatch.setattr(pipeline, "blend", watched)
    prefix, frames = job.reference, []
    for index, window in enumerate(job.inputs.windows):
        seen.clear()
        start = tensors[f"chunk{index}.noise"][0], prefix
        with torch.inference_mode():
            latents = pipeline.denoise(models.transformer, job, index, start, quiet)
        for step, velocity in enumerate(seen):
            assert apart(velocity, tensors[f"chunk{index}.step{step}.noise_pred"]) <= VIDEO
        assert apart(latents[None], tensors[f"chunk{index}.final_latents"]) <= VIDEO
        if models.vae is None:
            pytest.skip("latents of the first chunk agree; the VAE is only in whole sets")
        with torch.inference_mode():
            made = pipeline.decode(models, job, index, latents, quiet)
            whole = torch.cat(list(pipeline.shown(models, job, latents)))
        frames.append(whole[window.seen : window.seen + window.fresh])
        assert np.array_equal(made.frames, sampling.levels(frames[-1]))
        if made.prefix is not None:
            prefix = made.prefix
    assert apart(torch.cat(frames), tensors["video"][0].clamp(0, 1)) <= VIDEO


def test_steps_left_out(run: Run) -> None:
    """The flags are those of every call, passes by passes."""
    flags = run.facts["tea_cache_skip_flags_in_call_order"]
    passes = len(run.job.shares)
    ours = [not computed for computed in run.job.steps.computed for _ in range(passes)]
    assert flags == (ours * run.facts["chunks"] if run.job.settings.teacache_threshold else [])
