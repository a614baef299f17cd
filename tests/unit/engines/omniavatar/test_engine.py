"""The engine alone, with a tiny network: plans, whole jobs, and what of a request reaches them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import installation, omni_installation, wan_engines
from support.wan_engines import HEIGHT, WIDTH, made, quiet
from talkhead.engines import Fitting, Frames, Inputs, Plan, Speaker
from talkhead.engines.omniavatar import OmniAvatar, checkpoint
from talkhead.engines.omniavatar.choice import Choice
from talkhead.engines.omniavatar.options import Options
from talkhead.engines.omniavatar.prepared import settings_of
from talkhead.engines.omniavatar.transformer import OmniAvatarTransformer
from talkhead.engines.settled import read
from talkhead.errors import Code, TalkheadError
from talkhead.models import sampling, wan_vae
from talkhead.models.passes import Guidance

FRAMES = 60
OPTIONS = Options(max_tokens=26, overlap=5)  # chunks of 17 frames
SAMPLING = {"steps": 2}
SETTINGS = {"options": OPTIONS, "sampling": SAMPLING}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    return omni_installation.write(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def engine(files: installation.Files, tmp_path_factory: pytest.TempPathFactory) -> OmniAvatar:
    return OmniAvatar(installation.supplies(files, tmp_path_factory.mktemp("cache")))


def options(**more: Any) -> Options:
    return OPTIONS.model_copy(update=more)


def planned(engine: OmniAvatar, frames: int = FRAMES, **more: Any) -> Plan:
    return wan_engines.planned(engine, frames, **{**SETTINGS, **more})


def given(frames: int = FRAMES, **more: Any) -> Inputs:
    return wan_engines.given(frames, **{**SETTINGS, **more})


def ran(engine: OmniAvatar, frames: int, **more: Any) -> Frames:
    """Return all frames of a job, planned and prepared with the same settings."""
    names = ("options", "sampling", "quality", "memory")
    plan = planned(engine, frames, **{name: more[name] for name in names if name in more})
    chunks = made(engine, engine.prepare(given(frames, **more), plan, quiet), plan)
    whole = np.concatenate([chunk.frames for chunk in chunks])
    assert whole.shape == (plan.frames, HEIGHT, WIDTH, 3)
    return whole


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count how often the network is asked, and how often its blocks compute."""
    counts = {"sample": 0, "through": 0}
    for name in counts:
        own = getattr(OmniAvatarTransformer, name)

        def count(*args: Any, _name: str = name, _own: Any = own) -> Any:
            counts[_name] += 1
            return _own(*args)

        monkeypatch.setattr(OmniAvatarTransformer, name, count)
    return counts


def test_without_weights_there_is_a_plan_and_no_work(tmp_path: Path) -> None:
    engine = OmniAvatar(installation.supplies({}, tmp_path))
    plan = planned(engine, 17)
    (told,) = plan.warnings
    assert "estimated from published sizes" in told
    assert "talkhead weights pull omniavatar`" in told
    assert 25e9 < plan.memory_bytes < 60e9  # of 14B in 16 bits
    assert plan.weights == ""
    small = planned(engine, 17, options=options(model="1.3B"))
    assert "talkhead weights pull omniavatar-1.3b`" in small.warnings[0]
    assert small.seconds < plan.seconds / 5
    assert small.memory_bytes < plan.memory_bytes
    eighth = planned(engine, 17, memory=Fitting(quant="int8"))
    assert eighth.memory_bytes < plan.memory_bytes
    with pytest.raises(TalkheadError) as caught:
        engine.prepare(given(17), plan, quiet)
    assert caught.value.code == Code.WEIGHTS


def test_a_job(engine: OmniAvatar, tmp_path: Path) -> None:
    plan = planned(engine)
    assert plan.warnings == ()
    assert plan.weights
    np.savez(tmp_path / "p.npz", allow_pickle=False, **engine.prepare(given(), plan, quiet))
    prepared = dict(np.load(tmp_path / "p.npz", allow_pickle=False))
    chunks = made(engine, prepared, plan)
    assert [len(chunk.frames) for chunk in chunks] == [16, 12, 12, 12, 8]
    assert plan.windows == (17,) * 5
    assert sum(plan.segments) == plan.frames == FRAMES
    assert set(np.cumsum(plan.segments)) <= set(np.cumsum([len(c.frames) for c in chunks]))
    another = OmniAvatar(engine.supplies)
    for done in range(1, 5):
        np.savez(tmp_path / "s.npz", allow_pickle=False, **chunks[done - 1].state)
        state = dict(np.load(tmp_path / "s.npz", allow_pickle=False))
        rest = made(another, prepared, plan, state)
        assert len(rest) == 5 - done
        for one, other in zip(rest, chunks[done:], strict=True):
            assert np.array_equal(one.frames, other.frames)
    assert not made(engine, prepared, plan, chunks[-1].state)


def test_the_seed_decides_and_nothing_else(engine: OmniAvatar) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    fresh = OmniAvatar(engine.supplies)
    plain = ran(fresh, 20)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(ran(engine, 20), plain)
    assert not np.array_equal(ran(engine, 20, seed=6), plain)


@pytest.mark.parametrize("frames", [1, 5, 16, 17])
def test_lengths(engine: OmniAvatar, frames: int) -> None:
    assert len(ran(engine, frames)) == frames
    assert len(ran(engine, frames, options=options(official=True))) == frames


def test_silence_and_speech_of_another_length(engine: OmniAvatar) -> None:
    plan = planned(engine, 20)
    plain = np.concatenate(
        [c.frames for c in made(engine, engine.prepare(given(20), plan, quiet), plan)]
    )
    mute = Speaker(np.zeros(20 * 640, np.float32), None)
    short = Speaker(given(20).speakers[0].speech[:640], None)
    for speaker in (mute, short):
        prepared = engine.prepare(replace(given(20), speakers=(speaker,)), plan, quiet)
        assert np.isfinite(prepared["speech"]).all()
        frames = np.concatenate([chunk.frames for chunk in made(engine, prepared, plan)])
        assert frames.shape == plain.shape
        assert not np.array_equal(frames, plain)


def test_the_official_way_begins_with_the_still(engine: OmniAvatar) -> None:
    speakers = given(29).speakers
    official = ran(engine, 29, options=options(official=True))
    assert np.array_equal(official[1:], ran(engine, 28, speakers=speakers))
    vae = next(iter(engine._models.values())).vae
    with torch.inference_mode():
        latents = wan_vae.encode(vae, wan_vae.pixels(given().picture)[:, None])
        (still,) = sampling.levels(next(wan_vae.decode(vae, latents)).transpose(0, 1) / 2 + 0.5)
    assert np.abs(official[0].astype(int) - still).max() <= 1


@pytest.mark.parametrize(("text", "audio", "count"), [(1, 1, 1), (3, 3, 2), (3, 2, 3), (1, 2, 2)])
def test_passes(
    engine: OmniAvatar, passes: dict[str, int], text: float, audio: float, count: int
) -> None:
    asked = {"steps": 3, "text_guidance": text, "audio_guidance": audio}
    frames = ran(engine, 17, sampling=asked)
    assert passes["through"] == 2 * 3 * count
    if (text, audio) == (3, 3):  # audio follows text
        assert np.array_equal(frames, ran(engine, 17, sampling={"steps": 3, "text_guidance": 3}))


def test_step_cache_leaves_blocks_out(engine: OmniAvatar, passes: dict[str, int]) -> None:
    asked = {"steps": 12}
    plain = ran(engine, 9, sampling=asked)
    assert passes["through"] == 12 * 2
    passes["through"] = 0
    cached = ran(engine, 9, sampling=asked, options=options(teacache_threshold=1.0))
    assert passes["sample"] == 12 * 2
    assert passes["through"] < 12 * 2
    assert not np.array_equal(cached, plain)
    off = ran(engine, 9, sampling=asked, options=options(teacache_threshold=0.0))
    assert np.array_equal(off, plain)


def test_settings_reach_the_frames(engine: OmniAvatar) -> None:
    plain = ran(engine, 9)
    for settings in (
        {"sampling": {**SAMPLING, "steps": 3}},
        {"sampling": {**SAMPLING, "shift": 2.0}},
        {"sampling": {**SAMPLING, "text_guidance": 1.0}},
        {"sampling": {**SAMPLING, "audio_guidance": 1.0}},
        {"prompt": "smiling"},
        {"negative_prompt": "smiling"},
    ):
        assert not np.array_equal(ran(engine, 9, **settings), plain), settings


def test_quality_decides_where_the_request_says_nothing(engine: OmniAvatar) -> None:
    seconds = {}
    for quality, steps in (("draft", 10), ("fast", 20), ("balanced", 25), ("best", 50)):
        more: dict[str, Any] = {"sampling": {}, "quality": quality}
        plan = planned(engine, 9, **more)
        settings = settings_of(read(engine.prepare(given(9, **more), plan, quiet)))
        assert (settings.steps, settings.guidance, settings.shift) == (steps, Guidance(4.5, 4.5), 5)
        assert settings.rounded_times
        seconds[quality] = plan.seconds
    assert sorted(seconds, key=seconds.__getitem__) == ["draft", "fast", "balanced", "best"]


def test_weights_in_8_bits_make_almost_the_same(engine: OmniAvatar) -> None:
    plain, narrow = ran(engine, 9), ran(engine, 9, memory=Fitting(quant="int8"))
    assert not np.array_equal(plain, narrow)
    assert np.abs(plain.astype(int) - narrow).mean() < 4
    with pytest.raises(TalkheadError, match=r"memory\.quant"):
        planned(engine, 9, memory=Fitting(quant="int3"))


def test_the_smaller_model_takes_the_place_of_the_larger(tmp_path: Path) -> None:
    files = omni_installation.write(tmp_path, "1.3B", "14B")
    lean = {name: paths for name, paths in files.items() if name != "omniavatar-14b-delta"}
    small = OmniAvatar(installation.supplies(lean, tmp_path / "cache"))
    (told,) = planned(small, 9).warnings
    assert "1.3B model is here alone" in told
    assert planned(small, 9, options=options(model="1.3B")).warnings == ()
    assert "omniavatar-14b-delta" in planned(small, 9, options=options(model="14B")).warnings[0]
    both = OmniAvatar(installation.supplies(files, tmp_path / "cache"))
    assert planned(both, 9).warnings == ()
    frames = ran(small, 9)
    assert np.array_equal(frames, ran(both, 9, options=options(model="1.3B")))
    assert np.array_equal(ran(both, 9), ran(both, 9, options=options(model="14B")))
    assert not np.array_equal(frames, ran(both, 9))
    # what began with one goes on with it, whatever has come since
    plan = planned(small, 9)
    prepared = small.prepare(given(9), plan, quiet)
    assert np.array_equal(made(both, prepared, plan)[0].frames, frames)


def test_models_are_loaded_once_for_jobs_that_are_alike(
    engine: OmniAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str | None] = []
    load = checkpoint.load_models

    def counting(files: Any, choice: Choice, *rest: Any) -> Any:
        loaded.append(choice.quant)
        return load(files, choice, *rest)

    monkeypatch.setattr(checkpoint, "load_models", counting)
    fresh = OmniAvatar(engine.supplies)
    for quant in (None, None, "int8", "int8", None):
        ran(fresh, 5, memory=Fitting(quant=quant))
    assert loaded == [None, "int8", None]


def test_what_does_not_fit_is_refused_before_it_begins(
    engine: OmniAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(engine, 17)
    fixed: dict[str, Any] = {"options": options(vae_tiling=False), "memory": Fitting("none")}
    free = plan.memory_bytes - 1
    monkeypatch.setattr("talkhead.models.weighing.available", lambda _device, **_: free)
    for work in (
        lambda: planned(engine, 17, **fixed),
        lambda: engine.prepare(given(17, **fixed), plan, quiet),
    ):
        with pytest.raises(TalkheadError) as caught:
            work()
        assert caught.value.code == Code.CAPACITY
        assert not caught.value.retryable
        assert "what would fit: " in caught.value.hint
        assert "memory.quant=fp8" in caught.value.hint


def test_a_short_tail_costs_less_and_leaves_what_is_before_as_it_was(engine: OmniAvatar) -> None:
    short = options(short_tail=True)
    whole, less = planned(engine, 20), planned(engine, 20, options=short)
    assert (whole.windows, less.windows) == ((17, 17), (17, 9))
    assert less.seconds < whole.seconds
    assert planned(engine, 4, options=short).windows == (5,)
    jobs = [
        (plan, engine.prepare(given(20, options=kind), plan, quiet))
        for plan, kind in ((whole, OPTIONS), (less, short))
    ]
    # the whole track is heard at once: were it shorter, every chunk would hear something else
    assert np.array_equal(jobs[0][1]["speech"], jobs[1][1]["speech"])
    (one, tail), (other, short_tail) = (made(engine, job, plan) for plan, job in jobs)
    assert np.array_equal(one.frames, other.frames)
    assert tail.frames.shape == short_tail.frames.shape
    assert not np.array_equal(tail.frames, short_tail.frames)
    (again,) = made(engine, jobs[1][1], less, other.state)
    assert np.array_equal(again.frames, short_tail.frames)


def test_a_chunk_has_to_be_longer_than_its_overlap(engine: OmniAvatar) -> None:
    with pytest.raises(TalkheadError) as caught:
        planned(engine, 17, options=options(overlap=17))
    assert caught.value.code == Code.INPUT
    least = int(caught.value.hint.split()[2])
    plan = planned(engine, 30, options=options(overlap=17, max_tokens=least))
    assert plan.windows[0] > 17
