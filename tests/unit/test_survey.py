"""What an engine is told of a job before it plans and before it prepares."""

from typing import Any

import numpy as np
import pytest

from support.cards import asked
from support.testcard import TestCard
from talkhead import job
from talkhead.engines import Fitting, Inputs, Probe


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the test card was given: `probe` and `inputs`."""
    seen: dict[str, Any] = {}
    plan, prepare = TestCard.plan, TestCard.prepare

    def planned(self: TestCard, probe: Probe) -> Any:
        seen["probe"] = probe
        return plan(self, probe)

    def prepared(self: TestCard, inputs: Inputs, *more: Any) -> Any:
        seen["inputs"] = inputs
        arrays = prepare(self, inputs, *more)
        seen["features"] = arrays["features"]
        return arrays

    monkeypatch.setattr(TestCard, "plan", planned)
    monkeypatch.setattr(TestCard, "prepare", prepared)
    return seen


def test_what_is_asked_of_a_large_model_reaches_the_engine(portrait, speech, runtime, told) -> None:
    two = [{"audio": str(speech)}, {"audio": str(speech)}]
    more = {"quality": "best", "memory": {"offload": "block", "quant": "fp8"}}
    sampling = {"steps": 8, "shift": 5.0, "seed": 4}
    job.run(asked(portrait, speech, speakers=two, sampling=sampling, **more), runtime)
    probe, inputs = told["probe"], told["inputs"]
    assert (probe.speakers, probe.quality, probe.source_fps) == (2, "best", None)
    assert probe.sampling == {"steps": 8, "shift": 5.0}
    assert probe.memory == inputs.memory == Fitting("block", "fp8")
    assert (inputs.quality, inputs.seed, len(inputs.pictures)) == ("best", 4, 0)
    assert isinstance(told["features"], np.memmap)
