"""Playlists: what they say, and that what they name can be fetched."""

import re
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from talkhead import playlists
from talkhead.playlists import names, written
from talkhead.stores import Link, Shelf
from talkhead.stores.local import LocalStore

NAMES = ["init-00000000.mp4", *(f"part-{n:05d}-abcdef0{n}.m4s" for n in range(3))]
KEY = "job/stream/index.m3u8"


class Signing(LocalStore):
    """A store whose URLs are signed, each time another way."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "http://store/bucket")
        self.times = 0

    def link(self, key: str, kind: str, expires_s: int) -> Link:
        assert self.path(key).is_file(), "only what is there can be signed"
        self.times += 1
        url = f"{super().link(key, kind, expires_s).url}?sig=a%2Fb{self.times}&x={kind}"
        return Link(url, datetime.now(UTC))


def filled(store: LocalStore) -> Shelf:
    for name in NAMES:
        store.path(f"job/stream/{name}").parent.mkdir(parents=True, exist_ok=True)
        store.path(f"job/stream/{name}").write_bytes(b"x")
    return Shelf("default", store)


def test_a_playlist() -> None:
    lengths = [Fraction(5, 2), Fraction(2), Fraction(1, 25), Fraction(3)]
    assert written(NAMES[:3], lengths, ended=False).splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:3",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0,PRECISE=YES",
        '#EXT-X-MAP:URI="init-00000000.mp4"',
        "#EXTINF:2.500000,",
        "part-00000-abcdef00.m4s",
        "#EXTINF:2.000000,",
        "part-00001-abcdef01.m4s",
    ]
    whole = written(NAMES, lengths[:3], ended=True)
    assert whole.endswith("part-00002-abcdef02.m4s\n#EXT-X-ENDLIST\n")


def test_it_only_grows() -> None:
    lengths = [Fraction(2)] * 3
    texts = [written(NAMES[: count + 1], lengths, ended=False) for count in (1, 2, 3)]
    texts.append(written(NAMES, lengths, ended=True))
    for sooner, later in pairwise(texts):
        assert later.startswith(sooner)
        assert later != sooner


def test_lengths_add_up_over_hours() -> None:
    length = Fraction(48 * 1001, 24000)
    parts = [f"part-{n:05d}-abcdef00.m4s" for n in range(5000)]
    text = written([NAMES[0], *parts], [length] * len(parts), ended=True)
    told = [Fraction(found) for found in re.findall(r"#EXTINF:([\d.]+),", text)]
    assert len(told) == 5000
    assert abs(sum(told) - 5000 * length) <= Fraction(1, 2_000_000)
    assert max(abs(one - length) for one in told) <= Fraction(1, 1_000_000)


def test_names_are_found_again() -> None:
    text = written(NAMES, [Fraction(2)] * 3, ended=True)
    assert names(text) == NAMES
    assert names("") == []
    assert names("#EXTM3U\n#EXTINF:2,\n../../other.mp4\n") == []
    assert names("{}") == []


def test_names_alone_where_no_signature_is_needed(tmp_path: Path) -> None:
    shelf = filled(LocalStore(tmp_path / "store", "/files"))
    text = written(NAMES, [Fraction(2)] * 3, ended=False)
    found = playlists.publish(text, KEY, shelf, "signed", 60, tmp_path)
    assert shelf.store.read(KEY) == text.encode()
    assert found.link.url == f"/files/{KEY}"
    assert found.bytes == len(text)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_signed_urls_are_made_anew(tmp_path: Path) -> None:
    store = Signing(tmp_path / "store")
    shelf = filled(store)
    plain = written(NAMES, [Fraction(2)] * 3, ended=True)
    playlists.publish(plain, KEY, shelf, "signed", 60, tmp_path)
    first = playlists.stored(store, KEY)
    playlists.publish(first, KEY, shelf, "signed", 60, tmp_path)
    second = playlists.stored(store, KEY)
    assert names(first) == names(second) == NAMES
    urls = [re.findall(r"http://[^\"\n]+", text) for text in (first, second)]
    assert [len(found) for found in urls] == [4, 4]
    assert not set(urls[0]) & set(urls[1])
    rest = [re.sub(r"http://[^\"\n]+", "", text) for text in (first, second)]
    assert rest[0] == rest[1]
    assert rest[0].endswith("#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("kind", [LocalStore, Signing])
def test_a_stream_is_deleted_with_its_parts(kind: type[LocalStore], tmp_path: Path) -> None:
    store = (
        kind(tmp_path / "store") if kind is Signing else LocalStore(tmp_path / "store", "/files")
    )
    shelf = filled(store)
    text = written(NAMES, [Fraction(2)] * 3, ended=True)
    playlists.publish(text, KEY, shelf, "signed", 60, tmp_path)
    playlists.delete(store, KEY)
    assert not list((tmp_path / "store").rglob("*"))
