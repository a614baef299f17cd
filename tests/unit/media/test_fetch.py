"""References lead only where the operator allows; all files come, or none stays."""

import base64
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import Kind, Places, Wanted, fetch_all
from talkhead.settings.groups import Fetching
from talkhead.stores import Tick

HERE = Places(local_paths=True)


def quiet(done: int, total: int) -> None:
    assert 0 <= done <= total


def one(
    ref: str, into: Path, places: Places = HERE, kind: Kind = "image", field: str = "portrait"
) -> Path:
    return fetch_all({field: Wanted(ref, kind)}, into, places, quiet)[field]


def refused(ref: str, into: Path, places: Places = HERE, kind: Kind = "image") -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        one(ref, into, places, kind)
    assert caught.value.fields == ("portrait",)
    assert caught.value.message.startswith("portrait: ")
    assert caught.value.hint
    return caught.value


def inline(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def test_local_paths(tmp_path: Path) -> None:
    file = tmp_path / "a b%20é.png"
    file.write_bytes(b"x")
    assert one(str(file), tmp_path) == file


def test_local_paths_are_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    assert refused(str(file), tmp_path, Places()).code is Code.INPUT


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("missing.png", "no such file"),
        (".", "is a folder"),
        ("/dev/null", "not a regular file"),
        ("~nobody-of-that-name/a.png", "no such file"),
        ("a" * 5000, "not a path"),
        ("a" * 300, "cannot read"),
        ("a\0b", "not a path"),
    ],
)
def test_bad_paths_say_why(tmp_path: Path, ref: str, words: str) -> None:
    error = refused(ref, tmp_path)
    assert error.code is Code.INPUT
    assert words in error.message


def test_the_library_is_the_operators_then_the_bundle(tmp_path: Path) -> None:
    bundled = one("library:astronaut.png", tmp_path, Places())
    assert bundled.name == "astronaut.png"
    (tmp_path / "astronaut.png").write_bytes(b"mine")
    mine = one("library:astronaut.png", tmp_path, Places(library=tmp_path))
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name",
    [
        "../secret", "/etc/passwd", "a/../../secret", "", "link", "..", "gone.png", "folder",
        "pipe", "loop", "null", ".", "./real", "a//b", "C:/x", "C:x", "..\\secret", "a\0", "a\nb",
        "x" * 300, "real/below", "linked/secret",
    ],
)  # fmt: skip
def test_no_way_out_of_a_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "volume"
    (root / "folder").mkdir(parents=True)
    (root / "real").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "null").symlink_to("/dev/null")
    os.mkfifo(root / "pipe")
    error = refused(f"volume:{name}", tmp_path, Places(volumes=[root]))
    assert error.code is Code.INPUT
    assert "\n" not in error.message
    assert str(tmp_path) not in error.message


def test_links_inside_a_folder_work(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    assert one("volume:link", tmp_path, Places(volumes=[tmp_path])) == tmp_path / "real"


def test_volumes_are_searched_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for root in (first, second):
        (root / "in").mkdir(parents=True)
    (second / "in" / "a.wav").write_bytes(b"x")
    places = Places(volumes=[first, second])
    assert one("volume:in/a.wav", tmp_path, places) == second / "in" / "a.wav"


@pytest.mark.parametrize(
    ("ref", "setting"), [("library:x.png", "TALKHEAD_LIBRARY"), ("volume:x", "TALKHEAD_VOLUMES")]
)
def test_an_unset_folder_is_named(tmp_path: Path, ref: str, setting: str) -> None:
    assert f"{setting} is not set" in refused(ref, tmp_path, Places()).hint
    mine = Places(library=tmp_path, volumes=[tmp_path])
    assert setting not in refused(ref, tmp_path, mine).hint


@pytest.mark.parametrize("size", [1, 2, 3, 5_000_001])
def test_data_uris_are_decoded(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = one(inline(content[:size]), tmp_path / "new", Places(), field="speakers.0.audio")
    assert path.read_bytes() == content[:size]
    assert path.parent == tmp_path / "new"


@pytest.mark.parametrize(
    "uri",
    [
        "data:,plain",
        "data:image/png;base64",
        "data:a;base64,",
        "data:a;base64,!!!!",
        "data:a;base64,abc",
        "data:a;base64,AA==AAAA",
        "data:a;base64,AA AA",
        "data:a;base64,AAAA\n",
        "data:a;base64,ÄÄÄÄ",
    ],
)
def test_broken_data_uris_are_refused(tmp_path: Path, uri: str) -> None:
    error = refused(uri, tmp_path)
    assert error.code is Code.INPUT
    assert "AA" not in error.message
    assert list(tmp_path.iterdir()) == []


def test_caps_by_kind(tmp_path: Path) -> None:
    places = Places(fetching=Fetching(image_mb=0.5, audio_mb=1))
    uri = inline(bytes(600_000))
    assert "0.5 MB" in refused(uri, tmp_path, places).message
    assert one(uri, tmp_path, places, "audio").stat().st_size == 600_000


@pytest.mark.parametrize("ref", ["ftp://u:secret@h/a", "h.png", "", "file:///etc/passwd", "C:\\a"])
def test_anything_else_is_no_reference(tmp_path: Path, ref: str) -> None:
    assert "not a reference" in refused(ref, tmp_path, Places()).message


def test_a_path_that_looks_like_a_url_is_not_shown_whole(tmp_path: Path) -> None:
    error = refused("ftp://u:secret@h/a?token=secret", tmp_path)
    assert error.message == "portrait: no such file: ftp://h/…"


class Bucket:
    """A store's `get`, and what was asked of it."""

    def __init__(self, **content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[str, int]] = []

    def get(self, key: str, into: Path, limit: int, tick: Tick) -> bool:
        self.asked.append((key, limit))
        tick(0, 10)
        if key not in self.content:
            return False
        into.write_bytes(self.content[key])
        return True


def test_keys_of_the_store(tmp_path: Path) -> None:
    bucket = Bucket(odin=b"face")
    places = Places(store=bucket.get, fetching=Fetching(image_mb=1))
    assert one("store:odin", tmp_path, places).read_bytes() == b"face"
    assert bucket.asked == [("odin", 2**20)]
    error = refused("store:thor", tmp_path, places)
    assert (error.code, "was not found" in error.message) == (Code.INPUT, True)


@pytest.mark.parametrize(
    "key",
    ["", "/a", "in/", "in/../a", "in//a", "in/\\a", "in/a\nb", "out/a", "in", "In/a", "./in/a"],
)
def test_keys_that_may_not_be_read_are_not_asked_for(tmp_path: Path, key: str) -> None:
    bucket = Bucket()
    places = Places(store=bucket.get, readable=("in/", "avatars/"))
    assert refused(f"store:{key}", tmp_path, places).code is Code.INPUT
    assert bucket.asked == []


def test_no_store_says_so(tmp_path: Path) -> None:
    assert refused("store:a", tmp_path, Places()).code is Code.UNSUPPORTED


def test_an_empty_object_is_refused(tmp_path: Path) -> None:
    into = tmp_path / "in"
    error = refused("store:a", into, Places(store=Bucket(a=b"").get))
    assert (error.code, "empty" in error.message) == (Code.INPUT, True)
    assert list(into.iterdir()) == []


def test_one_reference_is_fetched_once_under_the_strictest_cap(tmp_path: Path) -> None:
    bucket = Bucket(clip=b"video")
    wanted = {
        "source": Wanted("store:clip", "media"),
        "speakers.0.audio": Wanted("store:clip", "audio"),
    }
    found = fetch_all(wanted, tmp_path, Places(store=bucket.get), quiet)
    assert found["source"] == found["speakers.0.audio"]
    assert bucket.asked == [("clip", 200 * 2**20)]


def test_an_error_names_every_field_that_holds_the_reference(tmp_path: Path) -> None:
    wanted = {"source": Wanted("store:clip"), "speakers.0.audio": Wanted("store:clip")}
    with pytest.raises(TalkheadError) as caught:
        fetch_all(wanted, tmp_path, Places(store=Bucket().get), quiet)
    assert caught.value.fields == ("source", "speakers.0.audio")


def test_all_references_are_judged_before_one_is_followed(tmp_path: Path) -> None:
    bucket = Bucket(a=b"x")
    wanted = {"portrait": Wanted("store:a"), "speakers.0.audio": Wanted("https://127.1/a")}
    with pytest.raises(TalkheadError):
        fetch_all(wanted, tmp_path, Places(store=bucket.get), quiet)
    assert bucket.asked == []


def test_files_come_in_parallel(tmp_path: Path) -> None:
    meeting = threading.Barrier(3, timeout=10)

    def get(key: str, into: Path, limit: int, tick: Tick) -> bool:
        meeting.wait()
        into.write_text(key)
        return True

    wanted = {name: Wanted(f"store:{name}") for name in "abc"}
    found = fetch_all(wanted, tmp_path, Places(store=get, fetching=Fetching(parallel=3)), quiet)
    assert {name: path.read_text() for name, path in found.items()} == {n: n for n in "abc"}


def waiting(started: threading.Event) -> Callable[[str, Path, int, Tick], bool]:
    """Return a store that fails for `bad` and otherwise gives a byte and then nothing for ever."""

    def get(key: str, into: Path, limit: int, tick: Tick) -> bool:
        if key == "bad":
            assert started.wait(10)
            raise TalkheadError(Code.DOWNLOAD, "the bucket burns", "run")
        into.write_bytes(b"x")
        started.set()
        beat = threading.Event()
        while not beat.wait(0.01):
            tick(1, 2)
        return True

    return get


def test_a_failure_stops_the_others_and_nothing_stays(tmp_path: Path) -> None:
    wanted = {name: Wanted(f"store:{name}") for name in ("a", "b", "bad", "c", "d")}
    places = Places(store=waiting(threading.Event()), fetching=Fetching(parallel=3))
    began = time.monotonic()
    with pytest.raises(TalkheadError, match="bad: the bucket burns") as caught:
        fetch_all(wanted, tmp_path, places, quiet)
    assert time.monotonic() - began < 2
    assert caught.value.fields == ("bad",)
    assert caught.value.retryable
    assert list(tmp_path.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_a_file_that_had_come_goes_too(tmp_path: Path) -> None:
    def get(key: str, into: Path, limit: int, tick: Tick) -> bool:
        into.write_text(key)
        return key == "first"

    wanted = {"portrait": Wanted("store:first"), "video": Wanted("store:second")}
    with pytest.raises(TalkheadError, match="was not found"):
        fetch_all(wanted, tmp_path, Places(store=get, fetching=Fetching(parallel=1)), quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_cancel_while_files_come_leaves_nothing(tmp_path: Path) -> None:
    started = threading.Event()
    ticks = []

    def tick(done: int, total: int) -> None:
        ticks.append((done, total))
        if started.is_set() and done:
            raise TalkheadError(Code.CANCELLED, "the job was cancelled")

    wanted = {name: Wanted(f"store:{name}") for name in "ab"}
    places = Places(store=waiting(started), fetching=Fetching(parallel=1))
    with pytest.raises(TalkheadError) as caught:
        fetch_all(wanted, tmp_path, places, tick)
    assert caught.value.code is Code.CANCELLED
    assert ticks[-1] == (1, 2)
    assert list(tmp_path.iterdir()) == []


def test_one_deadline_for_all(tmp_path: Path) -> None:
    places = Places(store=waiting(threading.Event()), fetching=Fetching(deadline_s=0.3))
    with pytest.raises(TalkheadError) as caught:
        fetch_all({"portrait": Wanted("store:a")}, tmp_path, places, quiet)
    assert caught.value.code is Code.DOWNLOAD
    assert "0.3 s" in caught.value.message
    assert caught.value.fields == ("portrait",)
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_foresaw_also_leaves_nothing(tmp_path: Path) -> None:
    def get(key: str, into: Path, limit: int, tick: Tick) -> bool:
        into.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        one("store:a", tmp_path, Places(store=get))
    assert list(tmp_path.iterdir()) == []


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    ticks: list[tuple[int, int]] = []
    wanted = {"portrait": Wanted(inline(b"12345")), "video": Wanted("library:astronaut.png")}
    fetch_all(wanted, tmp_path, Places(), lambda *said: ticks.append(said))
    assert ticks[-1][0] == ticks[-1][1] > 0
    assert [done for done, _ in ticks] == sorted(done for done, _ in ticks)
