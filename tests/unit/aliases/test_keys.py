"""How single values are read, and which are refused."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from talkhead.aliases import keys

REFS = ["https://a.example/x?y", "HTTP://a.example", "data:image/png;base64,AA", "library:a.png"]
REFS += ["store:a/b", "volume:a"]


@pytest.mark.parametrize("read", [keys.url, keys.library, keys.store, keys.volume, keys.base64])
@pytest.mark.parametrize("ref", REFS)
def test_a_reference_with_a_scheme_stays(read: Callable[[Any], str], ref: str) -> None:
    assert read(ref) == ref


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (keys.library, "avatars/odin.png", "library:avatars/odin.png"),
        (keys.library, "../x", "library:../x"),  # fetching refuses it
        (keys.store, "sitting-woman/1.mp4", "store:sitting-woman/1.mp4"),
        (keys.volume, "in/a.wav", "volume:in/a.wav"),
        (keys.volume, "/runpod-volume/in/a.wav", "volume:in/a.wav"),
        (keys.volume, "/workspace/in/a.wav", "volume:in/a.wav"),
        (keys.volume, "/runpod-volume/../etc/passwd", "volume:../etc/passwd"),
        (keys.volume, "/etc/passwd", "volume:/etc/passwd"),
        (keys.volume, "file:///etc/passwd", "volume:file:///etc/passwd"),
        (keys.url, "ftp://a.example", "ftp://a.example"),
        (keys.base64, " AA\nBB== ", "data:application/octet-stream;base64,AABB=="),
        (keys.whole, 8.0, 8),
        (keys.whole, "8", 8),
        (keys.number, "1.5", 1.5),
        (keys.seed, -1, -1),
        (keys.seed, 0, 0),
        (keys.seed, "42", 42),
        (keys.seed, 42.0, 42),
        (keys.seed, 2**63 - 1, 2**63 - 1),
        (keys.seed, 2**63 + 5, 5),
        (keys.seed, -2, 2**32 - 2),
        (keys.flag, "True", True),
        (keys.flag, 0, False),
        (keys.slug, "item-1_x.2", "item-1_x.2"),
        (keys.slug, " item 1/x ", "item-1-x-b700eb42"),
        (keys.slug, "a..b", "a..b"),
        (keys.slug, "José", "Jose-24c2ab65"),
        (keys.slug, "张伟", "a3a0bafd"),
        (keys.slug, "a\x7f", "a-c5791af4"),
        (keys.slug, 7, "7"),
        (keys.slug, "a\ud800b", "ab-45e334b6"),
        (keys.prefix, "/a/b c//", "a/b-c-47d8a4a8"),
        (keys.file_name, "C:\\out\\film.v2.mp4", "film.v2"),
        (keys.box, [1, 2.5, "3", 4], [1, 2.5, 3.0, 4]),
        (keys.offload, False, "none"),
    ],
)
def test_what_is_read(read: Callable[[Any], Any], value: Any, expected: Any) -> None:
    found = read(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (keys.text, 7),
        (keys.url, "x" * 5000),
        (keys.volume, "/9j/" + "A" * 5000),  # raw base64 looks like a path
        (keys.url, "  "),
        (keys.base64, None),
        (keys.number, True),
        (keys.number, float("nan")),
        (keys.number, float("inf")),
        (keys.number, 10**400),
        (keys.number, "nan"),
        (keys.number, "eight"),
        (keys.whole, 8.5),
        (keys.seed, 1.5),
        (keys.seed, True),
        (keys.seed, float("nan")),
        (keys.flag, 2),
        (keys.flag, "perhaps"),
        (keys.slug, 10**4000),
        (keys.slug, "../x"),
        (keys.slug, "  "),
        (keys.file_name, "out/"),
        (keys.prefix, "a/../b"),
        (keys.file_name, "a/../b"),
        (keys.box, [1, 2, 3]),
        (keys.choice({"a": 1}), "b"),
        (keys.choice({"a": 1}), ["a"]),
    ],
)
def test_what_is_refused(read: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(keys.UnfitError) as caught:
        read(value)
    assert len(str(caught.value)) < 100


TEXTS = ["a b", "a-b", "a/b", "-a-b-", "a_b", " a b", "a\nb", "é-a-b", "e-a-b", "José", "Jos"]
TEXTS += ["Jose", "张伟", "用户7", "7", "_", "-", ".", "_a", ".a", "张" * 500]
TEXTS += ["x" * 128, "x" * 129, "x" * 130]


def test_slugs_of_different_texts_differ() -> None:
    slugs = [keys.slug(text) for text in TEXTS]
    assert len({*slugs}) == len(TEXTS)
    for slug in slugs:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}", slug), slug
        assert keys.slug(slug) == slug


@pytest.mark.parametrize("read", [keys.url, keys.volume, keys.library, keys.store])
def test_a_long_url_is_left_to_who_fetches_it(read: Callable[[Any], str]) -> None:
    signed = f"https://a.example/x?signature={'a' * 8000}"
    assert read(signed) == signed
