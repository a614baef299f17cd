"""The job path on a test engine: what it promises whatever the engine."""

import json
import pickle
import threading

import av
import numpy as np
import pytest

from support import testcard
from support.cards import asked
from support.harness import frames_digest, write_wav
from talkhead import job, jobs, report
from talkhead.errors import Code, TalkheadError
from talkhead.request import Job
from talkhead.result import Progress
from talkhead.validation import parse


def test_a_job_ends_with_files_and_a_record(portrait, speech, runtime, tmp_path) -> None:
    seen: list[Progress] = []
    result = job.run(asked(portrait, speech, idempotency_key="k1"), runtime, seen.append)
    assert [made.key for made in result.outputs] == ["k1/video.mp4", "k1/thumbnail.jpg"]
    video = result.video
    assert video is not None
    assert video.facts["frames"] == 175
    assert video.url == (tmp_path / "store" / "k1" / "video.mp4").as_uri()
    record = json.loads((tmp_path / "store" / "k1" / "result.json").read_text())
    assert record["request_digest"] == result.request_digest
    assert record["outputs"][0]["url"] is None
    assert {w.message for w in result.warnings} >= {
        "testcard shows no face",
        "it is only a test card",
    }
    assert [step.pct for step in seen] == sorted(step.pct for step in seen)
    assert seen[-1].pct == 100
    assert jobs.kept(runtime.settings.jobs) == []


def test_frames_come_out_in_order(portrait, speech, runtime, tmp_path) -> None:
    job.run(asked(portrait, speech, idempotency_key="k"), runtime)
    with av.open(str(tmp_path / "store/k/video.mp4")) as container:
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    assert np.abs(np.asarray(levels) - np.arange(175)).max() < 3


def test_the_same_key_is_answered_without_work(portrait, speech, runtime) -> None:
    first = job.run(asked(portrait, speech, idempotency_key="k"), runtime)
    testcard.CALLS.clear()
    again = job.run(asked(portrait, speech, idempotency_key="k", priority=5), runtime)
    assert testcard.CALLS == []
    assert again.outputs == first.outputs
    assert again.request_digest == first.request_digest
    assert first.seconds["store"] >= 0


def test_an_engines_options_belong_to_the_job(portrait, speech, runtime) -> None:
    jobs_ids = set()
    for options in ({}, {"sample": 2}, {"fault": ""}):
        request = asked(portrait, speech, engine="testcard", options=options, max_frames=10)
        jobs_ids.add(job.run(request, runtime).job_id)
    assert len(jobs_ids) == 3


def test_an_answer_from_before_says_what_it_lacks(portrait, speech, runtime) -> None:
    job.run(asked(portrait, speech, idempotency_key="k", output={"thumbnail": False}), runtime)
    again = job.run(asked(portrait, speech, idempotency_key="k"), runtime)
    assert [notice.code for notice in again.warnings].count("W_KNOWN") == 1


def test_the_same_key_for_another_request_is_a_conflict(portrait, speech, runtime) -> None:
    job.run(asked(portrait, speech, idempotency_key="k"), runtime)
    with pytest.raises(TalkheadError, match="already used") as caught:
        job.run(asked(portrait, speech, idempotency_key="k", fit="pad"), runtime)
    assert caught.value.code is Code.INPUT


def stop_after(frames: int, cancel: threading.Event):
    def stop(step: Progress) -> None:
        if step.stage == "render" and frames <= step.done < step.total:
            cancel.set()

    return stop


def test_cancel_keeps_the_folder_and_the_next_run_goes_on(
    portrait, speech, runtime, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(report, "BEAT", 0)
    whole = job.run(asked(portrait, speech, idempotency_key="whole"), runtime)
    cancel = threading.Event()
    request = asked(portrait, speech, idempotency_key="k")
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime, stop_after(80, cancel), cancel=cancel)
    assert caught.value.code is Code.CANCELLED
    assert caught.value.job_id == "k"
    assert [kept.id for kept in jobs.kept(runtime.settings.jobs)] == ["k"]
    testcard.CALLS.clear()
    result = job.run(request, runtime)
    assert "prepare" not in testcard.CALLS
    assert result.segments is not None
    assert result.segments.resumed >= 1
    store = tmp_path / "store"
    assert frames_digest(store / "k/video.mp4") == frames_digest(store / "whole/video.mp4")
    assert whole.video is not None


@pytest.mark.parametrize("harm", ["platform", "segment"])
def test_a_harmed_folder_goes_on_with_a_warning(
    portrait, speech, runtime, monkeypatch, harm
) -> None:
    monkeypatch.setattr(report, "BEAT", 0)
    cancel = threading.Event()
    request = asked(portrait, speech, idempotency_key="k")
    with pytest.raises(TalkheadError):
        job.run(request, runtime, stop_after(80, cancel), cancel=cancel)
    folder = runtime.settings.jobs / "k"
    if harm == "platform":
        manifest = folder / "manifest.jsonl"
        first, rest = manifest.read_text().split("\n", 1)
        entry = json.loads(first)
        entry["job"]["platform"] = "elsewhere"
        manifest.write_text(json.dumps(entry) + "\n" + rest)
    else:
        (folder / "segment-00000.mp4").write_bytes(b"spoilt")
    result = job.run(request, runtime)
    assert [notice.code for notice in result.warnings].count("W_RESUMED") == 1
    assert result.video is not None
    assert result.video.facts["frames"] == 175


def test_a_key_without_a_seed_means_the_same_job(portrait, speech, runtime) -> None:
    request = asked(portrait, speech, idempotency_key="k", sampling={})
    first = job.run(request, runtime)
    testcard.CALLS.clear()
    again = job.run(request, runtime)
    assert (again.seed, testcard.CALLS) == (first.seed, [])
    other = job.run(asked(portrait, speech, idempotency_key="k2", sampling={}), runtime)
    assert other.seed != first.seed


def test_cancel_is_heard_while_the_sound_is_written(portrait, runtime, tmp_path) -> None:
    sound = write_wav(tmp_path / "long.wav", np.zeros(60 * 16_000))
    cancel = threading.Event()

    def stop(step: Progress) -> None:
        if (runtime.settings.jobs / "k" / "prepared.npz").exists():  # the sound comes next
            cancel.set()

    with pytest.raises(TalkheadError) as caught:
        job.run(asked(portrait, sound, idempotency_key="k"), runtime, stop, cancel=cancel)
    assert (caught.value.code, caught.value.stage) == (Code.CANCELLED, "prepare")
    assert not (runtime.settings.jobs / "k" / "soundtrack.m4a").exists()


def test_a_voice_that_comes_after_the_end_is_told_as_such(portrait, speech, runtime) -> None:
    two = [{"audio": str(speech)}, {"audio": str(speech)}]
    request = asked(portrait, speech, speakers=two, turns="in_turn", max_frames=30)
    told = [n.message for n in job.run(request, runtime).warnings if n.code == "W_SPEECH"]
    assert "speaker 2: the video ends before this voice begins" in told
    assert not [message for message in told if "silent" in message]


def test_a_video_of_days_is_refused_at_once(portrait, speech, runtime) -> None:
    speakers = [{"audio": str(speech), "start": 80_000}]
    with pytest.raises(TalkheadError, match="would last"):
        job.run(asked(portrait, speech, speakers=speakers), runtime)


def test_errors_travel_between_processes() -> None:
    error = TalkheadError(Code.NO_FACE, "none", "try", fields=["portrait"], stage="probe")
    error.job_id = "k"
    assert pickle.loads(pickle.dumps(error)).to_dict() == error.to_dict()


@pytest.mark.parametrize(("fault", "code"), [("memory", Code.OOM), ("short", Code.GENERATION)])
def test_failing_engines_leave_no_output(portrait, speech, runtime, tmp_path, fault, code) -> None:
    request = asked(portrait, speech, engine="testcard", options={"fault": fault})
    before = set(threading.enumerate())  # other tests of this process may have left some
    with pytest.raises(TalkheadError) as caught:
        job.run(request, runtime)
    assert (caught.value.code, caught.value.stage) == (code, "render")
    assert not (tmp_path / "store").exists()
    assert set(threading.enumerate()) <= before


def test_a_deadline_ends_the_job(portrait, speech, runtime) -> None:
    with pytest.raises(TalkheadError) as caught:
        job.run(asked(portrait, speech, deadline_s=0.001), runtime)
    assert caught.value.code is Code.TIMEOUT


def test_other_sizes_are_scaled_with_a_notice(portrait, speech, runtime) -> None:
    result = job.run(asked(portrait, speech, size="300x262"), runtime)
    assert result.plan is not None
    assert (result.plan.work_width % 16, result.plan.work_height % 16) == (0, 0)
    assert result.video is not None
    assert (result.video.facts["width"], result.video.facts["height"]) == (300, 262)
    assert any(notice.code == "W_SIZE" for notice in result.warnings)


def test_what_an_engine_cannot_do_is_refused(portrait, speech, runtime) -> None:
    three = [{"audio": str(speech)}] * 3
    for change, code in (
        ({"fps": 30}, Code.INPUT),
        ({"speakers": three}, Code.UNSUPPORTED),
        ({"engine": "sonic"}, Code.UNSUPPORTED),
        ({"engine": "tescard"}, Code.INPUT),
        ({"engine": "testcard", "options": {"fault": []}}, Code.INPUT),
        ({"output": {"stream": True}}, Code.UNSUPPORTED),
    ):
        with pytest.raises(TalkheadError) as caught:
            job.run(asked(portrait, speech, **change), runtime)
        assert caught.value.code is code, change
    assert testcard.CALLS == []


def test_no_failure_goes_without_a_name(portrait, speech, runtime, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device", "/jobs")

    monkeypatch.setattr("talkhead.intake.open_folder", broken)
    with pytest.raises(TalkheadError, match="disk is full") as caught:
        job.run(asked(portrait, speech), runtime)
    assert caught.value.code is Code.CAPACITY


def test_delivery_that_nothing_serves_is_refused_before_any_work(portrait, speech, runtime) -> None:
    for output in ({"store": "r2"}, {"stream": True}, {"url": "public"}):
        with pytest.raises(TalkheadError) as caught:
            job.run(asked(portrait, speech, output=output), runtime)
        assert caught.value.code is Code.UNSUPPORTED
        assert caught.value.fields == (f"output.{next(iter(output))}",)
    with pytest.raises(TalkheadError):
        job.run(parse({"action": "speak", "text": "hi", "dry_run": True}), runtime)
    assert testcard.CALLS == []


def test_a_dry_run_leaves_nothing(portrait, speech, runtime, tmp_path) -> None:
    result = job.run(asked(portrait, speech, dry_run=True), runtime)
    assert result.plan is not None
    assert (result.plan.frames, result.plan.segments) == (175, 3)
    assert result.outputs == ()
    assert not (tmp_path / "store").exists()
    assert testcard.CALLS == []


LENGTHS = (
    0.3,
    0.31,
    0.5,
    0.99,
    1,
    1.01,
    1.5,
    2,
    2.02,
    3.3,
    4.7,
    5,
    7.77,
    10,
    13.1,
    20,
    31.4,
    60,
    pytest.param(100, marks=pytest.mark.soak),
    pytest.param(180, marks=pytest.mark.soak),
)


@pytest.mark.parametrize("seconds", LENGTHS)
def test_sound_and_picture_are_equally_long(portrait, runtime, tmp_path, seconds) -> None:
    sound = write_wav(
        tmp_path / "tone.wav", 0.1 * np.sin(np.arange(round(seconds * 44_100)) / 20), 44_100
    )
    result = job.run(asked(portrait, sound, idempotency_key="k"), runtime)
    assert result.video is not None
    facts = result.video.facts
    assert facts["frames"] == int(np.ceil(seconds * 25 - 1e-6))
    assert abs(facts["audio_seconds"] - facts["seconds"]) <= 1 / 25
    assert abs(facts["audio_start"]) <= 0.001
    assert 0 <= facts["seconds"] - seconds < 1 / 25 + 1e-3


def test_max_frames_limits(portrait, speech, runtime) -> None:
    result = job.run(asked(portrait, speech, max_frames=30), runtime)
    assert result.video is not None
    assert result.video.facts["frames"] == 30
    assert any("max_frames" in notice.message for notice in result.warnings)


@pytest.mark.parametrize("action", ["portrait", "workflow"])
def test_the_flows_that_make_files_in_one_step(runtime, tmp_path, action) -> None:
    class Graph(Job):
        action: str = "workflow"
        engine: str = "default"

    drawn = parse({"action": "portrait", "prompt": "a woman", "idempotency_key": "k"})
    request = drawn if action == "portrait" else Graph(idempotency_key="k")
    result = job.run(request, runtime)  # type: ignore[arg-type]
    assert [made.key for made in result.outputs] == ["k/picture.png"]
    assert (tmp_path / "store/k/result.json").exists()


def test_health_and_capabilities(runtime) -> None:
    assert job.run(parse({"action": "health"}), runtime).healthy is True
    ability = job.run(parse({"action": "capabilities"}), runtime).ability
    assert ability is not None
    assert {engine.name for engine in ability.engines} == {
        "clipcard", "draft", "infinitetalk", "omniavatar", "testcard",
    }  # fmt: skip
    assert "talk" in ability.actions
