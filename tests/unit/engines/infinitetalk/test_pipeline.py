from collections import Counter
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan

from support import infinitetalk
from talkhead.engines import Arrays, Frames
from talkhead.engines.infinitetalk import pipeline
from talkhead.engines.infinitetalk.pipeline import Inputs, Models, Settings
from talkhead.engines.infinitetalk.upstream import OFFICIAL
from talkhead.engines.infinitetalk.windows import plan_windows
from talkhead.models import sampling
from talkhead.models.passes import Guidance, Projection
from talkhead.models.vae_sizes import Tiles
from talkhead.models.wan_vae import Stills

SIZES = infinitetalk.TINY
HEIGHT, WIDTH = 32, 48
PLAIN = Settings(steps=2, shift=3.0, guidance=Guidance(1.0, 1.0), seed=1)
BOTH = Guidance(5.0, 4.0)


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    net = infinitetalk.loaded(folder, SIZES, infinitetalk.weights(SIZES))
    torch.manual_seed(3)
    vae: Any = AutoencoderKLWan(base_dim=4, num_res_blocks=1)
    return Models(net, vae.eval().requires_grad_(False), Stills(vae))


def made_of(frames: int = 29, speakers: int = 1, pictures: int = 1, **more: Any) -> Inputs:
    """Return random inputs: windows of 17 frames that overlap by 5."""
    made = np.random.default_rng(4)

    def noise(*shape: int) -> np.ndarray:
        return made.normal(size=shape).astype(np.float32)

    masks = torch.zeros(3, HEIGHT // 8, WIDTH // 8)
    masks[0, :, :2], masks[1, :, 4:], masks[2, :, 2:4] = 1, 1, 1
    heard = (frames, SIZES["audio_blocks"], SIZES["audio_channels"])
    return Inputs(
        windows=plan_windows(frames, 17, 5, **more),
        pictures=[
            made.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8, endpoint=False)
            for _ in range(pictures)
        ],
        looks=torch.from_numpy(noise(pictures, 257, SIZES["clip_dim"])),
        text=torch.from_numpy(noise(7, SIZES["text_dim"])),
        negative=torch.from_numpy(noise(9, SIZES["text_dim"])),
        speech=[noise(*heard) for _ in range(speakers)],
        masks=masks if speakers > 1 else None,
    )


def ran(models: Models, inputs: Inputs, settings: Settings, state: Arrays | None = None) -> Frames:
    """Return all frames as one array."""
    parts = pipeline.generate(models, inputs, settings, state, quiet)
    return np.concatenate([frames for frames, _ in parts])


def counted(models: Models, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what the network is asked for."""
    calls: Counter[str] = Counter()
    for name in ("forward", "sample", "text_keys", "image_keys", "audio_keys", "silent_keys"):
        original = getattr(models.transformer, name)

        def count(*given: Any, _name: str = name, _original: Any = original) -> Any:
            calls[_name] += 1
            return _original(*given)

        monkeypatch.setattr(models.transformer, name, count)
    return calls


@pytest.mark.parametrize(
    ("guidance", "projection", "passes", "texts", "silent"),
    [
        (Guidance(1, 1), None, 1, 1, 0),
        (Guidance(1, 2), None, 2, 1, 1),
        (Guidance(5, 4), None, 3, 2, 1),
        (Guidance(5, 1), None, 2, 2, 0),
        (Guidance(1, 1), Projection(), 1, 1, 0),
        (Guidance(5, 4), Projection(), 3, 2, 1),
    ],
)
def test_nothing_is_computed_that_is_not_needed(
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    guidance: Guidance,
    projection: Projection | None,
    passes: int,
    texts: int,
    silent: int,
) -> None:
    settings = replace(PLAIN, guidance=guidance, projection=projection)
    calls = counted(models, monkeypatch)
    assert len(ran(models, made_of(29), settings)) == 29
    assert calls["forward"] == passes * settings.steps * 2
    assert calls["text_keys"] == texts
    assert calls["silent_keys"] == silent
    assert calls["audio_keys"] - silent == 2  # silence is made of audio keys
    assert calls["image_keys"] == 2


def test_frames_and_states(models: Models) -> None:
    inputs = made_of(36)
    parts = list(pipeline.generate(models, inputs, PLAIN, None, quiet))
    assert [frames.shape for frames, _ in parts] == [
        (count, HEIGHT, WIDTH, 3) for count in (17, 12, 7)
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


def test_progress_counts_frames_and_ends_at_all_of_them(models: Models) -> None:
    ticks: list[tuple[int, int]] = []
    inputs = made_of(36)

    def tick(done: int, total: int) -> None:
        ticks.append((done, total))

    states = [state for _, state in pipeline.generate(models, inputs, PLAIN, None, tick)]
    assert ticks == sorted(ticks)
    assert ticks[0] == (0, 36)
    assert ticks[-1] == (36, 36)
    assert len(ticks) >= 3 * (PLAIN.steps + 1)
    ticks.clear()
    list(pipeline.generate(models, inputs, PLAIN, states[0], tick))
    assert ticks[0] == (17, 36)


def test_a_tick_stops_it_within_a_step(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(models, monkeypatch)

    def tick(_done: int, _total: int) -> None:
        if calls["forward"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(pipeline.generate(models, made_of(), PLAIN, None, tick))
    assert calls["forward"] == 1


def test_seeds(models: Models) -> None:
    inputs = made_of(20)
    one = ran(models, inputs, PLAIN)
    assert np.array_equal(one, ran(models, inputs, PLAIN))
    assert not np.array_equal(one, ran(models, inputs, replace(PLAIN, seed=2)))
    assert not np.array_equal(one, ran(models, inputs, replace(PLAIN, upstream=OFFICIAL)))


def test_a_still_is_encoded_once_and_sources_once_each(models: Models) -> None:
    for pictures, kept in ((1, 1), (2, 2), (3, 3)):
        fresh = replace(models, stills=Stills(models.vae))
        ran(fresh, made_of(36, pictures=pictures), PLAIN)
        assert len(fresh.stills.kept) == kept


def test_a_short_last_window_begins_as_a_long_one(models: Models) -> None:
    long, short = made_of(22), made_of(22, shrink=True)
    assert [window.size for window in short.windows] == [17, 13]
    assert len(ran(models, short, PLAIN)) == 22
    job = pipeline.ready(models, short, PLAIN)
    known = pipeline._known(models, job, 1)
    whole = pipeline._known(models, pipeline.ready(models, long, PLAIN), 1)
    assert known.shape[1] == 4
    assert torch.equal(known, whole[:, :4])


def test_frames_past_the_end_are_not_decoded(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[int] = []
    levels = sampling.levels

    def count(frames: torch.Tensor) -> Frames:
        pieces.append(len(frames))
        return levels(frames)

    monkeypatch.setattr(sampling, "levels", count)
    assert len(ran(models, made_of(6), PLAIN)) == 6
    assert pieces == [1, 4, 4]


def test_step_cache_leaves_blocks_out(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, settings = made_of(17), replace(PLAIN, steps=9, guidance=BOTH)
    plain = ran(models, inputs, settings)
    blocks: list[int] = []
    original = models.transformer.through
    monkeypatch.setattr(
        models.transformer, "through", lambda *given: (blocks.append(1), original(*given))[1]
    )
    # a threshold that nothing stays below computes everything, in the same numbers
    assert np.array_equal(plain, ran(models, inputs, replace(settings, teacache_threshold=0.0)))
    assert len(blocks) == 9 * 3
    blocks.clear()
    monkeypatch.setattr(pipeline.stepcache, "decide", lambda *_: (True,) * 6 + (False,) * 3)
    assert ran(models, inputs, replace(settings, teacache_threshold=0.2)).shape == plain.shape
    assert len(blocks) == 6 * 3


def test_strength_of_the_speech(models: Models) -> None:
    inputs = made_of(17)
    plain, louder = (ran(models, inputs, replace(PLAIN, audio_scale=scale)) for scale in (1.0, 1.2))
    assert not np.array_equal(plain, louder)
    mute = replace(PLAIN, audio_scale=0.0)
    other = replace(inputs, speech=[features * -1 for features in inputs.speech])
    assert np.array_equal(ran(models, inputs, mute), ran(models, other, mute))


def test_colours_are_held_to_the_first_picture(models: Models) -> None:
    inputs = made_of(17)
    free, held = (
        ran(models, inputs, replace(PLAIN, color_strength=strength)) for strength in (0.0, 1.0)
    )
    wanted = inputs.pictures[0].mean()
    assert abs(held.mean() - wanted) < abs(free.mean() - wanted)


def test_two_speakers_are_told_apart_only_where_they_are_heard(models: Models) -> None:
    inputs = made_of(20, speakers=2)
    settings = replace(PLAIN, guidance=BOTH)
    assert len(ran(models, inputs, settings)) == 20
    job = pipeline.ready(models, inputs, settings)
    told = pipeline._conditions(models, job, 0, pipeline._known(models, job, 0))
    assert {name: c.scene.masks is not None for name, c in told.items()} == {
        "text and audio": True,
        "negative text and audio": True,
        "negative text and null audio": False,
    }
    swapped = replace(inputs, speech=inputs.speech[::-1])
    assert not np.array_equal(ran(models, inputs, settings), ran(models, swapped, settings))


def test_half_precision_is_near(models: Models) -> None:
    inputs = made_of(20)
    net = deepcopy(models.transformer).to(torch.bfloat16)
    vae = deepcopy(models.vae).to(torch.bfloat16)
    near = ran(Models(net, vae, Stills(vae)), inputs, PLAIN).astype(np.float32)
    assert np.abs(near - ran(models, inputs, PLAIN)).mean() < 8


def test_tiles(models: Models) -> None:
    tiles = Tiles(4, 4, 2, 2)
    assert len(ran(models, made_of(20), replace(PLAIN, tiles=tiles))) == 20
