"""`talkhead deploy` on an account in memory, and what it prints."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from support.runpod_account import KEY, Account
from talkhead.errors import Code, TalkheadError
from talkhead.serve import deploying
from talkhead.serve.cli import app
from talkhead.serve.deploying import rest
from talkhead.serve.deploying.file import Wanted, read

FILE = Path(__file__).parents[4] / "deploy" / "endpoint.toml"
GOLDEN = Path(__file__).parent / "dry_run.txt"
IMAGE = "registry.example/you/talkhead:20261128-0b3e065"


def wanted(**more: Any) -> Wanted:
    return read(FILE, image=IMAGE, **more)


def apply(account: Account, what: Wanted | None = None, **more: Any) -> list[deploying.Done]:
    return deploying.apply(what or wanted(), KEY, transport=account.transport, **more)


def with_template(what: Wanted, **fields: Any) -> Wanted:
    return what.model_copy(update={"template": {**what.template, **fields}})


def with_endpoint(what: Wanted, **fields: Any) -> Wanted:
    return what.model_copy(update={"endpoint": {**what.endpoint, **fields}})


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def there(account: Account) -> Account:
    """Return an account that has all of it."""
    apply(account)
    account.calls.clear()
    return account


def test_an_empty_account_gets_a_template_then_an_endpoint_of_it(account: Account) -> None:
    heard: list[str] = []
    done = apply(account, told=lambda item: heard.append(item.kind))
    assert [(item.kind, item.did) for item in done] == [
        ("template", "created"),
        ("endpoint", "created"),
    ]
    assert heard == ["template", "endpoint"]
    assert account.changes() == [("POST", "/templates"), ("POST", "/endpoints")]
    assert account.endpoints[done[1].id]["templateId"] == done[0].id
    assert account.templates[done[0].id]["env"] == wanted().template["env"]


@pytest.mark.parametrize("engine", ["draft", "infinitetalk"])
def test_the_calls_of_a_dry_run_are_those_of_the_first_apply(account: Account, engine: str) -> None:
    what = wanted(engine=engine)
    done = apply(account, what)
    shown = [(call.method, call.path, dict(call.body)) for call in deploying.calls(what)]
    shown[1][2]["templateId"] = done[0].id
    assert [call for call in account.calls if call[0] != "GET"] == shown


def test_what_is_there_as_it_should_be_is_left_alone(there: Account) -> None:
    done = apply(there)
    assert [item.did for item in done] == ["same", "same"]
    assert there.changes() == []
    assert done[1].untold == ("flashboot",)


def test_only_what_differs_is_sent(there: Account) -> None:
    other = with_template(wanted(), imageName="registry.example/you/talkhead:20261129-1111111")
    done = apply(there, other)
    assert [item.did for item in done] == ["changed", "same"]
    assert done[0].fields == ("imageName",)
    assert [call for call in there.calls if call[0] != "GET"] == [
        ("PATCH", "/templates/t1", {"imageName": other.template["imageName"]})
    ]


def test_a_variable_that_goes_is_taken_away(there: Account) -> None:
    left = {**wanted().template["env"]}
    del left["TALKHEAD_COMPILE"]
    apply(there, with_template(wanted(), env=left))
    assert there.templates["t1"]["env"] == left


def test_what_the_api_does_not_tell_goes_along_with_a_change(there: Account) -> None:
    done = apply(there, with_endpoint(wanted(), workersMax=3, flashboot=True))
    assert set(done[1].fields) == {"workersMax", "flashboot"}


def test_all_of_it_can_be_sent_again(there: Account) -> None:
    done = apply(there, again=True)
    assert [item.did for item in done] == ["changed", "changed"]
    assert "flashboot" in done[1].fields
    assert "isServerless" not in done[0].fields  # RunPod's PATCH does not take it


def test_flashboot_counts_where_it_is_told() -> None:
    account = Account(shows_flashboot=True)
    apply(account)
    assert apply(account, with_endpoint(wanted(), flashboot=False))[1].fields == ("flashboot",)


def test_an_endpoint_is_found_by_the_name_that_flashboot_made_of_it(there: Account) -> None:
    there.endpoints["e1"]["name"] = "talkhead -fb"
    done = apply(there)
    assert done[1].id == "e1"
    assert done[1].untold == ()
    assert apply(there, with_endpoint(wanted(), flashboot=False))[1].fields == ("flashboot",)


def test_a_cpu_endpoint_is_left_alone_too(account: Account) -> None:
    apply(account, wanted(engine="draft"))
    done = apply(account, wanted(engine="draft"))
    assert [item.did for item in done] == ["same", "same"]
    assert set(done[1].untold) == {"flashboot", "cpuFlavorIds", "vcpuCount"}


def test_a_volume_that_the_file_names_no_more_is_told(there: Account) -> None:
    there.endpoints["e1"]["networkVolumeId"] = "v1"
    done = apply(there)
    assert done[1].attached == ("networkVolumeId v1",)
    assert there.changes() == []


def test_a_name_that_only_begins_alike_is_another_endpoint(there: Account) -> None:
    there.endpoints["e1"]["name"] = "talkhead-2"
    assert apply(there)[1].did == "created"


def test_two_endpoints_of_one_name_are_not_chosen_between(there: Account) -> None:
    there.endpoints["e2"] = {**there.endpoints["e1"], "id": "e2"}
    with pytest.raises(TalkheadError, match="2 endpoints called 'talkhead': e1, e2"):
        apply(there)
    assert there.changes() == []


def test_a_gpu_endpoint_does_not_become_one_of_cpus(there: Account) -> None:
    with pytest.raises(TalkheadError, match="RunPod cannot change that to 'CPU'"):
        apply(there, wanted(engine="draft"))
    assert there.changes() == []


@pytest.mark.parametrize(
    "failure",
    [httpx.Response(500, text="oops"), httpx.ConnectError("cut")],
    ids=["500", "no answer"],
)
def test_a_template_that_was_made_is_told_and_used_at_the_next_time(
    account: Account, failure: httpx.Response | Exception
) -> None:
    account.fails["POST /endpoints"] = failure
    with pytest.raises(TalkheadError) as caught:
        apply(account)
    assert "template talkhead (t1) was created and stays" in caught.value.message
    assert "the next --apply goes on from there" in caught.value.hint
    assert caught.value.retryable
    account.calls.clear()
    assert [item.did for item in apply(account)] == ["same", "created"]
    assert account.changes() == [("POST", "/endpoints")]


def test_an_endpoint_whose_answer_was_lost_is_found_again(account: Account) -> None:
    apply(account)
    account.fails["PATCH /endpoints/e1"] = httpx.ReadTimeout("late")
    with pytest.raises(TalkheadError, match="no answer from RunPod"):
        apply(account, with_endpoint(wanted(), workersMax=2))
    assert len(account.endpoints) == 1


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (httpx.Response(400, json={"message": "gpuTypeIds: no such GPU"}), Code.INPUT, "no such"),
        (httpx.Response(400, json={"error": "bad image"}), Code.INPUT, "bad image"),
        (httpx.Response(403, json={}), Code.INPUT, "RUNPOD_API_KEY"),
        (httpx.Response(429, text="slow down"), Code.DOWNLOAD, "try again later"),
        (httpx.Response(200, text="<html>"), Code.DOWNLOAD, "did not answer with JSON"),
        (httpx.Response(200, json={"name": "x"}), Code.DOWNLOAD, "did not say the id"),
    ],
    ids=["400", "400 error", "403", "429", "no JSON", "no id"],
)
def test_what_the_api_refuses_is_told(
    account: Account, answer: httpx.Response, code: Code, says: str
) -> None:
    account.fails["POST /templates"] = answer
    with pytest.raises(TalkheadError) as caught:
        apply(account)
    assert caught.value.code is code
    assert says in f"{caught.value.message} {caught.value.hint}"
    assert account.endpoints == {}


def test_a_list_that_is_none_is_an_error(account: Account) -> None:
    account.fails["GET /templates"] = httpx.Response(200, json={"templates": []})
    with pytest.raises(TalkheadError, match="did not answer with a list"):
        apply(account)


def test_the_key_is_shown_nowhere(account: Account) -> None:
    key = "rpa_a-wrong-key-of-mine"
    with pytest.raises(TalkheadError) as caught:
        deploying.apply(wanted(), key, transport=account.transport)
    assert "401" in caught.value.message
    assert key not in f"{caught.value.message} {caught.value.hint}"


def test_a_dry_run_prints_every_call_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made anew by the command in the assertion's message, where a change is meant."""
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    words = ["deploy", str(FILE), "--dry-run", "--image", IMAGE]
    first, second = (CliRunner().invoke(app, words) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    assert first.stdout == GOLDEN.read_text(), f"talkhead {' '.join(words)} > {GOLDEN}"


def test_a_dry_run_in_json_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    shown = CliRunner().invoke(app, ["deploy", str(FILE), "--dry-run", "--image", IMAGE, "--json"])
    told = json.loads(shown.stdout)["calls"]
    assert [call["body"] for call in told] == [call.body for call in deploying.calls(wanted())]
    assert told[0]["url"] == "https://rest.runpod.io/v1/templates"


@pytest.mark.parametrize("words", [[], ["--dry-run", "--apply"]], ids=["neither", "both"])
def test_one_of_the_two_has_to_be_said(words: list[str]) -> None:
    shown = CliRunner().invoke(app, ["deploy", str(FILE), *words])
    assert shown.exit_code == 2
    assert "--dry-run prints the calls" in shown.output


def test_applying_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    shown = CliRunner().invoke(app, ["deploy", str(FILE), "--apply", "--image", IMAGE])
    assert shown.exit_code == 2
    assert "RUNPOD_API_KEY is not set" in shown.output


@pytest.fixture
def reached(account: Account, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Return the account that the command line reaches."""
    made = rest.Rest
    monkeypatch.setenv("RUNPOD_API_KEY", KEY)
    monkeypatch.setattr(
        deploying, "Rest", lambda key, transport=None: made(key, transport=account.transport)
    )
    return account


def test_the_command_says_what_it_did_and_what_comes_next(reached: Account) -> None:
    words = ["deploy", str(FILE), "--apply", "--image", IMAGE]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert "template  talkhead  t1  created" in shown.stdout
    assert "next: talkhead smoke https://api.runpod.ai/v2/e1" in shown.stdout
    again = CliRunner().invoke(app, words)
    assert "endpoint  talkhead  e1  as it should be" in again.stdout
    assert "RunPod does not tell: flashboot" in again.stdout
    assert KEY not in shown.output + again.output
    reached.endpoints["e1"]["networkVolumeId"] = "v1"
    third = CliRunner().invoke(app, words)
    assert "- the endpoint has networkVolumeId v1, which the file does not name" in third.stdout


def test_the_command_answers_in_json(reached: Account) -> None:
    words = ["deploy", str(FILE), "--apply", "--image", IMAGE, "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert told["url"] == "https://api.runpod.ai/v2/e1"
    assert told["template"] == {"id": "t1", "did": "created", "fields": []}
    assert told["endpoint"]["did"] == "created"
