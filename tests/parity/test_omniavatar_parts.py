"""OmniAvatar's parts against numbers of the official code; all facts come from meta.json."""

from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from parity.goldens import meta, part, some
from talkhead.engines import Bucket, choose_bucket
from talkhead.engines.omniavatar import audio
from talkhead.engines.omniavatar.guidance import weights
from talkhead.engines.omniavatar.sizes import chunk_frames
from talkhead.engines.omniavatar.windows import FPS, padded_frames, plan_windows
from talkhead.models import schedule, stepcache, text, wan_vae, wan_vae_files, wav2vec2
from talkhead.models.passes import Guidance
from talkhead.models.vae_sizes import RATIO, Tiles
from talkhead.models.windows import Window, latent_frames

CPU = torch.device("cpu")
ENCODERS = 1e-5
LATENTS = 1e-4  # after all steps of given velocities
FRAMES = 1e-4
RUNS = ("omniavatar_sampling", "omniavatar_sampling_acfg", "omniavatar_sampling_tea")


def apart(one: Any, other: Any) -> float:
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def frames_of(samples: int) -> int:
    """Return the frames of so many samples of speech, counted and rounded as officially."""
    return ceil(samples / wav2vec2.RATE * FPS)


def size_of(facts: dict[str, Any]) -> Bucket:
    """Return the size that a run's picture is fitted to."""
    buckets = [Bucket(height / width, height, width) for height, width in facts["buckets_hw"]]
    return choose_bucket(*facts["image_hw"], buckets)


def chunks_of(facts: dict[str, Any], frames: int) -> tuple[Window, ...]:
    bucket = size_of(facts)
    size = chunk_frames(bucket.height, bucket.width, facts["max_tokens"])
    return plan_windows(frames, size, facts["overlap_frame"], keep_still=True)


def saved(tensors: dict[str, Tensor], there: Path) -> Path:
    file = there / "weights.safetensors"
    save_file(tensors, file)
    return file


def test_speech_is_prepared() -> None:
    facts, tensors = meta("omniavatar_audio"), part("omniavatar_audio")
    assert (facts["sample_rate"], facts["fps"]) == (wav2vec2.RATE, FPS)
    waveform = tensors["waveform"].numpy()
    assert apart(wav2vec2.normalise(waveform), tensors["normalized"]) <= ENCODERS
    frames = frames_of(len(waveform))
    assert frames == facts["original_audio_frames"]
    windows = plan_windows(frames, facts["frames_per_chunk_L"], facts["overlap_frame"])
    assert padded_frames(windows) == facts["padded_audio_frames"]


def test_speech_is_encoded() -> None:
    facts, tensors = meta("omniavatar_audio"), part("omniavatar_audio")
    model = wav2vec2.build(facts["wav2vec_config"], part("omniavatar_audio", "wav2vec"))
    frames = facts["padded_audio_frames"]
    samples = audio.padded(tensors["normalized"].numpy(), frames)
    with torch.inference_mode():
        heard = wav2vec2.convolved(model, samples)
    assert apart(heard.T[None], tensors["conv_features"]) <= ENCODERS
    assert apart(wav2vec2.states(model, samples, frames), tensors["audio_emb"]) <= ENCODERS


def test_texts_are_encoded(tmp_path: Path) -> None:
    facts, tensors = meta("omniavatar_t5"), part("omniavatar_t5")
    file = saved(part("omniavatar_t5", "t5"), tmp_path)
    encoder = text.load_encoder([file], CPU, torch.float32)
    config = facts["config"]
    wanted: dict[str, Any] = {
        "vocab_size": config["vocab"],
        "d_model": config["dim"],
        "d_kv": config["dim_attn"] // config["num_heads"],
        "d_ff": config["dim_ffn"],
        "num_heads": config["num_heads"],
        "num_layers": config["num_layers"],
        "relative_attention_num_buckets": config["num_buckets"],
    }
    assert {name: getattr(encoder.config, name) for name in wanted} == wanted
    for ids, mask, out in zip(tensors["ids"], tensors["mask"], tensors["out"], strict=True):
        rows = text.rows(encoder, ids[mask.bool()].tolist())
        assert apart(rows, out[: len(rows)]) <= ENCODERS
        assert not out[len(rows) :].any()


def test_the_vae_works_in_tiles(tmp_path: Path) -> None:
    name = "omniavatar_vae_tiling"
    facts = meta(name, optional=True)
    tensors = part(name)
    vae = wan_vae_files.load_vae(saved(part(name, "vae"), tmp_path), CPU, torch.float32)
    coding = Tiles(*facts["enc_tile_latent_units"], *facts["enc_stride_latent_units"])
    drawing = Tiles(*facts["dec_tile_latent"], *facts["dec_stride_latent"])
    video, latents = tensors["video"][0], tensors["latents"][0]
    assert apart(wan_vae.encode(vae, video), tensors["enc_full"][0]) <= FRAMES
    assert apart(wan_vae.encode(vae, video, tiles=coding), tensors["enc_tiled"][0]) <= FRAMES
    for tiles, wanted in ((None, tensors["dec_full"]), (drawing, tensors["dec_tiled"])):
        frames = torch.cat(list(wan_vae.decode(vae, latents, tiles)), dim=1)
        assert apart(frames, wanted[0]) <= FRAMES


@cache
def features_of(name: str, frames: int) -> np.ndarray:
    """Return a run's speech features of so many frames."""
    model = wav2vec2.build(meta(name)["wav2vec_config"], part(name, "wav2vec"))
    samples = wav2vec2.normalise(part(name)["waveform"].numpy())
    return wav2vec2.states(model, audio.padded(samples, frames), frames)


@pytest.mark.parametrize("name", RUNS)
def test_chunks(name: str) -> None:
    facts, tensors = meta(name), part(name)
    frames = frames_of(some(tensors, "waveform").numel())
    windows = chunks_of(facts, frames)
    assert len(windows) == facts["chunks"]
    assert sum(window.fresh for window in windows) == frames + 1
    bucket = size_of(facts)
    for index, window in enumerate(windows):
        noise = tensors[f"chunk{index}.noise"]
        sides = bucket.height // RATIO, bucket.width // RATIO
        assert noise.shape[2:] == (latent_frames(window.size), *sides)
        known = latent_frames(max(1, window.seen))
        assert known == int(tensors[f"chunk{index}.n_prefix_latent"])
    assert len(some(tensors, "video")[0]) == frames + 1


@pytest.mark.parametrize("name", RUNS)
def test_chunks_of_speech(name: str) -> None:
    facts, tensors = meta(name), part(name)
    windows = chunks_of(facts, frames_of(some(tensors, "waveform").numel()))
    features = features_of(name, padded_frames(windows))
    for index, window in enumerate(windows):
        heard = audio.audio_window(features, window)
        assert apart(heard, tensors[f"chunk{index}.audio_emb"][0]) <= ENCODERS


@pytest.mark.parametrize("name", RUNS)
def test_schedules_are_exact(name: str) -> None:
    facts, tensors = meta(name), part(name)
    times = schedule.even_timesteps(facts["num_steps"], facts["shift"])
    assert torch.equal(times[:-1], tensors["timesteps"])
    assert apart(times[:-1] / schedule.TRAINING_STEPS, tensors["sigmas"]) <= 1e-7
    assert times[-1] == 0


@pytest.mark.parametrize("name", RUNS)
def test_steps_follow_the_guided_velocity(name: str) -> None:
    facts, tensors = meta(name), part(name)
    times = schedule.even_timesteps(facts["num_steps"], facts["shift"])
    for index in range(facts["chunks"]):
        chunk = f"chunk{index}"
        known = int(some(tensors, f"{chunk}.n_prefix_latent"))
        prefix = tensors[f"{chunk}.prefix_lat"][:, :, :known]
        latents = schedule.keep_prefix(tensors[f"{chunk}.noise"], prefix)
        for step in range(facts["num_steps"]):
            assert apart(latents, tensors[f"{chunk}.step{step}.latents_in"]) <= LATENTS
            velocity = tensors[f"{chunk}.step{step}.noise_pred"]
            latents = schedule.step(latents, velocity, times, step, prefix)
        assert apart(latents, tensors[f"{chunk}.final_latents"]) <= LATENTS


def passes_of(facts: dict[str, Any]) -> int:
    scale = facts["guidance_scale"]
    heard = scale if facts["audio_scale"] is None else facts["audio_scale"]
    return len(weights(Guidance(scale, heard)))


def modulations(name: str, facts: dict[str, Any]) -> Tensor:
    """Return f32 (steps, 6 d): what the blocks are told of each step's time."""
    base = part(name, "base_wan")
    times = schedule.even_timesteps(facts["num_steps"], facts["shift"])[:-1]
    rows = get_timestep_embedding(
        times, facts["dit_config"]["freq_dim"], flip_sin_to_cos=True, downscale_freq_shift=0
    )
    for layer in ("time_embedding.0", "time_embedding.2", "time_projection.1"):
        if layer != "time_embedding.0":
            rows = functional.silu(rows)
        rows = functional.linear(rows, base[f"{layer}.weight"], base[f"{layer}.bias"])
    return rows


@pytest.mark.parametrize("name", RUNS)
def test_the_same_steps_are_left_out(name: str) -> None:
    facts = meta(name)
    threshold = facts["tea_cache_l1_thresh"]
    if not threshold:
        assert facts["tea_cache_skip_flags_in_call_order"] == []
        return
    official = stepcache.TEXT_TO_VIDEO["14B"]  # for networks of any size
    computed = stepcache.decide(modulations(name, facts), official, threshold, warm_up=1, tail=1)
    flags = [not step for step in computed for _ in range(passes_of(facts))] * facts["chunks"]
    assert flags == facts["tea_cache_skip_flags_in_call_order"]
