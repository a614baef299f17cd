"""References lead only where the operator allows."""

import base64
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import Places, fetch

HERE = Places(local_paths=True)


def refused(ref: str, into: Path, places: Places = HERE) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        fetch(ref, into, "portrait", places)
    assert caught.value.fields == ("portrait",)
    return caught.value


def test_local_paths(tmp_path: Path) -> None:
    file = tmp_path / "a b%20é.png"
    file.write_bytes(b"x")
    assert fetch(str(file), tmp_path, "portrait", HERE) == file


def test_local_paths_are_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    assert refused(str(file), tmp_path, Places()).code is Code.INPUT


@pytest.mark.parametrize(
    ("ref", "words"),
    [("missing.png", "no such file"), (".", "is a folder"), ("/dev/null", "not a regular file")],
)
def test_bad_paths_say_why(tmp_path: Path, ref: str, words: str) -> None:
    error = refused(ref, tmp_path)
    assert error.code is Code.INPUT
    assert words in error.message


def test_the_library_is_the_operators_then_the_bundle(tmp_path: Path) -> None:
    bundled = fetch("library:astronaut.png", tmp_path, "portrait", Places())
    assert bundled.name == "astronaut.png"
    (tmp_path / "astronaut.png").write_bytes(b"mine")
    mine = fetch("library:astronaut.png", tmp_path, "portrait", Places(library=tmp_path))
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "", "link", "..", "gone.png"]
)
def test_no_way_out_of_a_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "secret")
    error = refused(f"volume:{name}", tmp_path, Places(volumes=[root]))
    assert error.code is Code.INPUT


def test_volumes_are_searched_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for root in (first, second):
        (root / "in").mkdir(parents=True)
    (second / "in" / "a.wav").write_bytes(b"x")
    places = Places(volumes=[first, second])
    assert fetch("volume:in/a.wav", tmp_path, "audio", places) == second / "in" / "a.wav"


def test_data_uris_are_decoded(tmp_path: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(b"content").decode()
    path = fetch(uri, tmp_path / "new", "speakers.0.audio", Places())
    assert path.read_bytes() == b"content"
    assert path.parent == tmp_path / "new"


@pytest.mark.parametrize(
    "uri", ["data:,plain", "data:image/png;base64", "data:a;base64,!!!!", "data:a;base64,abc"]
)
def test_broken_data_uris_are_refused(tmp_path: Path, uri: str) -> None:
    assert refused(uri, tmp_path).code is Code.INPUT


@pytest.mark.parametrize("ref", ["https://example.com/a.png", "http://x/", "store:key"])
def test_schemes_that_are_not_served_say_so(tmp_path: Path, ref: str) -> None:
    assert refused(ref, tmp_path).code is Code.UNSUPPORTED
