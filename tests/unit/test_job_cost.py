"""What a result says of its cost, and what happens where an estimate passes the deadline."""

import json
import threading
from dataclasses import replace

import pytest

from support.cards import asked, card_runtime
from support.testcard import TestCard
from talkhead import job, jobs, survey
from talkhead.errors import Code, TalkheadError
from talkhead.result import Cost, Progress, cost_of
from talkhead.validation import parse

ESTIMATE, DEADLINE = 1000.0, 600.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the test card expect to take longer than the deadline."""
    plan = TestCard.plan
    monkeypatch.setattr(
        TestCard, "plan", lambda self, probe: replace(plan(self, probe), seconds=ESTIMATE)
    )


def late(result) -> list[str]:
    return [notice.message for notice in result.warnings if notice.code == "W_DEADLINE"]


def test_so_many_seconds_of_an_hour() -> None:
    assert cost_of(36.0, 2.5) == Cost(amount=0.025, price_per_hour=2.5, seconds=36.0)
    assert cost_of(36.0, None) is None


def test_a_run_is_counted_to_its_last_step_and_a_repeat_costs_nothing(
    portrait, speech, tmp_path
) -> None:
    priced = card_runtime(tmp_path, price_per_hour=3600)
    first = job.run(asked(portrait, speech, idempotency_key="k"), priced)
    assert first.cost is not None
    assert first.cost.amount == pytest.approx(first.cost.seconds)
    # between two stages some time passes, and rounding takes half a millisecond of each
    assert first.cost.seconds >= sum(first.seconds.values()) - 0.005
    assert (first.cost.estimated, first.cost.repeated) == (False, False)
    again = job.run(asked(portrait, speech, idempotency_key="k"), priced)
    saved = json.loads((tmp_path / "store" / "k" / "result.json").read_text())["cost"]
    assert again.repeated
    assert again.cost == Cost(**{**saved, "repeated": True})


def test_a_step_of_its_own_is_counted_too(tmp_path) -> None:
    picture = parse({"action": "portrait", "prompt": "a face", "engine": "painter"})
    found = job.run(picture, card_runtime(tmp_path, price_per_hour=1.0))
    assert found.cost is not None
    assert found.cost.seconds >= found.seconds["render"]


def test_without_a_price_nothing_is_said(portrait, speech, runtime) -> None:
    assert job.run(asked(portrait, speech, max_frames=5), runtime).cost is None


@pytest.mark.usefixtures("slow")
def test_a_dry_run_tells_the_estimate_and_its_cost_and_refuses_nothing(
    portrait, speech, tmp_path
) -> None:
    wanted = asked(portrait, speech, dry_run=True, deadline_s=DEADLINE, late="refuse")
    found = job.run(wanted, card_runtime(tmp_path, price_per_hour=3.6))
    assert found.cost == Cost(amount=1.0, price_per_hour=3.6, seconds=ESTIMATE, estimated=True)
    (message,) = late(found)
    assert "1000.0 s of work" in message
    assert "deadline of 600 s" in message


@pytest.mark.usefixtures("slow")
def test_a_deadline_that_will_be_missed_is_told_while_the_job_runs(
    portrait, speech, runtime
) -> None:
    seen: list[Progress] = []
    found = job.run(asked(portrait, speech, deadline_s=DEADLINE), runtime, seen.append)
    (message,) = late(found)
    assert {step.late for step in seen if step.stage in ("fetch", "plan")} == {None}
    assert {step.late for step in seen if step.stage in ("render", "store")} == {message}


@pytest.mark.usefixtures("slow")
def test_it_is_refused_before_any_work_where_the_request_says_so(portrait, speech, runtime) -> None:
    seen: list[Progress] = []
    with pytest.raises(TalkheadError) as caught:
        job.run(asked(portrait, speech, deadline_s=DEADLINE, late="refuse"), runtime, seen.append)
    error = caught.value
    assert (error.code, error.fields, error.retryable) == (Code.TIMEOUT, ("deadline_s",), False)
    assert error.job_id is None
    assert "render" not in {step.stage for step in seen}
    assert jobs.kept(runtime.settings.jobs) == []


@pytest.mark.usefixtures("slow")
def test_what_an_earlier_run_has_made_need_not_fit_again(portrait, speech, runtime) -> None:
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if step.segment:
            cancel.set()

    wanted = {"idempotency_key": "k", "sampling": {"seed": 1}}
    request = asked(portrait, speech, engine="testcard", options={"pause": 0.05}, **wanted)
    with pytest.raises(TalkheadError, match="cancelled"):
        job.run(request, runtime, stop, cancel=cancel)
    again = request.model_copy(update={"deadline_s": DEADLINE, "late": "refuse"})
    found = job.run(again, runtime)  # 95 of 175 frames are left, or fewer: 543 s
    assert found.segments is not None
    assert found.segments.resumed >= 1
    assert late(found) == []


def test_an_estimate_that_fits_is_no_news(portrait, speech, runtime) -> None:
    found = job.run(asked(portrait, speech, max_frames=5, deadline_s=DEADLINE), runtime)
    assert late(found) == []


@pytest.mark.usefixtures("slow")
def test_time_that_is_over_counts(portrait, speech, runtime) -> None:
    works: list[survey.Work] = []
    notices = survey.notices

    def seen(work: survey.Work):
        works.append(work)
        return notices(work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "notices", seen)
        job.run(asked(portrait, speech, dry_run=True, deadline_s=ESTIMATE + 50), runtime)
    assert survey.late(works[0], 49.0) == []
    (notice,) = survey.late(works[0], 51.0)
    assert notice.message.startswith("about 1000.0 s of work are to do, and 999.0 s are left")
