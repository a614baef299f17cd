"""What both engines on Wan 2.1 do alike, each called by itself with a tiny network."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from support import installation, omni_installation
from support.wan_engines import given, made, planned, quiet
from talkhead.engines import Engine, Fitting, infinitetalk, omniavatar
from talkhead.engines.infinitetalk.options import Options as Talking
from talkhead.engines.omniavatar.options import Options as Moving
from talkhead.engines.settled import read
from talkhead.errors import Code, TalkheadError
from talkhead.models import weighing
from talkhead.models.estimates import Layout
from talkhead.weights import manifest


class Case(NamedTuple):
    """An engine, with settings at which windows have 17 frames, 5 of them the last one's."""

    module: Any
    engine: Any
    installation: Any
    settings: dict[str, Any]
    everything: dict[str, Any]  # settings that need every file of the engine's set


TALKING = Talking(window=17, motion_frames=5, lora="none")
MOVING = Moving(max_tokens=26, overlap=5)
BRIEF = {"steps": 1}
CASES = {
    "infinitetalk": Case(
        infinitetalk,
        infinitetalk.InfiniteTalk,
        installation,
        {"options": TALKING, "sampling": BRIEF},
        {"options": TALKING.model_copy(update={"lora": "rank64"}), "sampling": BRIEF},
    ),
    "omniavatar": Case(
        omniavatar,
        omniavatar.OmniAvatar,
        omni_installation,
        {"options": MOVING, "sampling": BRIEF},
        {"options": MOVING, "sampling": BRIEF},
    ),
}


@pytest.fixture(scope="module", params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture(scope="module")
def files(case: Case, tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    written: installation.Files = case.installation.write(tmp_path_factory.mktemp("weights"))
    return written


@pytest.fixture(scope="module")
def engine(
    case: Case, files: installation.Files, tmp_path_factory: pytest.TempPathFactory
) -> Engine:
    made: Engine = case.engine(installation.supplies(files, tmp_path_factory.mktemp("cache")))
    return made


def test_what_was_prepared_may_be_mapped_and_read_only(case: Case, engine: Engine) -> None:
    """As the job folder gives large arrays back; torch warns of those, and warnings fail here."""
    plan = planned(engine, 20, **case.settings)
    prepared = dict(engine.prepare(given(20, **case.settings), plan, quiet))
    for array in prepared.values():
        array.setflags(write=False)
    first, second = made(engine, prepared, plan)
    assert first.state is not None
    for array in first.state.values():
        array.setflags(write=False)
    (again,) = made(engine, prepared, plan, first.state)
    assert np.array_equal(again.frames, second.frames)


def test_blocks_that_wait_in_main_memory_make_the_same_frames(case: Case, engine: Engine) -> None:
    plan = planned(engine, 20, **case.settings)
    plain, streamed = (
        made(engine, engine.prepare(given(20, memory=memory, **case.settings), plan, quiet), plan)
        for memory in (Fitting("none"), Fitting("block"))
    )
    for one, other in zip(plain, streamed, strict=True):
        assert np.array_equal(one.frames, other.frames)


def test_prompts_that_were_encoded_need_no_encoder(
    case: Case, files: installation.Files, tmp_path: Path
) -> None:
    first = case.engine(installation.supplies(files, tmp_path))
    settings = {**case.settings, "sampling": {**BRIEF, "text_guidance": 3.0}}
    plan, inputs = planned(first, 9, **settings), given(9, **settings)
    encoded = first.prepare(inputs, plan, quiet)["text"]
    lean = {name: paths for name, paths in files.items() if name != "umt5-bf16"}
    engine = case.engine(installation.supplies(lean, tmp_path))
    assert np.array_equal(engine.prepare(inputs, plan, quiet)["text"], encoded)
    plain = {**BRIEF, "text_guidance": 1.0, "audio_guidance": 1.0}
    without = replace(inputs, negative_prompt="smiling", sampling=plain)
    engine.prepare(without, plan, quiet)  # which reads no negative prompt
    with pytest.raises(TalkheadError) as caught:
        engine.prepare(replace(inputs, prompt="smiling"), plan, quiet)
    assert caught.value.code == Code.WEIGHTS
    assert "talkhead weights prompts" in caught.value.hint


def test_its_set_holds_what_it_reads_and_no_more(
    name: str, case: Case, engine: Any, tmp_path: Path
) -> None:
    """A worker starts once a whole set is here: what nothing reads would keep it waiting."""
    asked: set[str] = set()

    def files(*names: str) -> tuple[Path, ...]:
        asked.update(names)
        found: tuple[Path, ...] = engine.supplies.files(*names)
        return found

    fresh = case.engine(replace(engine.supplies, files=files, prompts=(tmp_path,)))
    plan = planned(fresh, 5, **case.everything)
    made(fresh, fresh.prepare(given(5, **case.everything), plan, quiet), plan)
    assert {file.id for file in manifest().sets[name].files} <= asked


def test_tiles_stay_as_the_job_began(
    case: Case, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(engine, 9, **case.settings)
    chosen = Layout(tiles=True)
    monkeypatch.setattr(weighing, "choose", lambda *_: chosen)
    job = engine.prepare(given(9, **case.settings), plan, quiet)
    monkeypatch.undo()
    assert case.module.prepared.settings_of(read(job)).tiles is not None


def test_a_tick_can_stop_it(case: Case, engine: Engine) -> None:
    plan, inputs = planned(engine, 9, **case.settings), given(9, **case.settings)
    prepared = engine.prepare(inputs, plan, quiet)

    def tick(_done: int, _total: int) -> None:
        raise TalkheadError(Code.CANCELLED, "stop")

    with pytest.raises(TalkheadError, match="stop"):
        list(engine.generate(prepared, plan, tick, None))
    with pytest.raises(TalkheadError, match="stop"):
        engine.prepare(inputs, plan, tick)


def test_planning_loads_no_torch(name: str) -> None:
    script = (
        f"import sys, talkhead.engines.{name};"
        "sys.exit(bool({'torch', 'pydantic', 'diffusers'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
