"""Secrets do not get out, ordinary text does, and hostile text costs linear time."""

import base64
import json
import math
import re
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from talkhead import redaction
from talkhead.redaction import HIDDEN, MAX_TEXT, Redactor, secret_name, secrets_in
from talkhead.settings import S3

SECRET = 'p4ss/w+rd&with="quotes" ä'
REDACTOR = Redactor([SECRET])
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
FORMS = {
    "plain": SECRET,
    "repr": repr(SECRET)[1:-1],
    "json": json.dumps(SECRET)[1:-1],
    "json, not ASCII": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "json, slashes escaped": json.dumps(SECRET)[1:-1].replace("/", "\\/"),
    "percent": quote(SECRET),
    "percent, slash too": quote(SECRET, safe=""),
    "percent, lower case": re.sub("%..", lambda code: code[0].lower(), quote(SECRET, safe="")),
    "form": quote_plus(SECRET),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_goes_in_every_form(form: str) -> None:
    assert REDACTOR.text(f"before {form} after") == f"before {HIDDEN} after"


@pytest.mark.parametrize("before", range(4))
def test_a_secret_inside_base64_goes(before: int) -> None:
    coded = base64.b64encode(b"u" * before + SECRET.encode() + b":rest").decode()
    shown = REDACTOR.text(coded)
    assert HIDDEN in shown
    kept = shown.replace(HIDDEN, "")
    assert len(kept) <= len(coded) - len(SECRET.encode()) * 8 // 6 + 4


def test_a_line_of_a_pem_key_goes() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nAQEFAASCBKcwggSjAgEAAo\n-----END"
    assert "MIIEvQ" not in Redactor([key]).text("could not parse 'MIIEvQIBADANBgkqhkiG9w0'")


def test_short_secrets_leave_words_alone() -> None:
    assert Redactor(["a", "true", ""]).text("a true story") == "a true story"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET https://host/a/b.png", "GET https://host/a/b.png"),
        ("https://host/a/b.png?X-Amz-Signature=00ff&x=1", "https://host/…"),
        ("https://user:CANARY@host:9000/a", "https://host:9000/a"),
        ("https://user:CAN@ARY@host/a", "https://host/a"),
        ("https://user:CAN/ARY@host/a", "https://…"),
        ("https://host#access_token=CANARY", "https://host/…"),
        ('{"url":"https:\\/\\/host\\/a?token=CANARY"}', '{"url":"https:\\/\\/host\\/…"}'),
        ('"https://host/a?x=1\\u0026token=CANARY"', '"https://host/…"'),
        ("next=https%3A%2F%2Fhost%2Fa%3Ftoken%3DCANARY", "next=https%3A%2F%2F…"),
        ("s3://bucket/key", "s3://bucket/key"),
        ("redis://:CANARY@cache:6379/0", "redis://cache:6379/0"),
        ("data:image/png;base64," + "A" * 1_600_000, "data:image/png;…(1.2 MB)"),
        ("use data:, store: or volume:", "use data:, store: or volume:"),
        ("DATA:text/plain,CANARY", "data:text/plain;…(6 bytes)"),
        ("Authorization: Bearer CANARY.x", f"Authorization: {HIDDEN}"),
        ("{'Authorization': 'Basic Q0FOQVJZ'}", f"{{'Authorization': '{HIDDEN}'}}"),
        ("sent bearer CANARY-1 along", f"sent bearer {HIDDEN} along"),
        (f"the token is {JWT}.", f"the token is {HIDDEN}."),
        ("/bucket/key?X-Amz-Signature=CANARY&x=1", f"/bucket/key?X-Amz-Signature={HIDDEN}&x=1"),
        ("X-Amz-Credential=AKIACANARY/2026", f"X-Amz-Credential={HIDDEN}"),
        ("api_key='CANARY' of", f"api_key='{HIDDEN}' of"),
        ('{"password":"CANARY"}', f'{{"password":"{HIDDEN}"}}'),
        ("[type=x, input_value={'a': '...ARY'}, input_type=str]", "[type=x, input_value=…"),
        ("z" * 201, "zzzzzzzz…(201 characters)"),
        ("x " + "\n".join(["Q" * 76] * 5), "x QQQQQQQQ…(384 characters)"),
    ],
)
def test_what_looks_like_a_secret_goes(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "speakers.0.audio: speech.wav is 3:07 long, at 16000 Hz",
        "sha256 " + "0f" * 32,
        "no such file: /volumes/a/b/c.wav",
        "unknown field 'tokens', did you mean 'options'?",
        "data: 5, 6 and 7",
        "E_INPUT_VALIDATION: size: give width and height",
        'File "/app/talkhead/job.py", line 12, in run',
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor().text(text) == text


HOSTILE = (
    *("a", "eyJ", "eyJ.", "://", "data:", "data:;", "%3A", "%25", "bearer ", "token=", "token"),
    *(":\\/", "authorization:", "%3A%2F", "Q" * 59 + " ", "Q" * 199 + " ", "\\n", "@", "x-amz-"),
    *("data:a;base64,", "A" * 76 + "\n", "https://a@", "=", "\"'", "secret\\", "bearer%20"),
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_costs_linear_time(piece: str) -> None:
    """Ten times the text may cost ten times as much, but a hundred times is quadratic."""

    def cost(size: int) -> float:
        text = piece * (size // len(piece))
        began = time.process_time()
        REDACTOR.text(text)
        return time.process_time() - began

    cost(1000)
    small = min(cost(20_000) for _ in range(5))
    large = min(cost(200_000) for _ in range(2))
    assert large < 40 * small + 0.02


def test_five_megabytes_are_no_trouble() -> None:
    began = time.process_time()
    for piece in ("a", "eyJ", "data:", "token"):
        REDACTOR.text(piece * (5_000_000 // len(piece)))
    assert time.process_time() - began < 30  # quadratic would be days


def test_nested_values_are_walked() -> None:
    value = {
        "url": "https://h/a?k=CANARY",
        SECRET: [SECRET, {"deep": (SECRET, {SECRET})}],
        "secret_key": "CANARY",
        "api-token": "CANARY",
        "tokens": 7,
        "blob": b"CANARY",
        "hidden": SecretStr("CANARY"),
        "path": Path("/a/b"),
        "error": ValueError(SECRET),
        "model": S3(kind="s3", bucket="b", secret_key=SecretStr("CANARY")),
    }
    shown = json.dumps(REDACTOR.value(value), allow_nan=False, ensure_ascii=False)
    assert "CANARY" not in shown
    assert SECRET not in json.loads(shown).values()
    assert '"tokens": 7' in shown
    assert '"path": "/a/b"' in shown
    assert '"blob": "6 bytes"' in shown


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value",
    [
        Rude(),
        {Rude(): Rude()},
        10**5000,
        math.nan,
        -math.inf,
        "\ud800",
        {1: {2: {3: None}}},
        [object()],
        set("ab"),
        lambda: None,
    ],
    ids=lambda value: type(value).__name__,
)
def test_anything_becomes_json(value: object) -> None:
    json.dumps(REDACTOR.value(value), allow_nan=False).encode()


def test_loops_and_giants_end() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert "…" in json.dumps(REDACTOR.value(loop), ensure_ascii=False)
    assert len(json.dumps(REDACTOR.value(["word " * 100_000]))) < MAX_TEXT + 100
    assert len(json.dumps(REDACTOR.value(list(range(10_000))))) < 2000


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_every_value_becomes_json(value: object) -> None:
    json.dumps(REDACTOR.value(value), allow_nan=False)


@given(before=st.text(), after=st.text())
def test_a_secret_goes_wherever_it_stands(before: str, after: str) -> None:
    assert SECRET not in REDACTOR.text(before + SECRET + after)


def test_which_variables_are_secret() -> None:
    for name in ("R2_SECRET", "runpod_api_key", "SUPABASE_SERVICE_ROLE", "MINIO_PASS", "HF_TOKEN"):
        assert secret_name(name)
    for name in ("PATH", "HOME", "LANG", "TALKHEAD_ENGINE"):
        assert not secret_name(name)


def test_secrets_are_found_in_settings() -> None:
    store = S3(kind="s3", bucket="b", access_key=SecretStr("one"), secret_key=SecretStr("two"))
    assert secrets_in({"a": [store], "b": (SecretStr("three"),)}) == {"one", "two", "three"}


def test_patterns_cannot_run_wild() -> None:
    """Every unlimited repeat is possessive: it gives nothing back, so nothing is tried twice."""
    patterns = [held for held in vars(redaction).values() if isinstance(held, re.Pattern)]
    assert len(patterns) >= 8
    for pattern in patterns:
        bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern.pattern)
        unlimited = re.findall(r"(?:(?<![}*+])[*+]|\{\d+,\})(\+?)", bare)
        assert all(unlimited), pattern.pattern


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("KUBERNETES_SERVICE_HOST", False),
        ("SERVICE_NAME", False),
        ("KEYBOARD", False),
        ("XKB_KEYMAP", False),
        ("SUPABASE_SERVICE_KEY", True),
        ("SERVICE_ROLE", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("MY_KEY", True),
        ("apikey", True),
    ],
)
def test_only_names_of_secrets_count(name: str, secret: bool) -> None:
    assert secret_name(name) is secret
