"""Keys that every service takes, and those that none should see."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkhead.errors import Code, TalkheadError
from talkhead.stores.keys import LONGEST, PART, check_key, safe_part


@pytest.mark.parametrize(
    "key", ["a", "a/b.mp4", ".hidden", "a..b", "...", "a b", "é/日本.mp4", "x" * LONGEST, "é" * 512]
)
def test_good_keys_stay_as_they_are(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("/a", "absolute"),
        ("a/", "empty"),
        ("a//b", "empty"),
        (".", r"\."),
        ("a/./b", r"\."),
        ("..", r"\.\."),
        ("a/../b", r"\.\."),
        ("a\\b", "backslash"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\x7fb", "control"),
        ("a\x85b", "control"),
        ("x" * (LONGEST + 1), "1024 bytes"),
        ("é" * 513, "1024 bytes"),
        ("\ud800", "Unicode"),
    ],
)
def test_bad_keys_are_refused(key: str, why: str) -> None:
    with pytest.raises(TalkheadError, match=why) as caught:
        check_key(key)
    assert caught.value.code is Code.INPUT
    assert len(caught.value.message) < 500
    caught.value.message.encode()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("video.mp4", "video.mp4"),
        ("Äpfel été", "Apfel-ete"),
        ("ﬁne ①", "fine-1"),
        ("日本", "file"),
        ("../../etc/passwd", "etc-passwd"),
        ("a/b\\c", "a-b-c"),
        ("", "file"),
        ("...", "file"),
        (".hidden", "hidden"),
        ("x" * 500, "x" * PART),
        ("a\0\n b", "a-b"),
    ],
)
def test_parts_are_plain(text: str, part: str) -> None:
    assert safe_part(text) == part


@given(st.text())
def test_any_text_becomes_a_part(text: str) -> None:
    part = safe_part(text)
    assert part.isascii()
    assert 0 < len(part) <= PART
    assert check_key(f"a/{part}")
    assert safe_part(part) == part


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    try:
        key = check_key(text)
    except TalkheadError as error:
        assert error.code is Code.INPUT
    else:
        assert key == text
        assert not key.startswith("/")
        assert ".." not in key.split("/")
