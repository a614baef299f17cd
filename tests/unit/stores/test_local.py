"""Files appear whole or not at all, and keys stay inside the folder."""

from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.stores.local import LocalStore, SingleFile


def made(folder: Path, content: bytes = b"video") -> Path:
    file = folder / "source.mp4"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("key", ["", "../x", "/x", "a/../../x", "a\0b"])
def test_keys_stay_inside(tmp_path: Path, key: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        LocalStore(tmp_path / "root").put(made(tmp_path), key, mime="video/mp4", sha256="")
    assert caught.value.code is Code.INPUT


def test_a_file_in_the_way_is_an_upload_error(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(TalkheadError, match="cannot write") as caught:
        LocalStore(tmp_path / "root").put(made(tmp_path), "a/b.mp4", mime="video/mp4", sha256="")
    assert caught.value.code is Code.STORE
    assert LocalStore(tmp_path / "root").read("a/b.mp4") is None


def test_single_file_names(tmp_path: Path) -> None:
    store = SingleFile(tmp_path / "hello.mp4")
    for key in ("j/video.mp4", "j/thumbnail.jpg", "j/result.json"):
        store.put(made(tmp_path, key.encode()), key, mime="video/mp4", sha256="")
    names = ["hello.mp4", "hello.result.json", "hello.thumbnail.jpg", "source.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "hello.mp4").read_bytes() == b"j/video.mp4"
    assert store.read("j/result.json") is None
    assert SingleFile(tmp_path / "x.MP4").path("j/video.mp4") == tmp_path / "x.MP4"
    assert store.link("j/video.mp4", "signed", 60).url.startswith("file:///")
