import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import installation
from talkhead.engines import Arrays, Box, Chunk, Face, Inputs, Plan, Probe, Speaker
from talkhead.engines.infinitetalk import InfiniteTalk, Supplies
from talkhead.engines.infinitetalk.options import Options
from talkhead.engines.infinitetalk.prepared import sampling_of, settings_of
from talkhead.errors import Code, TalkheadError
from talkhead.models.passes import Guidance

WIDTH, HEIGHT, FRAMES = 48, 32, 70
OPTIONS = Options(window=17, motion_frames=5)
SAMPLING = {"steps": 2, "text_guidance": 3.0, "audio_guidance": 2.0, "seed": 5}


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    return installation.write(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def engine(files: installation.Files, tmp_path_factory: pytest.TempPathFactory) -> InfiniteTalk:
    return InfiniteTalk(supplies(files, tmp_path_factory.mktemp("cache")))


def supplies(files: installation.Files, cache: Path, **more: Any) -> Supplies:
    return Supplies(installation.finder(files), cache, device="cpu", **more)


def planned(engine: InfiniteTalk, frames: int = FRAMES) -> Plan:
    probe = Probe(
        width=WIDTH,
        height=HEIGHT,
        fps=Fraction(25),
        frames=frames,
        faces=(),
        speech_seconds=frames / 25,
        estimated=False,
        options=OPTIONS,
    )
    return engine.plan(probe)


def given(frames: int = FRAMES, speakers: int = 1, **more: Any) -> Inputs:
    made = np.random.default_rng(8)
    voices = [
        Speaker(made.normal(0, 0.1, frames * 640).astype(np.float32), None) for _ in range(speakers)
    ]
    picture = made.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    settings = {"prompt": "a person is talking", "sampling": SAMPLING, "options": OPTIONS}
    return Inputs(picture, tuple(voices), seed=5, **{**settings, **more})


def made(engine: InfiniteTalk, prepared: Arrays, plan: Plan, state: Any = None) -> list[Chunk]:
    return list(engine.generate(prepared, plan, quiet, state))


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


def test_prompts_that_were_encoded_need_no_encoder(
    files: installation.Files, tmp_path: Path
) -> None:
    plan, inputs = planned(InfiniteTalk(supplies(files, tmp_path)), 17), given(17)
    first = InfiniteTalk(supplies(files, tmp_path)).prepare(inputs, plan, quiet)
    lean = {name: paths for name, paths in files.items() if name != "umt5-bf16"}
    engine = InfiniteTalk(supplies(lean, tmp_path))
    assert np.array_equal(engine.prepare(inputs, plan, quiet)["text"], first["text"])
    with pytest.raises(TalkheadError) as caught:
        engine.prepare(replace(inputs, prompt="smiling"), plan, quiet)
    assert caught.value.code == Code.WEIGHTS


def test_models_are_loaded_once_for_as_many_speakers(
    files: installation.Files, tmp_path: Path
) -> None:
    asked: list[str] = []
    find = installation.finder(files)

    def counting(name: str) -> tuple[Path, ...]:
        asked.append(name)
        return find(name)

    engine = InfiniteTalk(replace(supplies(files, tmp_path), files=counting))
    plan = planned(engine, 5)
    jobs = {count: engine.prepare(given(5, count), plan, quiet) for count in (1, 2)}
    assert "wan-i2v" not in asked
    for count in (1, 1, 2, 2, 1):
        made(engine, jobs[count], plan)
    assert [name for name in asked if "adapter" in name] == [
        "infinitetalk-single-adapter",
        "infinitetalk-multi-adapter",
        "infinitetalk-single-adapter",
    ]


def test_settings_reach_the_frames(engine: InfiniteTalk) -> None:
    plan = planned(engine, 9)

    def frames(**more: Any) -> np.ndarray:
        return made(engine, engine.prepare(given(9, **more), plan, quiet), plan)[0].frames

    plain = frames()
    assert np.array_equal(frames(), plain)
    changed = (
        {"sampling": {**SAMPLING, "steps": 3}},
        {"sampling": {**SAMPLING, "shift": 2.0}},
        {"sampling": {**SAMPLING, "text_guidance": 1.0}},
        {"sampling": {**SAMPLING, "audio_guidance": 1.0}},
        {"options": OPTIONS.model_copy(update={"apg": True, "apg_norm_threshold": 1.0})},
        {"options": OPTIONS.model_copy(update={"color_strength": 0.2})},
        {"options": OPTIONS.model_copy(update={"audio_scale": 2.0})},
        {"prompt": "smiling"},
        {"negative_prompt": "smiling"},
    )
    for settings in changed:
        assert not np.array_equal(frames(**settings), plain), settings


def test_a_distilled_model_needs_few_steps(engine: InfiniteTalk) -> None:
    fast = InfiniteTalk(replace(engine.supplies, distilled="lightx2v-i2v-rank64"))
    slow, quick = planned(engine), planned(fast)
    assert quick.seconds < slow.seconds
    assert quick.memory_bytes == slow.memory_bytes
    plan, plain = planned(fast, 9), given(9, sampling={})
    prepared = fast.prepare(plain, plan, quiet)
    settings = settings_of(prepared)
    assert (settings.steps, settings.guidance, settings.shift) == (4, Guidance(1, 1), 7)
    frames = made(fast, prepared, plan)[0].frames
    assert not np.array_equal(frames, made(engine, prepared, plan)[0].frames)


def test_own_numbers_where_the_request_has_none(engine: InfiniteTalk) -> None:
    for width, height, shift in ((832, 448, 7), (1280, 720, 11)):
        plan = replace(planned(engine, 9), width=width, height=height)
        assert sampling_of({"steps": 8}, plan, distilled=False) == {
            "steps": 8, "text_guidance": 5.0, "audio_guidance": 4.0, "shift": shift,
        }  # fmt: skip


def test_blocks_that_wait_in_main_memory_make_the_same_frames(engine: InfiniteTalk) -> None:
    plan = planned(engine, 20)
    prepared = engine.prepare(given(20), plan, quiet)
    streamed = InfiniteTalk(replace(engine.supplies, offload=True))
    for one, other in zip(
        made(engine, prepared, plan), made(streamed, prepared, plan), strict=True
    ):
        assert np.array_equal(one.frames, other.frames)


def test_a_tick_can_stop_it(engine: InfiniteTalk) -> None:
    plan = planned(engine, 9)
    prepared = engine.prepare(given(9), plan, quiet)

    def tick(_done: int, _total: int) -> None:
        raise TalkheadError(Code.CANCELLED, "stop")

    with pytest.raises(TalkheadError):
        list(engine.generate(prepared, plan, tick, None))
    with pytest.raises(TalkheadError):
        engine.prepare(given(9), plan, tick)


def test_planning_loads_no_torch() -> None:
    script = (
        "import sys, talkhead.engines.infinitetalk;"
        "sys.exit(bool({'torch', 'pydantic', 'diffusers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
