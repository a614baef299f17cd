"""InfiniteTalk's parts against numbers of the official code; all facts come from the JSON."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.goldens import read, shown_video, under
from support import official
from talkhead.engines import Bucket, choose_bucket
from talkhead.engines.infinitetalk import audio, conditioning, loudness
from talkhead.engines.infinitetalk.windows import FPS, plan_windows
from talkhead.models import color, guidance, schedule, wav2vec2
from talkhead.models.guidance import Averages
from talkhead.models.passes import Guidance, Pass, Projection
from talkhead.models.wan_vae import pixels
from talkhead.models.windows import latent_frames

ENCODERS = 1e-5
LATENTS = 1e-3
FRAMES = 2e-3
PASSES = {
    "v_cond": Pass.BOTH,
    "v_drop_text": Pass.AUDIO,
    "v_drop_audio": Pass.TEXT,
    "v_uncond": Pass.NEITHER,
}


def apart(one: Any, other: Any) -> float:
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


def named(tensors: dict[str, Tensor], pattern: str) -> list[tuple[Tensor, tuple[str, ...]]]:
    """Return the tensors of that name, each with what the pattern's groups caught."""
    found = [(tensors[name], re.fullmatch(pattern, name)) for name in sorted(tensors)]
    caught = [(tensor, match.groups()) for tensor, match in found if match]
    assert caught, f"nothing is called {pattern}"
    return caught


def case_of(facts: dict[str, Any], name: str) -> dict[str, Any]:
    case: dict[str, Any] = {**facts["cases"][name]["kw"], **facts["cases"][name]["ex"]}
    case["limit"] = min(case["max_frames_num"], facts["n_audio_frames"])
    case["windows"] = plan_windows(case["limit"], case["frame_num"], case["motion_frame"])
    return case


MISC = {stem: read("infinitetalk_misc", stem) for stem in ("audio", "parts", "schedule")}
PIPELINE = read("infinitetalk_pipeline")
CASES = sorted(PIPELINE[0]["cases"])
RECORDED = sorted({name.split(".")[0] for name in PIPELINE[1] if ".s0.v_" in name})
DECODED = sorted({name.split(".")[0] for name in PIPELINE[1] if name.endswith(".decoded")})


def test_schedules_are_exact() -> None:
    _, tensors = MISC["schedule"]
    for wanted, (steps, shift) in named(tensors, r"steps(\d+)_shift([\d.]+)\.timesteps"):
        times = schedule.timesteps(int(steps), float(shift))
        assert torch.equal(times, wanted)
        spans = tensors[f"steps{steps}_shift{shift}.dt"]
        assert torch.equal((times[:-1] - times[1:]) / schedule.TRAINING_STEPS, spans)


def test_pictures_and_masks_are_fitted() -> None:
    _, tensors = MISC["parts"]
    for wanted, (height, width) in named(tensors, r"resize\.out_(\d+)x(\d+)"):
        fitted = official.fit_picture(tensors["resize.image"].numpy(), int(height), int(width))
        assert np.array_equal(fitted, wanted[0, :, 0].permute(1, 2, 0).numpy())
    for wanted, (height, width) in named(tensors, r"resize\.mask_(\d+)x(\d+)"):
        masks = official.fit_masks(tensors["resize.mask"], int(height), int(width))
        assert torch.equal(masks, wanted)


def test_guidance_is_projected() -> None:
    _, tensors = MISC["parts"]
    settings, running = Projection(), None
    for wanted, (step,) in named(tensors, r"apg\.step(\d+)\.out"):
        running = guidance.average(tensors[f"apg.step{step}.diff"], running, settings.momentum)
        along = tensors[f"apg.step{step}.cond"]
        term = guidance.project(running, along, settings.norm_threshold)
        assert apart(term, wanted) <= 1e-5


def test_colours_match() -> None:
    _, tensors = MISC["parts"]
    given, reference = tensors["color.src"][0] / 2 + 0.5, tensors["color.ref"][0, :, 0] / 2 + 0.5
    stats = color.color_stats(reference)
    for wanted, (strength,) in named(tensors, r"color\.out_([\d.]+)"):
        matched = color.match_color(given.transpose(0, 1), stats, float(strength))
        assert apart(matched.transpose(0, 1) * 2 - 1, wanted[0]) <= 1e-5


def test_speech_is_prepared() -> None:
    facts, tensors = MISC["audio"]
    loud = loudness.match_loudness(tensors["in.wave"].numpy(), facts["sample_rate"])
    assert apart(loud, tensors["loudness_normalised"]) <= ENCODERS
    assert apart(wav2vec2.normalise(loud), tensors["feature_extractor.input_values"]) <= ENCODERS
    assert (facts["sample_rate"], facts["fps"]) == (wav2vec2.RATE, FPS)
    for by_float in (False, True):
        assert official.video_frames(len(loud), by_float=by_float) == facts["frames"]


def test_speech_is_encoded() -> None:
    facts, tensors = MISC["audio"]
    model = wav2vec2.build(facts["wav2vec2_config"], under(tensors, "weights."))
    samples = tensors["feature_extractor.input_values"].numpy()
    with torch.inference_mode():
        assert apart(wav2vec2.convolved(model, samples), tensors["conv_features"]) <= ENCODERS
    found = wav2vec2.features(model, samples, facts["frames"])
    assert apart(found, tensors["embedding"]) <= ENCODERS


def test_windows_of_speech() -> None:
    facts, tensors = MISC["audio"]
    features = tensors["embedding"].numpy()
    for index, start in enumerate(facts["window_starts"]):
        window = audio.audio_windows([features], start, facts["frame_num"])
        assert torch.equal(window[0], tensors[f"window{index}"])
    for wanted, _ in named(tensors, r"tail_padded_after_window(\d+)"):
        index = audio.mirrored(np.arange(len(wanted)), len(features))
        assert np.array_equal(features[index], wanted.numpy())


def test_buckets() -> None:
    facts, tensors = PIPELINE
    buckets = [Bucket(float(ratio), *size) for ratio, (size, _) in facts["bucket"].items()]
    for picture, _ in named(tensors, r"in\.image\.(\d+)"):
        chosen = choose_bucket(*picture.shape[:2], buckets)
        for reference, _ in named(tensors, r"(.+)\.color_reference"):
            assert (chosen.height, chosen.width) == tuple(reference.shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_window_starts(name: str) -> None:
    facts, tensors = PIPELINE
    case = case_of(facts, name)
    starts = [window.start for window in case["windows"]]
    assert starts == facts["cases"][name]["window_audio_starts"]
    assert sum(window.fresh for window in case["windows"]) == case["limit"]
    every, video = shown_video(tensors, name)
    assert video.shape[1] == len(range(0, case["limit"], every))


@pytest.mark.parametrize("name", RECORDED)
def test_windows_are_conditioned(name: str) -> None:
    facts, tensors = PIPELINE
    case = case_of(facts, name)
    speakers = [tensors[f"in.full_audio_emb.{i}"].numpy() for i in range(facts["speakers"])]
    for index, window in enumerate(case["windows"]):
        kept = under(tensors, f"{name}.w{index}.")
        heard = audio.audio_windows(speakers, window.start, window.size)
        assert apart(heard, kept["audio"]) <= ENCODERS
        assert torch.equal(conditioning.condition(kept["y"][4:]), kept["y"])
        assert latent_frames(window.size) == kept["y"].shape[1]
        assert latent_frames(max(1, window.seen)) == kept["motion_latents"].shape[1]
        if "bbox" not in case:
            picture = tensors["in.image.0"]
            rows, columns = picture.shape[:2]
            boxes = conditioning.speaker_boxes(rows, columns)[: facts["speakers"]]
            masks = conditioning.speaker_masks(rows, columns, boxes)
            masks = official.fit_masks(masks, *kept["decoded"].shape[2:])
            masks = conditioning.grid_masks(masks, *kept["ref_target_masks"].shape[1:])
            assert torch.equal(masks, kept["ref_target_masks"])


@pytest.mark.parametrize("name", RECORDED)
def test_steps_follow_the_guided_velocity(name: str) -> None:
    facts, tensors = PIPELINE
    case = case_of(facts, name)
    wanted = Guidance(case["text_guide_scale"], case["audio_guide_scale"])
    times = schedule.timesteps(case["sampling_steps"], case["shift"])
    for index in range(len(case["windows"])):
        kept = under(tensors, f"{name}.w{index}.")
        prefix = kept["motion_latents"]
        latents = schedule.keep_prefix(kept["noise"], prefix)
        averages = Averages()
        for step in range(case["sampling_steps"]):
            assert torch.equal(times[step : step + 1], kept[f"s{step}.t"])
            assert apart(latents, kept[f"s{step}.latent_in"]) <= 1e-5
            outputs = {
                PASSES[part]: value for part, value in under(kept, f"s{step}.").items()
                if part.startswith("v_")
            }  # fmt: skip
            if case.get("use_apg"):
                velocity, averages = guidance.combine_projected(
                    outputs, wanted, Projection(), averages
                )
            else:
                velocity = guidance.combine(outputs, wanted)
            latents = schedule.step(latents, velocity, times, step, prefix)
        assert apart(latents, kept["x0"]) <= 1e-5


@pytest.mark.parametrize("name", DECODED)
def test_frames_follow_the_decoded_windows(name: str) -> None:
    facts, tensors = PIPELINE
    case = case_of(facts, name)
    reference = tensors[f"{name}.color_reference"]
    picture = official.fit_picture(tensors["in.image.0"].numpy(), *reference.shape[1:])
    assert torch.equal(pixels(picture), reference)
    stats = color.color_stats(reference / 2 + 0.5)
    seen, video = reference[:, None], []
    for index, window in enumerate(case["windows"]):
        kept = under(tensors, f"{name}.w{index}.")
        assert apart(seen, kept["motion_pixels"]) <= FRAMES
        frames = kept["decoded"].transpose(0, 1) / 2 + 0.5
        frames = color.match_color(frames, stats, case["color_correction_strength"]) * 2 - 1
        seen = frames[-case["motion_frame"] :].transpose(0, 1)
        video.append(frames[window.seen : window.seen + window.fresh])
    every, wanted = shown_video(tensors, name)
    assert apart(torch.cat(video).transpose(0, 1)[:, ::every], wanted) <= FRAMES
