"""Payloads become orders, and results become answers of bounded size in the caller's shape."""

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from talkhead.aliases import Reading, read
from talkhead.errors import Code, TalkheadError
from talkhead.result import Error, FaceFound, ItemEnd, Made, Notice, PlanReport, Progress, Result
from talkhead.serve import logs
from talkhead.serve.answering import (
    EACH,
    LARGE,
    SMALL,
    Answer,
    Asked,
    answer,
    error_text,
    good,
    order,
    safe_key,
    size,
)
from talkhead.serve.worker import Order
from talkhead.settings import Settings
from talkhead.settings.groups import Older

TALK = {"portrait": "library:a.png", "speakers": [{"audio": "library:a.wav"}]}
HUB = {"image_url": "https://x/a.png", "wav_url": "https://x/a.wav", "input_type": "image"}
CANONICAL = Reading("talkhead", {})


class Host:
    """Gives what it was made with."""

    def __init__(self, end: Result | BaseException) -> None:
        self.end = end
        self.orders: list[Order] = []

    async def run(self, order: Order, progress: Callable[[Progress], None]) -> Result:
        self.orders.append(order)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def made(**more: Any) -> Made:
    plain = {"kind": "video", "key": "j/video.mp4", "url": "https://u", "mime": "video/mp4"}
    return Made(**{**plain, "bytes": 5, "sha256": "ab", **more})


def result(**more: Any) -> Result:
    return Result(**{"action": "talk", "version": "1", "outputs": (made(),), **more})


def ask(payload: object, end: Result | BaseException | None = None, **more: Any) -> Answer:
    host = Host(end or result())
    return asyncio.run(answer(Asked("job-1", payload), host, Settings(**more), lambda _: None))


def codes(body: dict[str, Any]) -> list[str]:
    return [notice["code"] for notice in body["result"].get("warnings", [])]


def test_a_good_answer_leaves_out_what_says_nothing() -> None:
    answered = ask(TALK)
    assert answered.error is None
    assert answered.text == ""
    assert answered.body == {
        "result": {
            "action": "talk",
            "version": "1",
            "repeated": False,
            "outputs": [
                {
                    "kind": "video",
                    "key": "j/video.mp4",
                    "url": "https://u",
                    "mime": "video/mp4",
                    "bytes": 5,
                    "sha256": "ab",
                }
            ],
        }
    }


def test_notices_about_aliases_come_first() -> None:
    told = result(warnings=(Notice(code="W_OTHER", message="m"),))
    body = ask(HUB, told, compat_engines={"infinitetalk": "draft"}).body
    assert codes(body)[-1] == "W_OTHER"
    assert len(codes(body)) > 1
    assert body["video_url"] == "https://u"


def test_the_operators_defaults_reach_older_payloads() -> None:
    payload = {"cond_image": "https://x/a.png", "cond_audio": {"person1": "https://x/a.wav"}}
    host = Host(result())
    settings = Settings(older=Older(steps=12))
    asyncio.run(answer(Asked("job-1", payload), host, settings, lambda _: None))
    assert host.orders[0].request["sampling"]["steps"] == 12


@pytest.mark.parametrize(
    "payload",
    [None, 7, "text", [], {}, {"action": "nonsense"}, {"portrait": "x" * 10**6}, {"action": 7}],
)
def test_no_payload_makes_it_raise(payload: object) -> None:
    answered = ask(payload)
    assert answered.error is not None
    assert answered.error.code in (Code.INPUT, Code.UNSUPPORTED)
    assert len(answered.text) < 8000


def test_a_failure_is_a_json_string_for_old_and_new_callers() -> None:
    error = TalkheadError(Code.OOM, "no room", "smaller", fields=["size"], stage="render")
    answered = ask(TALK, error)
    assert json.loads(answered.text) == {
        **error.to_dict(),
        "error_type": "E_OOM",
        "error_message": "no room",
    }
    assert answered.body == {}


def test_a_failure_keeps_the_family_s_shape() -> None:
    payload = {"action": "lipsync", "portrait_image": "a.png", "audio": "a.wav"}
    error = TalkheadError(Code.NO_FACE, "none", fields=["portrait"])
    assert ask(payload, error).body == {"status": "error", "validation_errors": ["portrait_image"]}


def test_a_failure_speaks_of_the_callers_own_keys() -> None:
    payload = {"image_url": "library:no.png", "audio_url": "library:a.flac"}
    error = TalkheadError(Code.INPUT, "portrait: 'no.png' was not found", fields=["portrait"])
    told = json.loads(ask(payload, error).text)
    assert told["message"] == "image_url: 'no.png' was not found"
    assert told["fields"] == ["image_url"]
    absent = TalkheadError(Code.UNSUPPORTED, "no such engine", "have: draft", fields=["engine"])
    hint = json.loads(ask(payload, absent).text)["hint"]
    assert hint.endswith("""TALKHEAD_COMPAT_ENGINES='{"infinitetalk": "…"}'""")


def test_what_nobody_foresaw_is_named_and_its_story_stays_here() -> None:
    answered = ask(TALK, ZeroDivisionError("at /home/secret"))
    assert answered.error is not None
    assert answered.error.code is Code.INTERNAL
    assert "Traceback" not in answered.text


def test_a_cancelled_job_is_no_answer() -> None:
    with pytest.raises(asyncio.CancelledError):
        ask(TALK, asyncio.CancelledError())


def test_errors_are_of_bounded_length_and_hold_no_secrets() -> None:
    error = TalkheadError(
        Code.INPUT,
        "see https://x/y?token=geheim " + "é" * 10_000,
        "h" * 10_000,
        fields=["f" * 1000] * 1000,
    )
    text = error_text(error)
    assert len(text.encode()) < 12_000
    assert "geheim" not in text
    assert len(json.loads(text)["fields"]) == 20


@pytest.mark.parametrize("job_id", ["a1b2-u1", "sync-8f.3_x", "0"])
def test_ids_that_are_keys_stay(job_id: str) -> None:
    assert safe_key(job_id) == job_id


@pytest.mark.parametrize(
    "job_id", ["", "-x", "a/b", "../x", "é", "a b", "x" * 129, "a\n", "\udcff"]
)
def test_other_ids_become_keys(job_id: str) -> None:
    key = safe_key(job_id)
    assert safe_key(key) == key
    assert key != safe_key(job_id + "x")


def test_a_job_gets_a_key_and_keeps_its_own() -> None:
    settings = Settings()
    assert order(Asked("id", TALK), read(TALK, {}), settings).request["idempotency_key"] == "id"
    mine = {**TALK, "idempotency_key": "mine"}
    assert order(Asked("id", mine), read(mine, {}), settings).request == mine
    health = {"action": "health"}
    assert order(Asked("id", health), read(health, {}), settings).request == health


def test_a_job_without_a_deadline_gets_the_platforms_or_the_operators() -> None:
    settings = Settings(worker={"deadline_s": 580})

    def deadline(payload: dict[str, Any], platforms: float | None) -> object:
        asked = Asked("j", payload, deadline_s=platforms)
        return order(asked, Reading("talkhead", payload), settings).request["deadline_s"]

    assert deadline(TALK, None) == 580
    assert deadline(TALK, 60) == 60
    assert deadline({**TALK, "deadline_s": 5}, 60) == 5


def test_a_deadline_that_will_be_missed_is_logged_once() -> None:
    class Late(Host):
        async def run(self, order: Order, progress: Callable[[Progress], None]) -> Result:
            for late in (None, "90 s of work", "90 s of work"):
                progress(Progress("render", 1, 2, 50.0, late=late))
            return await super().run(order, progress)

    seen: list[Progress] = []
    log = io.StringIO()
    logs.setup(Settings(), log)
    try:
        asyncio.run(answer(Asked("j", TALK), Late(result()), Settings(), seen.append))
    finally:
        logs.close()
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (told,) = [line for line in lines if line["event"] == "job.late"]
    assert (told["level"], told["job_id"]) == ("warning", "j")
    assert told["details"]["message"] == "90 s of work"
    assert len(seen) == 3


def test_a_store_of_the_callers_own_needs_leave() -> None:
    with pytest.raises(TalkheadError) as caught:
        order(Asked("id", TALK, {"bucketName": "bucket"}), read(TALK, {}), Settings())
    assert caught.value.code is Code.UNSUPPORTED
    assert caught.value.fields == ("s3Config",)


def test_a_store_of_the_callers_own_travels_with_its_secrets() -> None:
    config = {
        "endpointUrl": "https://127.0.0.1:9",
        "bucketName": "bucket",
        "accessId": "me",
        "accessSecret": "geheim",
    }
    hosts = {"private_hosts": ["127.0.0.1"]}
    asked = Asked("id", TALK, config)
    store = order(asked, read(TALK, {}), Settings(request_store=True, fetch=hosts)).store
    assert store is not None
    assert (store["kind"], store["secret_key"]) == ("s3", "geheim")
    json.dumps(store)
    with pytest.raises(TalkheadError) as caught:
        order(asked, read(TALK, {}), Settings(request_store=True))
    assert caught.value.fields == ("s3Config.endpointUrl",)


def crowded() -> Result:
    faces = tuple(FaceFound(box=(0, 0, 1, 1), speaker=None, mouth_px=9) for _ in range(400))
    plan = PlanReport(
        engine="draft",
        engine_reason="asked for",
        width=8,
        height=8,
        work_width=8,
        work_height=8,
        fps="25",
        frames=1,
        seconds=1,
        speech_seconds=1,
        estimated=False,
        segments=1,
        estimated_seconds=1,
        estimated_memory_mb=1,
        faces=faces,
    )
    warnings = tuple(Notice(code="W_LONG", message="é" * 900) for _ in range(60))
    return result(plan=plan, warnings=warnings, score={"sync": 1})


def test_an_answer_that_is_too_large_is_shortened_in_order() -> None:
    body = good(CANONICAL, crowded())
    assert size(body) <= SMALL
    assert codes(body)[0] == "W_SHORTENED"
    assert len(codes(body)) == 21
    assert "plan" in body["result"]  # faces come later in the order, and it fits without
    assert "warnings in full" in body["result"]["warnings"][0]["message"]


def test_keys_and_urls_stay_whatever_happens() -> None:
    many = tuple(
        made(key=f"j/{n}", url="https://u/" + "x" * 300, facts={"n": "y" * 400}) for n in range(150)
    )
    body = good(CANONICAL, crowded().model_copy(update={"outputs": many}))
    assert [item["key"] for item in body["result"]["outputs"]] == [f"j/{n}" for n in range(150)]
    assert all(item["url"] for item in body["result"]["outputs"])
    assert "facts" not in body["result"]["outputs"][0]
    assert size(body) <= SMALL


def test_a_file_inside_the_answer_makes_room_and_comes_once() -> None:
    data = "A" * 9_000_000
    body = good(CANONICAL, result(outputs=(made(data=data),)))
    assert body["result"]["outputs"][0]["data"] == data
    assert "warnings" not in body["result"]
    family = Reading("omniavatar", {})
    body = good(family, result(outputs=(made(data=data),)))
    assert body["video"] == data
    assert "data" not in body["result"]["outputs"][0]
    assert size(body) < LARGE


def test_an_inline_stores_url_is_a_file_too() -> None:
    url = "data:video/mp4;base64," + "A" * 9_000_000
    made = Made(kind="video", key="k/v.mp4", url=url, mime="video/mp4", bytes=7, sha256="0")
    notice = Notice(code="W_DURATION", message="cut")
    result = Result(action="talk", version="1", outputs=(made,), warnings=(notice,))
    body = good(Reading("talkhead", {}), result)
    assert body["result"]["outputs"][0]["url"] == url
    assert [told["code"] for told in body["result"]["warnings"]] == ["W_DURATION"]


def test_a_file_too_large_for_the_platform_is_left_to_its_url() -> None:
    body = good(CANONICAL, result(outputs=(made(data="A" * 12_000_000),)))
    assert "data" not in body["result"]["outputs"][0]
    assert body["result"]["outputs"][0]["url"] == "https://u"
    assert codes(body) == ["W_SHORTENED"]


def batch_of(count: int, **more: Any) -> Result:
    """Return a result of many items with long links, every tenth of them failed."""
    ends = []
    for index in range(count):
        files = (made(url="https://u/" + "x" * 1000), made(kind="thumbnail", url="y" * 1000))
        said = [Notice(code="W", message="é" * 900) for _ in range(5)]
        good = result(outputs=files, warnings=said, seconds={"render": 1.0}, **more)
        bad = Error(
            code="E_OOM", message="m" * 9000, hint="h" * 900, retryable=True, fields=["f" * 900]
        )
        ends.append(
            ItemEnd(index=index, error=bad)
            if index % 10 == 9
            else ItemEnd(index=index, result=good)
        )
    return Result(action="batch", version="1", items=tuple(ends))


@pytest.mark.parametrize("family", ["talkhead", "infinitetalk-batch"])
def test_a_batch_of_any_size_fits(family: str) -> None:
    body = good(Reading(family, {}), batch_of(100))
    assert size(body) <= SMALL + 100 * 2 * EACH
    ends = body["result"]["items"]
    assert all(end["result"]["outputs"][0]["url"] for end in ends if "result" in end)
    assert len(ends) == 100
    assert not any("warnings" in end["result"] for end in ends if "result" in end)
    assert len(ends[9]["error"]["message"]) <= 300
    assert codes(body)[0] == "W_SHORTENED"


def test_a_small_batch_is_left_whole() -> None:
    body = good(CANONICAL, batch_of(2))
    assert [len(end["result"]["warnings"]) for end in body["result"]["items"]] == [5, 5]
    assert codes(body) == []


def test_files_in_a_batch_that_are_too_large_together_are_left_to_their_urls() -> None:
    ends = tuple(
        ItemEnd(index=index, result=result(outputs=(made(data="A" * 6_000_000),)))
        for index in range(2)
    )
    body = good(CANONICAL, Result(action="batch", version="1", items=ends))
    assert all("data" not in end["result"]["outputs"][0] for end in body["result"]["items"])
    assert "data" in body["result"]["warnings"][0]["message"]
