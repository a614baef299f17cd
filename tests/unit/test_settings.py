"""Settings from the environment: what they take, and how they refuse."""

from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.settings import load


@pytest.mark.parametrize("name", ["COMPAT_ENGINES", "STORES", "STORE", "FETCH", "ENGINES"])
def test_what_is_not_json_is_one_line(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"TALKHEAD_{name}", "hidden=b")
    with pytest.raises(TalkheadError) as caught:
        load()
    assert caught.value.code is Code.INPUT
    assert caught.value.message.startswith(f"TALKHEAD_{name}: ")
    assert f"TALKHEAD_{name}=" in caught.value.hint
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"


def test_broken_lists_name_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKHEAD_FETCH__PRIVATE_HOSTS", '["a"')
    with pytest.raises(TalkheadError, match=r"^TALKHEAD_FETCH__PRIVATE_HOSTS: not valid JSON"):
        load()


def test_lists_are_json_or_text_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALKHEAD_VOLUMES", "/runpod-volume")
    monkeypatch.setenv("TALKHEAD_FETCH__PRIVATE_HOSTS", "minio:9000, localhost")
    monkeypatch.setenv("TALKHEAD_READABLE", '["avatars/"]')
    monkeypatch.setenv("TALKHEAD_WORKER__PULL", "7")
    found = load()
    assert found.volumes == (Path("/runpod-volume"),)
    assert found.fetch.private_hosts == ("minio:9000", "localhost")
    assert found.readable == ("avatars/",)
    assert found.worker.pull == ("7",)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TALKHEAD_ENGIN", "draft", "TALKHEAD_ENGIN: no such .*mean TALKHEAD_ENGINE"),
        ("TALKHEAD_FETCH__HTPP", "1", "did you mean TALKHEAD_FETCH__HTTP?"),
        ("TALKHEAD_STORE__PREFX", "a", "TALKHEAD_STORE__PREFX: .*TALKHEAD_STORE__PREFIX"),
        ("TALKHEAD_STORE__KIND", "s4", "TALKHEAD_STORE: no such kind of store"),
        ("TALKHEAD_OLDER__STEP", "8", "did you mean TALKHEAD_OLDER__STEPS?"),
        ("TALKHEAD_OLDER__SIZE", "infinitetalk-480", "^TALKHEAD_OLDER__SIZE: "),
        ("TALKHEAD_WEIGHTS_NAMED", "wan-vae=/x", "TALKHEAD_WEIGHTS_NAMED: not valid JSON"),
        ("TALKHEAD_STORES__A", "x", "TALKHEAD_STORES__A: not valid JSON"),
        ("TALKHEAD_STORES", '{"a": {"kind": "supabase", "bucket": "b", "url": "u"}}',
         "^TALKHEAD_STORES__A__KEY: "),
    ],
)  # fmt: skip
def test_errors_are_names_that_exist(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(TalkheadError, match=said):
        load()


def test_a_variable_that_is_empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forms, as the Hub's, set what was left empty."""
    monkeypatch.setenv("TALKHEAD_STORE__KIND", "inline")
    monkeypatch.setenv("TALKHEAD_STORE__BUCKET", "")
    monkeypatch.setenv("TALKHEAD_WORKER__PULL", "")
    found = load(aliases=True)
    assert found.store.kind == "inline"
    assert found.worker.pull == ()
