from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from support import installation, omni_files, omni_installation
from talkhead.engines import Arrays, Frames, Supplies
from talkhead.engines.omniavatar import checkpoint, pipeline
from talkhead.engines.omniavatar.choice import Choice
from talkhead.engines.omniavatar.pipeline import Inputs, Models, Settings
from talkhead.engines.omniavatar.windows import padded_frames, plan_windows
from talkhead.models import sampling
from talkhead.models.passes import Guidance, Pass
from talkhead.models.placement import place
from talkhead.models.vae_sizes import Tiles

HEIGHT, WIDTH = 32, 48
CHANNELS = (omni_files.SOUND_LAYERS + 2) * omni_files.SOUND
PLAIN = Settings(steps=2, shift=5.0, guidance=Guidance(4.5, 4.5), seed=1)


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    folder = tmp_path_factory.mktemp("weights")
    return installation.supplies(omni_installation.write(folder), folder)


def loaded(supplies: Supplies, dtype: torch.dtype) -> Models:
    there = replace(place(supplies), dtype=dtype)
    return checkpoint.load_models(supplies.files, Choice(), there, quiet)


@pytest.fixture(scope="module")
def models(supplies: Supplies) -> Models:
    return loaded(supplies, torch.float32)


@pytest.fixture(scope="module")
def half(supplies: Supplies) -> Models:
    return loaded(supplies, torch.bfloat16)


def made_of(frames: int = 28, **more: Any) -> Inputs:
    """Return random inputs: chunks of 17 frames that overlap by 5."""
    made = np.random.default_rng(4)
    windows = plan_windows(frames, 17, 5, **more)

    def noise(*shape: int) -> np.ndarray:
        return made.normal(size=shape).astype(np.float32)

    return Inputs(
        windows=windows,
        picture=made.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8),
        text=torch.from_numpy(noise(7, omni_files.TEXT)),
        negative=torch.from_numpy(noise(9, omni_files.TEXT)),
        speech=noise(padded_frames(windows), CHANNELS),
    )


def ran(models: Models, inputs: Inputs, settings: Settings, state: Arrays | None = None) -> Frames:
    """Return all frames as one array."""
    parts = pipeline.generate(models, inputs, settings, state, quiet)
    return np.concatenate([frames for frames, _ in parts])


def counted(models: Models, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what the network is asked for."""
    calls: Counter[str] = Counter()
    for name in ("forward", "sample", "text_keys", "audio_tokens", "silent_tokens"):
        original = getattr(models.transformer, name)

        def count(*given: Any, _name: str = name, _original: Any = original) -> Any:
            calls[_name] += 1
            return _original(*given)

        monkeypatch.setattr(models.transformer, name, count)
    return calls


def test_the_reference_is_every_frame_and_a_mask_of_what_is_not_known() -> None:
    latents = torch.randn(16, 1, 4, 6)
    for known in (1, 2):
        y = pipeline.reference(latents, 5, known)
        assert y.shape == (17, 5, 4, 6)
        assert torch.equal(y[:16], latents.expand(-1, 5, -1, -1))
        assert torch.equal(y[16, :known], torch.zeros(known, 4, 6))
        assert torch.equal(y[16, known:], torch.ones(5 - known, 4, 6))


@pytest.mark.parametrize(
    ("guidance", "passes", "texts"),
    [
        (Guidance(1, 1), {Pass.BOTH}, 1),
        (Guidance(1, 2), {Pass.BOTH, Pass.TEXT}, 1),
        (Guidance(4, 4), {Pass.BOTH, Pass.NEITHER}, 2),
        (Guidance(5, 4), {Pass.BOTH, Pass.TEXT, Pass.NEITHER}, 2),
    ],
)
def test_nothing_is_computed_that_is_not_needed(
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    guidance: Guidance,
    passes: set[Pass],
    texts: int,
) -> None:
    settings, chunks = replace(PLAIN, guidance=guidance), 2
    calls = counted(models, monkeypatch)
    assert len(ran(models, made_of(28), settings)) == 28
    silent = chunks * (len(passes) > 1)
    assert calls["forward"] == len(passes) * settings.steps * chunks
    assert calls["text_keys"] == texts
    assert calls["silent_tokens"] == silent
    assert calls["audio_tokens"] - silent == chunks  # silence is made of them too
    assert not calls["sample"]  # of the step cache
    job = pipeline.ready(models, made_of(28), settings)
    with torch.inference_mode():
        told = pipeline.conditions(models.transformer, job, 1, 2)
    assert set(told) == passes
    for name, condition in told.items():
        assert torch.equal(condition.y, told[Pass.BOTH].y)
        words = job.others if name is Pass.NEITHER else job.words
        assert condition.text is words
        mute = condition.heard is not told[Pass.BOTH].heard
        assert mute == (name is not Pass.BOTH)


def test_frames_and_states(models: Models) -> None:
    inputs = made_of(35)
    parts = list(pipeline.generate(models, inputs, PLAIN, None, quiet))
    assert [frames.shape for frames, _ in parts] == [
        (count, HEIGHT, WIDTH, 3) for count in (16, 12, 7)
    ]
    assert all(frames.dtype == np.uint8 for frames, _ in parts)
    assert [int(state["window"]) for _, state in parts] == [1, 2, 3]
    assert [state["prefix"].shape for _, state in parts[:-1]] == [(16, 2, 4, 6)] * 2
    assert "prefix" not in parts[-1][1]
    whole = np.concatenate([frames for frames, _ in parts])
    for done, (_, state) in enumerate(parts[:-1], start=1):
        rest = ran(models, inputs, PLAIN, state)
        assert np.array_equal(rest, whole[sum(w.fresh for w in inputs.windows[:done]) :])
    assert not list(pipeline.generate(models, inputs, PLAIN, parts[-1][1], quiet))


def test_nothing_is_decoded_twice_or_for_nothing(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every chunk but the last is decoded whole, for its frames and for the next one at once."""
    decoded: list[int] = []
    decode = pipeline.wan_vae.decode

    def count(*given: Any) -> Iterator[Tensor]:
        for piece in decode(*given):
            decoded.append(piece.shape[1])
            yield piece

    monkeypatch.setattr(pipeline.wan_vae, "decode", count)
    assert len(ran(models, made_of(32), PLAIN)) == 32
    whole = [1, 4, 4, 4, 4]
    assert decoded == [*whole, *whole, 1, 4, 4]  # 5 known and 4 new frames of the last


def test_the_next_chunk_goes_on_from_what_was_shown(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prefix is the frames that were shown, in the next chunk's first place, at every step."""
    encoded: list[Tensor] = []
    starts: list[tuple[Tensor, Tensor]] = []
    encode, denoise = pipeline.wan_vae.encode, pipeline.sampling.denoise

    def watched(vae: Any, video: Tensor, **more: Any) -> Tensor:
        encoded.append(video)
        return encode(vae, video, **more)

    def denoised(*given: Any) -> Tensor:
        starts.append(given[4])
        made = denoise(*given)
        prefix = given[4][1]
        assert torch.equal(made[:, : prefix.shape[1]], prefix)
        return made

    monkeypatch.setattr(pipeline.wan_vae, "encode", watched)
    monkeypatch.setattr(pipeline.sampling, "denoise", denoised)
    frames = ran(models, made_of(28), PLAIN)
    picture, tail = encoded
    assert picture.shape == (3, 1, HEIGHT, WIDTH)
    levels = sampling.levels(tail.transpose(0, 1) / 2 + 0.5)
    assert np.array_equal(levels, frames[11:16])
    assert [prefix.shape[1] for _, prefix in starts] == [1, 2]
    assert torch.equal(starts[1][1], encode(models.vae, tail))
    assert not torch.equal(starts[0][0], starts[1][0])  # each chunk has noise of its own


def test_each_chunk_hears_its_own_frames(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first latent frame is the still, before any speech."""
    inputs = made_of(28)
    heard: list[Tensor] = []
    own = models.transformer.audio_tokens
    monkeypatch.setattr(
        models.transformer, "audio_tokens", lambda audio: (heard.append(audio), own(audio))[1]
    )
    ran(models, inputs, replace(PLAIN, guidance=Guidance(1, 1)))
    first, second = (audio[0].numpy() for audio in heard)
    assert not first[0].any()
    assert np.array_equal(first[1:], inputs.speech[:16])
    assert np.array_equal(second, inputs.speech[11:28])


def test_times_are_told_as_the_network_computes(
    models: Models, half: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(PLAIN, steps=10)
    assert half.transformer.residual_dtype == torch.bfloat16
    rounded = pipeline.ready(half, made_of(5), settings).steps
    assert rounded.told is not None
    exact = pipeline.ready(half, made_of(5), replace(settings, rounded_times=False)).steps
    assert exact.told is not None
    assert torch.equal(rounded.times, exact.times)
    assert torch.equal(exact.told, exact.times)
    assert [round(float(t), 2) for t in rounded.times[:2]] == [1000, 978.26]
    assert [float(t) for t in rounded.told[:2]] == [1000, 980]
    plain = pipeline.ready(models, made_of(5), settings).steps
    assert plain.told is not None
    assert torch.equal(plain.told, plain.times)  # in float32 nothing is rounded
    told: list[float] = []
    forward = half.transformer.forward
    monkeypatch.setattr(
        half.transformer,
        "forward",
        lambda x, t, condition: (told.append(float(t)), forward(x, t, condition))[1],
    )
    ran(half, made_of(5), replace(settings, guidance=Guidance(1, 1)))
    assert told == rounded.told[:-1].tolist()


def test_half_precision_is_near(models: Models, half: Models) -> None:
    near = ran(half, made_of(20), PLAIN).astype(np.float32)
    assert np.abs(near - ran(models, made_of(20), PLAIN)).mean() < 8


def test_progress_counts_frames_and_ends_at_all_of_them(models: Models) -> None:
    ticks: list[tuple[int, int]] = []
    inputs = made_of(35)

    def tick(done: int, total: int) -> None:
        ticks.append((done, total))

    states = [state for _, state in pipeline.generate(models, inputs, PLAIN, None, tick)]
    assert ticks == sorted(ticks)
    assert ticks[0] == (0, 35)
    assert ticks[-1] == (35, 35)
    assert len(ticks) >= 3 * (PLAIN.steps + 1)
    ticks.clear()
    list(pipeline.generate(models, inputs, PLAIN, states[0], tick))
    assert ticks[0] == (16, 35)


def test_a_tick_stops_it_within_a_step(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(models, monkeypatch)

    def tick(_done: int, _total: int) -> None:
        if calls["forward"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(pipeline.generate(models, made_of(), PLAIN, None, tick))
    assert calls["forward"] == 2  # both passes of the step


def test_colours_are_held_to_the_picture(models: Models) -> None:
    inputs = made_of(16)
    free, held = (
        ran(models, inputs, replace(PLAIN, color_strength=strength)) for strength in (0.0, 1.0)
    )
    wanted = inputs.picture.mean()
    assert abs(held.mean() - wanted) < abs(free.mean() - wanted)


def test_tiles(models: Models) -> None:
    tiles = Tiles(4, 4, 2, 2)
    assert len(ran(models, made_of(20), replace(PLAIN, tiles=tiles))) == 20
