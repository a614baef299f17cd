"""Which endpoint a command speaks to, and who gets to see which key."""

from typing import Any

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.endpoint import Endpoint, chosen
from talkhead.settings import Settings

RUNPOD = "https://api.runpod.ai/v2/abc"
OWN, GIVEN, PLATFORM = "own-key", "given-key", "platform-key"


def shown(address: str | None, given: str | None = None, **endpoint: Any) -> tuple[str, str | None]:
    found = chosen(address, given, Settings(endpoint=endpoint))
    return found.url, found.key.get_secret_value() if found.key else None


def test_the_command_line_comes_first() -> None:
    own = {"url": "http://home:8000", "key": OWN}
    assert shown(None, **own) == ("http://home:8000", OWN)
    assert shown("http://home:8000/v2/x/", **own) == ("http://home:8000/v2/x", OWN)
    assert shown("http://other", GIVEN, **own) == ("http://other", GIVEN)
    assert shown("http://other") == ("http://other", None)


def test_a_key_is_shown_to_its_own_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_API_KEY", PLATFORM)
    own = {"url": "https://home.example/v2/x", "key": OWN}
    for other in ("http://home.example", "https://home.example:444", "https://evil.example"):
        assert shown(other, **own) == (other, None)
    assert shown("https://home.example:443/y", **own)[1] == OWN
    assert shown(RUNPOD, **own) == (RUNPOD, PLATFORM)
    assert shown(RUNPOD) == (RUNPOD, PLATFORM)
    assert shown(RUNPOD, key=OWN) == (RUNPOD, OWN)
    for other in (
        "http://api.runpod.ai/v2/abc",
        "https://api.runpod.ai.evil.example/v2/abc",
        "https://api.runpod.ai:8443/v2/abc",
        "https://evil.example/api.runpod.ai",
    ):
        assert shown(other) == (other, None)


@pytest.mark.parametrize(
    ("url", "key", "reason"),
    [
        (None, None, "no endpoint"),
        ("", None, "no endpoint"),
        (RUNPOD, None, "RunPod wants a key"),
        ("http://h", "with space", "characters of no key"),
        ("http://h", "línea", "characters of no key"),
        ("http://", None, "not a plain URL"),
        ("http://h:x", None, "not a plain URL"),
        ("https://me:canary@h", None, "not a plain URL"),
        ("https://h/?key=canary", None, "not a plain URL"),
    ],
)
def test_what_is_refused(
    url: str | None, key: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    with pytest.raises(TalkheadError, match=reason) as caught:
        chosen(url, key, Settings())
    assert caught.value.code is Code.INPUT
    assert "canary" not in f"{caught.value.message}{caught.value.hint}"


def test_the_command_to_watch_holds_no_key() -> None:
    found = chosen("http://127.0.0.1:8000/v2/x", GIVEN, Settings())
    assert found.command("job 1", "-o", "my video.mp4") == (
        "talkhead submit --watch 'job 1' --endpoint http://127.0.0.1:8000/v2/x -o 'my video.mp4'"
    )
    assert GIVEN not in repr(found)


@pytest.mark.parametrize(("url", "is_here"), [
    ("http://127.0.0.1:8000", True), ("http://[::1]:80/x", True), ("http://localhost", True),
    ("http://127.0.0.1.evil.example", False), (RUNPOD, False), ("http://10.0.0.1", False),
])  # fmt: skip
def test_loopback(url: str, is_here: bool) -> None:
    assert Endpoint(url, None, 1).loopback is is_here
