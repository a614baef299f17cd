"""Files appear whole or not at all, and keys stay inside the folder."""

import errno
import os
import time
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.settings import Local
from talkhead.stores import MAX_READ, local
from talkhead.stores.local import FileSet, LocalStore, SingleFile


def made(folder: Path, content: bytes = b"video") -> Path:
    file = folder / "source.mp4"
    file.write_bytes(content)
    return file


def put(store: LocalStore | SingleFile, file: Path, key: str, *, create: bool = False) -> bool:
    return store.put(file, key, mime="video/mp4", sha256="", create=create)


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore.open(Local(root=tmp_path / "root"))


@pytest.mark.parametrize("key", ["", "../x", "/x", "a/../../x", "a\0b"])
def test_keys_stay_inside(store: LocalStore, tmp_path: Path, key: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        put(store, made(tmp_path), key)
    assert caught.value.code is Code.INPUT


def test_a_file_in_the_way_is_an_upload_error(store: LocalStore, tmp_path: Path) -> None:
    store.root.write_text("a file")
    with pytest.raises(TalkheadError, match="cannot write") as caught:
        put(store, made(tmp_path), "a/b.mp4")
    assert caught.value.code is Code.STORE
    assert store.read("a/b.mp4") is None
    store.delete("a/b.mp4")


def test_a_full_disk_leaves_what_was_there(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, made(tmp_path, b"first"), "a/b.mp4")

    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"hal")
        raise failing(errno.ENOSPC)

    monkeypatch.setattr("talkhead.stores.local.shutil.copyfile", full)
    with pytest.raises(TalkheadError, match="No space left") as caught:
        put(store, made(tmp_path, b"second"), "a/b.mp4")
    assert "free some space" in caught.value.hint
    assert [path.name for path in (store.root / "a").iterdir()] == ["b.mp4"]
    assert store.read("a/b.mp4") == b"first"


def test_a_volume_without_hard_links(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: Path, target: Path) -> None:
        raise failing(errno.EPERM)

    monkeypatch.setattr(Path, "hardlink_to", none)
    assert put(store, made(tmp_path, b"first"), "r.json", create=True)
    assert not put(store, made(tmp_path, b"second"), "r.json", create=True)
    assert store.read("r.json") == b"first"
    assert [path.name for path in store.root.iterdir()] == ["r.json"]


def test_what_cannot_be_read_is_told(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, made(tmp_path), "b.mp4")
    plain, into = Path.open, tmp_path / "into"

    def locked(self: Path, mode: str = "r") -> object:
        if self.name == "b.mp4":
            raise failing(errno.EACCES)
        return plain(self, mode)

    monkeypatch.setattr(Path, "open", locked)  # root reads whatever a mode says
    with pytest.raises(TalkheadError, match="Permission denied") as caught:
        store.read("b.mp4")
    assert caught.value.code is Code.STORE
    with pytest.raises(TalkheadError, match="Permission denied") as caught:
        store.get("b.mp4", into, 9, lambda *_: None)
    assert caught.value.code is Code.DOWNLOAD
    assert not into.exists()


def test_a_full_disk_while_reading_is_not_the_stores_fault(
    store: LocalStore, tmp_path: Path
) -> None:
    put(store, made(tmp_path), "b.mp4")

    def full(done: int, total: int) -> None:
        raise failing(errno.ENOSPC)

    with pytest.raises(OSError, match="No space left"):
        store.get("b.mp4", tmp_path / "into", 9, full)
    assert not (tmp_path / "into").exists()


def test_get_does_not_follow_links_out(store: LocalStore, tmp_path: Path) -> None:
    put(store, made(tmp_path), "a.mp4")
    (store.root / "out.mp4").symlink_to(made(tmp_path))
    (store.root / "in.mp4").symlink_to(store.root / "a.mp4")
    os.mkfifo(store.root / "pipe.mp4")
    into = tmp_path / "into"
    assert store.get("in.mp4", into, 9, lambda *_: None)
    into.unlink()
    for key in ("out.mp4", "pipe.mp4"):
        assert not store.get(key, into, 9, lambda *_: None)


def test_delete_takes_empty_folders_along(store: LocalStore, tmp_path: Path) -> None:
    for key in ("a/b/c.mp4", "a/d.mp4"):
        put(store, made(tmp_path), key)
    store.delete("a/b/c.mp4")
    assert [path.name for path in (store.root / "a").iterdir()] == ["d.mp4"]
    store.delete("a/d.mp4")
    assert list(store.root.iterdir()) == []
    store.delete("a/d.mp4/x")
    put(store, made(tmp_path), "a/b/c.mp4")
    store.delete("a/b")  # a folder is no object
    assert store.read("a/b/c.mp4") == b"video"


def test_read_is_for_small_files(store: LocalStore, tmp_path: Path) -> None:
    with made(tmp_path).open("wb") as file:
        file.truncate(MAX_READ + 1)
    put(store, tmp_path / "source.mp4", "b.mp4")
    with pytest.raises(TalkheadError, match="too large") as caught:
        store.read("b.mp4")
    assert caught.value.code is Code.INPUT


def test_single_file_names(tmp_path: Path) -> None:
    store = SingleFile(tmp_path / "hello.mp4")
    for key in ("j/video.mp4", "j/thumbnail.jpg", "j/result.json"):
        put(store, made(tmp_path, key.encode()), key)
    names = ["hello.mp4", "hello.result.json", "hello.thumbnail.jpg", "source.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "hello.mp4").read_bytes() == b"j/video.mp4"
    assert store.read("j/result.json") is None
    assert not store.get("j/video.mp4", tmp_path / "into", 9, lambda *_: None)
    assert SingleFile(tmp_path / "x.MP4").path("j/video.mp4") == tmp_path / "x.MP4"
    assert store.link("j/video.mp4", "signed", 60).url.startswith("file:///")
    store.delete("j/video.mp4")
    assert not (tmp_path / "hello.mp4").exists()


def test_what_a_kill_left_is_swept_by_a_later_put(store: LocalStore, tmp_path: Path) -> None:
    put(store, made(tmp_path), "k/video.mp4")
    folder = store.path("k/video.mp4").parent
    old, young = folder / f".{'a' * 16}.partial", folder / f".{'b' * 16}.partial"
    foreign = folder / ".theirs.partial"
    for file in (old, young, foreign):
        file.write_bytes(b"half")
    long_ago = time.time() - local.STRAY - 60
    for file in (old, foreign):
        os.utime(file, (long_ago, long_ago))
    put(store, made(tmp_path), "k/thumbnail.jpg")
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_the_files_of_a_batch_lie_in_one_folder(tmp_path: Path) -> None:
    store = FileSet(tmp_path, "b", ("one", "1"))
    keys = ("p/b/0/video.mp4", "b/1/speech.wav", "b/0/thumbnail.jpg", "b/1/result.json")
    assert [store.path(key).name for key in keys] == [
        "one.mp4",
        "1.wav",
        "one.thumbnail.jpg",
        "1.result.json",
    ]
    assert store.path("p/b/result.json") == tmp_path / "result.json"
    record = tmp_path / "one.result.json"
    for content, known in (
        ('{"job_id": "b/0"}', True),
        ('{"job_id": "other/0"}', False),  # what another batch has left is no answer
        ("{}", False),
    ):
        record.write_text(content)
        assert (store.read("b/0/result.json") is not None) == known
    assert store.read("b/1/result.json") is None
    assert store.size("b/0/video.mp4") is None
    (tmp_path / "one.mp4").write_bytes(b"four")
    assert store.size("b/0/video.mp4") == 4
    assert store.link("b/0/video.mp4", "signed", 60).url == (tmp_path / "one.mp4").as_uri()
    store.delete("b/0/video.mp4")
    assert not (tmp_path / "one.mp4").exists()
