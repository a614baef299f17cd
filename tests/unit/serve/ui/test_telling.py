"""What the page says."""

import json

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.result import SPANS
from talkhead.serve.ui import telling


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (7.12, "7.1 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (80, "1 min 20 s"),
        (7500, "2 h 5 min"),
        (7200, "2 h"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert telling.duration(seconds) == said


def test_sizes_and_costs() -> None:
    found = [telling.size(n) for n in (1, 38_000, 2_500_000, 270e6, 44.1e9)]
    assert found == ["0 kB", "38 kB", "2.5 MB", "270 MB", "44.1 GB"]
    assert telling.cost(1800, 2.5) == "1.25"
    assert telling.cost(2, 2.5) == "less than 0.01"
    assert telling.cost(2, None) == telling.cost(2, 0) == ""


def test_a_plan() -> None:
    plan = {
        "engine": "infinitetalk", "width": 832, "height": 448, "fps": "30000/1001",
        "seconds": 8.0, "estimated": True, "estimated_seconds": 95.0, "estimated_memory_mb": 25_510,
    }  # fmt: skip
    assert telling.plan(plan, 36.0) == [
        ("Length", "about 8 s"),
        ("Picture", "832 × 448, 29.97 frames a second"),
        ("Time", "about 1 min 35 s"),
        ("Cost", "0.95"),
        ("Memory", "25.5 GB"),
        ("Engine", "infinitetalk"),
    ]
    assert "Cost" not in dict(telling.plan(plan, None))


def test_every_stage_and_code_has_words() -> None:
    assert set(telling.STAGES) == set(SPANS)
    assert set(telling.TITLES) == set(Code)


def test_progress() -> None:
    output = {"stage": "render", "pct": 41.7, "window": 2, "windows": 6, "eta_s": 48.2}
    now = telling.moment({"status": "IN_PROGRESS", "output": output})
    assert now.stage == "Making the video"
    assert now.detail == "Window 3 of 6 · about 48 s left"
    assert (now.windows, now.spoken) == (2, "Making the video, 40 percent")
    last = telling.moment({"output": {**output, "window": 6, "eta_s": -1.0}})
    assert last.detail == "Window 6 of 6 · about 0 s left"


def test_waiting_and_starting() -> None:
    waiting = telling.moment({"status": "IN_QUEUE", "position": 3})
    assert (waiting.stage, waiting.detail) == ("Waiting for its turn", "Number 3 in the queue")
    assert telling.moment({"status": "IN_QUEUE"}).detail == "In the queue"
    for output in (None, "text", {}):  # a plain endpoint says nothing at first
        assert telling.moment({"status": "IN_PROGRESS", "output": output}).stage == "Starting"


def test_trouble_names_the_places_and_no_internals() -> None:
    fields = ["speakers.1.audio", "portrait", "sampling.steps", "speakers.0"]
    error = TalkheadError(Code.AUDIO, "no sound in it", "use another file", fields=fields)
    found = telling.trouble(error)
    assert found.title == "No speech in the recording"
    assert (found.what, found.hint) == ("No sound in it.", "Use another file.")
    assert found.places == ("Recording of speaker 2", "Portrait", "Steps", "Speaker 1")
    assert (found.retryable, found.code) == (False, "E_AUDIO_EMBEDDING")


def test_scores() -> None:
    good = {"status": "scored", "grade": "good", "sync": {"r0": 0.812, "lag_ms": 12.3}}
    assert telling.score(good) == "good, correlation 0.81, +12 ms"
    assert telling.score({"status": "no_speech", "grade": None}) == "not graded (no speech)"
    assert telling.score(None) == ""


def test_settings_can_be_copied_and_hold_no_files() -> None:
    payload = {
        "portrait": "data:image/png;base64," + "A" * 5000,
        "speakers": [{"audio": "data:audio/wav;base64,QUJD"}],
        "idempotency_key": "k",
        "sampling": {"steps": 4},
    }
    found = json.loads(telling.settings(payload, 7))
    assert found["portrait"] == "data:image/png;base64,…"
    assert found["speakers"] == [{"audio": "data:audio/wav;base64,…"}]
    assert found["sampling"] == {"steps": 4, "seed": 7}
    assert "idempotency_key" not in found


def test_a_plan_costs_by_the_users_own_price_or_else_the_operators() -> None:
    found = {"seconds": 2, "width": 4, "height": 4, "fps": "25", "engine": "e"}
    found |= {"estimated_seconds": 3600}
    operators = {"amount": 7.5, "estimated": True}
    assert dict(telling.plan(found, 2.0, operators))["Cost"] == "2.00"
    assert dict(telling.plan(found, None, operators))["Cost"] == "7.50"
    assert "Cost" not in dict(telling.plan(found, None, None))


def test_what_a_result_cost() -> None:
    assert telling.spent({"amount": 1.234, "repeated": False}) == "1.23"
    assert telling.spent({"amount": 0.004}) == "less than 0.01"
    assert telling.spent({"amount": 2, "repeated": True}) == "2.00, spent earlier"
    assert telling.spent({"amount": 0.0}) == "0.00"
    assert telling.spent(None) == ""


def test_seconds_by_stage() -> None:
    found = telling.stages({"fetch": 0.01, "render": 2.1, "prepare": 12.0})
    assert found == [("Listening to the speech", "12 s"), ("Making the video", "2.1 s")]
