"""Weights are found in our layout, in those of the older systems, and in hub caches."""

from pathlib import Path

import pytest

from support.weights import known, write
from talkhead.weights import locate
from talkhead.weights.locate import Places

KNOWN = known()
BIG = KNOWN.files["big"]
COMMIT = "f" * 40


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "root", (tmp_path / "volume",), (tmp_path / "cache",))


@pytest.mark.parametrize(
    "where",
    [
        "root/org/model/deep/big.bin",
        "root/model/deep/big.bin",
        "volume/org/model/deep/big.bin",
        "volume/weights/model/deep/big.bin",
        "volume/models/unet/big.bin",
        "volume/ComfyUI/models/unet/big.bin",
        "volume/ComfyUI/models/unet/sorted/big.bin",
        "volume/huggingface-cache/hub/models--org--model/snapshots/main/deep/big.bin",
        f"cache/models--org--model/snapshots/{COMMIT}/deep/big.bin",
    ],
)
def test_each_layout_is_known(places: Places, tmp_path: Path, where: str) -> None:
    assert locate.find(BIG, places).paths == ()
    write(tmp_path / "cache/models--org--model/refs/main", f"{COMMIT}\n".encode())
    file = write(tmp_path / where, b"weights")
    assert locate.find(BIG, places).paths == (file,)


def test_the_weights_folder_comes_first_and_may_be_left_out(places: Places, tmp_path: Path) -> None:
    own = write(tmp_path / "root/org/model/deep/big.bin", b"own")
    other = write(tmp_path / "volume/unet/big.bin", b"other")
    assert locate.find(BIG, places).paths == (own,)
    assert locate.find(BIG, places, own=False).paths == (other,)


def test_what_is_not_whole_is_passed_over_and_named(places: Places, tmp_path: Path) -> None:
    hand = KNOWN.files["hand"]
    empty = write(tmp_path / "volume/byhand/unet.bin", b"")  # as an older volume has it
    assert locate.find(hand, places).paths == ()
    real = write(tmp_path / "volume/byhand/Real/unet.bin", b"real")
    assert locate.find(hand, places).paths == (real,)
    real.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    refused = {p.path: p.why for p in locate.find(hand, places).looked if p.why != locate.ABSENT}
    assert "0 bytes" in refused[empty]
    assert "git-LFS" in refused[real]


def test_a_cache_without_its_pointer_is_not_guessed(places: Places, tmp_path: Path) -> None:
    write(tmp_path / f"cache/models--org--model/snapshots/{COMMIT}/deep/big.bin", b"weights")
    found = locate.find(BIG, places)
    assert found.paths == ()
    assert tmp_path / "cache/models--org--model/snapshots/main/deep/big.bin" in [
        place.path for place in found.looked
    ]


def test_links_in_a_cache_are_followed(places: Places, tmp_path: Path) -> None:
    blob = write(tmp_path / "cache/models--org--model/blobs/abc", b"weights")
    write(tmp_path / "cache/models--org--model/refs/main", COMMIT.encode())
    link = tmp_path / f"cache/models--org--model/snapshots/{COMMIT}/deep/big.bin"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    assert locate.find(BIG, places).paths == (link,)
    blob.unlink()
    assert locate.find(BIG, places).paths == ()


def test_folders_and_patterns_stand_for_their_files(places: Places, tmp_path: Path) -> None:
    base = tmp_path / "volume/org/model"
    names = ["google/tok/a.json", "google/tok/deeper/b.json", "google/tok/.hidden"]
    files = [write(base / name, b"x") for name in names]
    assert locate.find(KNOWN.files["tokenizer"], places).paths == tuple(files[:2])
    first = write(base / "part-00001-of-00002.safetensors.txt", b"x")
    assert locate.find(KNOWN.files["shards"], places).paths == (first,)


def test_a_split_file_must_have_all_parts(places: Places, tmp_path: Path) -> None:
    base = tmp_path / "volume/org/model"
    write(base / "part-00001-of-00002.bin", b"x")
    found = locate.find(KNOWN.files["shards"], places)
    assert found.paths == ()
    assert any("part-00002-of-00002.bin" in place.why for place in found.looked)
    write(base / "part-00002-of-00002.bin", b"x")
    assert len(locate.find(KNOWN.files["shards"], places).paths) == 2
