from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import installation, wan_engines
from support.wan_engines import HEIGHT, WIDTH, made, quiet
from talkhead.engines import Box, Face, Inputs, Plan
from talkhead.engines.infinitetalk import InfiniteTalk, checkpoint
from talkhead.engines.infinitetalk.choice import Choice
from talkhead.engines.infinitetalk.options import Options
from talkhead.engines.infinitetalk.prepared import settings_of
from talkhead.engines.settled import read
from talkhead.errors import Code, TalkheadError
from talkhead.models.passes import Guidance

FRAMES = 70
OPTIONS = Options(window=17, motion_frames=5, lora="none")
SAMPLING = {"steps": 2, "text_guidance": 3.0, "audio_guidance": 2.0}
SETTINGS = {"options": OPTIONS, "sampling": SAMPLING}
LEAST = OPTIONS.model_copy(update={"window": 5, "motion_frames": 1})  # one short window


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    return installation.write(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def engine(files: installation.Files, tmp_path_factory: pytest.TempPathFactory) -> InfiniteTalk:
    return InfiniteTalk(installation.supplies(files, tmp_path_factory.mktemp("cache")))


def planned(engine: InfiniteTalk, frames: int = FRAMES, **more: Any) -> Plan:
    return wan_engines.planned(engine, frames, **{**SETTINGS, **more})


def given(frames: int = FRAMES, speakers: int = 1, **more: Any) -> Inputs:
    return wan_engines.given(frames, speakers, **{**SETTINGS, **more})


@pytest.mark.parametrize("speakers", [1, 2])
def test_a_job(engine: InfiniteTalk, speakers: int, tmp_path: Path) -> None:
    plan = planned(engine)
    np.savez(
        tmp_path / "p.npz",
        allow_pickle=False,
        **engine.prepare(given(speakers=speakers), plan, quiet),
    )
    prepared = dict(np.load(tmp_path / "p.npz", allow_pickle=False))
    chunks = made(engine, prepared, plan)
    assert [len(chunk.frames) for chunk in chunks] == [17, 12, 12, 12, 12, 5]
    assert chunks[0].frames.shape[1:] == (HEIGHT, WIDTH, 3)
    assert plan.segments == (53, 17)
    assert set(np.cumsum(plan.segments)) <= set(np.cumsum([len(c.frames) for c in chunks]))
    rest = made(engine, prepared, plan, chunks[3].state)
    assert np.array_equal(rest[0].frames, chunks[4].frames)
    assert np.array_equal(rest[1].frames, chunks[5].frames)
    assert not made(engine, prepared, plan, chunks[-1].state)


def test_speakers_are_looked_for_in_their_boxes(engine: InfiniteTalk) -> None:
    plan, inputs = planned(engine, 17), given(17, speakers=2)
    halves = engine.prepare(inputs, plan, quiet)
    assert halves["boxes"].shape == (2, 4)
    face = Face(Box(30, 2, 44, 20), np.zeros((478, 3), np.float32), 9.0)
    one, two = inputs.speakers
    placed = replace(inputs, speakers=(replace(one, face=face), two))
    boxes = engine.prepare(placed, plan, quiet)["boxes"]
    assert boxes[0].tolist() == list(face.box)
    assert np.array_equal(boxes[1], halves["boxes"][1])


def test_models_are_loaded_once_for_jobs_that_are_alike(
    engine: InfiniteTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[tuple[int, str | None]] = []
    load = checkpoint.load_models

    def counting(files: Any, choice: Choice, *rest: Any) -> Any:
        loaded.append((choice.speakers, choice.lora))
        return load(files, choice, *rest)

    monkeypatch.setattr(checkpoint, "load_models", counting)
    fresh = InfiniteTalk(engine.supplies)
    plan = planned(fresh, 5)
    changed = OPTIONS.model_copy(update={"lora": "rank64"})
    one, two = (fresh.prepare(given(5, count), plan, quiet) for count in (1, 2))
    other = fresh.prepare(given(5, options=changed), plan, quiet)
    assert not loaded
    for job in (one, one, two, two, other, other, one):
        made(fresh, job, plan)
    assert loaded == [(1, None), (2, None), (1, "rank64"), (1, None)]


def test_settings_reach_the_frames(engine: InfiniteTalk) -> None:
    plan = planned(engine, 5, options=LEAST)

    def frames(**more: Any) -> np.ndarray:
        inputs = given(5, **{"options": LEAST, **more})
        return made(engine, engine.prepare(inputs, plan, quiet), plan)[0].frames

    plain = frames()
    assert np.array_equal(frames(), plain)
    changed = (
        {"sampling": {**SAMPLING, "steps": 3}},
        {"sampling": {**SAMPLING, "shift": 2.0}},
        {"sampling": {**SAMPLING, "text_guidance": 1.0}},
        {"sampling": {**SAMPLING, "audio_guidance": 1.0}},
        {"options": LEAST.model_copy(update={"apg": True, "apg_norm_threshold": 1.0})},
        {"options": LEAST.model_copy(update={"color_strength": 0.2})},
        {"options": LEAST.model_copy(update={"audio_scale": 2.0})},
        {"prompt": "smiling"},
        {"negative_prompt": "smiling"},
    )
    for settings in changed:
        assert not np.array_equal(frames(**settings), plain), settings


def test_quality_decides_where_the_request_says_nothing(engine: InfiniteTalk) -> None:
    seconds = {}
    for quality, steps, guidance in (
        ("draft", 2, Guidance(1, 1)),
        ("fast", 4, Guidance(1, 1)),
        ("balanced", 8, Guidance(1, 2)),
        ("best", 40, Guidance(5, 4)),
    ):
        more = {"sampling": {}, "options": Options(window=17, motion_frames=5), "quality": quality}
        plan = planned(engine, 9, **more)
        settings = settings_of(read(engine.prepare(given(9, **more), plan, quiet)))
        assert (settings.steps, settings.guidance, settings.shift) == (steps, guidance, 7)
        seconds[quality] = plan.seconds
    assert sorted(seconds, key=seconds.__getitem__) == ["draft", "fast", "balanced", "best"]


def test_a_lora_changes_the_frames_and_is_told_of(engine: InfiniteTalk) -> None:
    plan = planned(engine, 5, options=LEAST)

    def frames(**more: Any) -> np.ndarray:
        options = LEAST.model_copy(update=more)
        return made(engine, engine.prepare(given(5, options=options), plan, quiet), plan)[0].frames

    plain, lora = frames(), frames(lora="rank64")
    assert not np.array_equal(plain, lora)
    assert np.array_equal(plain, frames(lora="rank64", lora_strength=0.0))
    # the file's alpha is half its rank
    assert np.array_equal(
        frames(lora="rank64", lora_alpha="standard"), frames(lora="rank64", lora_strength=0.5)
    )
    options = LEAST.model_copy(update={"lora": "rank64"})
    (told,) = engine.prepare(given(5, options=options), plan, quiet)["warnings"]
    assert "alpha" in told


def test_a_video_is_followed_by_its_time(engine: InfiniteTalk) -> None:
    plan = planned(engine, 40, source_fps=Fraction(50))
    assert plan.moments == (0.0, 12 / 25, 24 / 25)
    official = OPTIONS.model_copy(update={"official": True})
    by_index = planned(engine, 40, source_fps=Fraction(50), options=official)
    assert by_index.moments == (0.0, 12 / 50, 24 / 50)
    assert planned(engine, 40).moments == (0.0,)
    still = given(40)
    shown = np.stack([still.picture, 255 - still.picture, still.picture // 2])
    moving = engine.prepare(replace(still, pictures=shown), plan, quiet)
    assert len(moving["looks"]) == len(moving["pictures"]) == 3
    one, other = made(engine, moving, plan), made(engine, engine.prepare(still, plan, quiet), plan)
    assert np.array_equal(one[0].frames, other[0].frames)
    assert not np.array_equal(one[1].frames, other[1].frames)
    again = made(engine, moving, plan, one[1].state)
    assert np.array_equal(again[0].frames, one[2].frames)


def test_the_official_way_is_another(engine: InfiniteTalk) -> None:
    plan = planned(engine, 20)
    official = OPTIONS.model_copy(update={"official": True})
    jobs = [engine.prepare(given(20, options=o), plan, quiet) for o in (OPTIONS, official)]
    one, other = (made(engine, job, plan) for job in jobs)
    assert not np.array_equal(one[1].frames, other[1].frames)
    again = made(engine, jobs[1], plan, other[0].state)
    assert np.array_equal(again[0].frames, other[1].frames)  # its generator is wound on


def test_a_short_tail_costs_less(engine: InfiniteTalk) -> None:
    short = OPTIONS.model_copy(update={"short_tail": True})
    whole, less = planned(engine, 20), planned(engine, 20, options=short)
    assert (whole.windows, less.windows) == ((17, 17), (17, 9))
    assert less.seconds < whole.seconds
    job = engine.prepare(given(20, options=short), less, quiet)
    assert sum(len(chunk.frames) for chunk in made(engine, job, less)) == 20


def test_without_weights_there_is_a_plan_and_no_work(
    files: installation.Files, tmp_path: Path
) -> None:
    lean = {name: paths for name, paths in files.items() if name != "infinitetalk-multi-adapter"}
    engine = InfiniteTalk(installation.supplies(lean, tmp_path))
    assert planned(engine, 17).warnings == ()
    plan = planned(engine, 17, speakers=2)
    assert "infinitetalk-multi-adapter is not there; pull it" in plan.warnings[0]
    assert plan.memory_bytes > 30e9  # of the published network
    with pytest.raises(TalkheadError) as caught:
        engine.prepare(given(17, speakers=2), plan, quiet)
    assert caught.value.code == Code.WEIGHTS


def test_what_does_not_fit_is_refused_before_it_begins(
    engine: InfiniteTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talkhead.models.weighing.available", lambda _device, **_: 100_000)
    before = Plan("infinitetalk", WIDTH, HEIGHT, Fraction(25), 17, (17,), (17,), 1, 1)
    for work in (planned, lambda engine: engine.prepare(given(17), before, quiet)):
        with pytest.raises(TalkheadError) as caught:
            work(engine)
        assert caught.value.code == Code.CAPACITY
        assert not caught.value.retryable
