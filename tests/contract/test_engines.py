"""What every engine promises, for each engine of the registry and the tests' own."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from support import installation, omni_installation
from support.cards import CARDS
from support.harness import PORTRAITS, SPEECH, read_sound
from talkhead import registry
from talkhead.engines import Chunk, Engine, Inputs, Plan, Probe, Speaker
from talkhead.errors import Code, TalkheadError
from talkhead.media import face, fit
from talkhead.media.decode import read_image

ENGINES = {**registry.ENGINES, **CARDS}
SECONDS = 4.2
OPTIONS = {  # quick, and many windows
    "infinitetalk": {"window": 33, "motion_frames": 1},
    "omniavatar": {"max_tokens": 132, "overlap": 1},
}
WRITE = {"infinitetalk": installation.write, "omniavatar": omni_installation.write}


@pytest.fixture(params=sorted(ENGINES), scope="module")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Return an engine; one that needs weights has tiny ones, and works at a tiny size."""
    known = registry.resolve("engine", request.param, ENGINES)
    if not known.spec.weights:
        return cast(Engine, known())
    folder = tmp_path_factory.mktemp("weights")
    files = WRITE[request.param](folder)
    made: Engine = known(installation.supplies(files, folder / "prompts"))
    made.spec = replace(made.spec, min_side=64)
    return made


@pytest.fixture(scope="module")
def inputs(engine: Engine) -> Inputs:
    spec = engine.spec
    least = spec.min_side if spec.weights else 256
    side = least + -least % spec.multiple
    picture = read_image(PORTRAITS / "woman_frontal_closed.png", "portrait")
    fitted = fit.fit(picture, side, side, "crop", None)
    found = face.FaceFinder().find(fitted.picture)
    sound = np.concatenate([read_sound(SPEECH / f"librivox_0{n}.flac") for n in (870, 890)])
    speech = sound[: int(SECONDS * spec.sample_rate)].astype(np.float32)
    options = registry.options_of(ENGINES[spec.name])(**OPTIONS.get(spec.name, {}))
    speaker = Speaker(speech=speech, face=found[0] if spec.needs_face else None)
    return Inputs(
        picture=fitted.picture, speakers=(speaker,), seed=7, options=options, quality="draft"
    )


@pytest.fixture(scope="module")
def probe(engine: Engine, inputs: Inputs) -> Probe:
    height, width = inputs.picture.shape[:2]
    return Probe(
        width=width,
        height=height,
        fps=engine.spec.fps,
        frames=int(np.ceil(SECONDS * engine.spec.fps)),
        faces=tuple(s.face for s in inputs.speakers if s.face),
        speech_seconds=SECONDS,
        estimated=False,
        options=inputs.options,
        quality=inputs.quality,
    )


@pytest.fixture(scope="module")
def plan(engine: Engine, probe: Probe) -> Plan:
    return engine.plan(probe)


@pytest.fixture(scope="module")
def prepared(engine: Engine, inputs: Inputs, plan: Plan) -> dict[str, np.ndarray]:
    return dict(engine.prepare(inputs, plan, lambda done, total: None))


def chunks(engine: Engine, prepared, plan: Plan, state=None, ticks=None) -> list[Chunk]:
    def tick(done: int, total: int) -> None:
        if ticks is not None:
            ticks.append((done, total))

    return [c for c in engine.generate(prepared, plan, tick, state) if isinstance(c, Chunk)]


def test_the_plan_adds_up(engine: Engine, plan: Plan, probe: Probe) -> None:
    assert sum(plan.segments) == plan.frames == probe.frames
    assert sum(plan.windows) >= plan.frames
    assert all(run >= 2 * plan.fps for run in plan.segments[:-1])
    assert plan.width % engine.spec.multiple == plan.height % engine.spec.multiple == 0
    assert plan.seconds > 0
    assert plan.memory_bytes > 0


@pytest.mark.parametrize("frames", [1, 2, 49, 50, 51, 100, 1501])
def test_any_length_can_be_planned(engine: Engine, probe: Probe, frames: int) -> None:
    plan = engine.plan(replace(probe, frames=frames, speech_seconds=frames / 25))
    assert sum(plan.segments) == frames
    assert min(plan.segments) > 0


def test_moments_of_a_source_rise_and_a_still_has_one(engine: Engine, probe: Probe) -> None:
    assert engine.plan(probe).moments == (0.0,)
    if engine.spec.accepts_video:
        moving = engine.plan(replace(probe, frames=500, source_fps=Fraction(30)))
        assert list(moving.moments) == sorted(moving.moments)
        assert 0 <= moving.moments[0] <= moving.moments[-1] <= 500 / moving.fps


def test_trained_sizes_are_those_it_can_work_at(engine: Engine) -> None:
    for buckets in engine.spec.buckets.values():
        for bucket in buckets:
            assert bucket.width % engine.spec.multiple == bucket.height % engine.spec.multiple == 0
            assert min(bucket.width, bucket.height) >= engine.spec.min_side
            assert bucket.width * bucket.height <= engine.spec.max_pixels


def test_rates_are_honoured(engine: Engine, probe: Probe) -> None:
    low, high = engine.spec.fps_range
    assert low <= engine.spec.fps <= high
    assert engine.plan(replace(probe, fps=Fraction(high))).fps == high


def test_prepared_arrays_survive_npz(engine: Engine, prepared, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", allow_pickle=False, **prepared)
    with np.load(tmp_path / "p.npz", allow_pickle=False) as loaded:
        for name, array in prepared.items():
            assert np.array_equal(loaded[name], array)


def test_chunks_hold_the_planned_frames_and_fit_the_segments(
    engine: Engine, prepared, plan: Plan
) -> None:
    ticks: list[tuple[int, int]] = []
    made = chunks(engine, prepared, plan, ticks=ticks)
    borders = np.cumsum(plan.segments).tolist()
    ends = np.cumsum([len(chunk.frames) for chunk in made]).tolist()
    assert ends[-1] == plan.frames
    assert set(borders) <= set(ends)
    for chunk in made:
        assert chunk.frames.dtype == np.uint8
        assert chunk.frames.shape[1:] == (plan.height, plan.width, 3)
    assert ticks == sorted(ticks)
    assert ticks[-1][0] == ticks[-1][1]


def test_every_state_goes_on_with_the_same_frames(engine: Engine, prepared, plan: Plan) -> None:
    made = chunks(engine, prepared, plan)
    whole = np.concatenate([chunk.frames for chunk in made])
    done = 0
    for index in (0, len(made) // 2, len(made) - 1):
        done = sum(len(chunk.frames) for chunk in made[: index + 1])
        rest = chunks(engine, prepared, plan, made[index].state)
        frames = [chunk.frames for chunk in rest]
        again = np.concatenate(frames) if frames else whole[:0]
        assert np.array_equal(again, whole[done:])


def test_a_tick_can_stop_it(engine: Engine, prepared, plan: Plan) -> None:
    def tick(done: int, total: int) -> None:
        if done:
            raise TalkheadError(Code.CANCELLED, "stop")

    with pytest.raises(TalkheadError):
        list(engine.generate(prepared, plan, tick, None))
