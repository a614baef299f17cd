"""Files that cannot be what they are called are named as such, without being read whole."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from support.weights import safetensors, write
from talkhead.weights import sound

SHAPES = {"a": (2, 3), "b": (4,)}


def pickled() -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 500)
    return into.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.safetensors", safetensors(SHAPES)),
        ("a.safetensors", safetensors(SHAPES, metadata=False)),
        ("a.safetensors", safetensors({})),
        ("a.gguf", b"GGUF" + bytes(60)),
        ("a.pth", pickled()),
        ("old.pkl", b"\x80\x02" + bytes(60)),
        ("config.json", b"{}"),
        ("page.txt", b"<html>"),
    ],
)
def test_sound_files_show_nothing(tmp_path: Path, name: str, content: bytes) -> None:
    assert sound.fault(write(tmp_path / name, content)) == ""


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.pth", b"", "0 bytes"),
        ("a.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-LFS"),
        ("a.safetensors", b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        ("a.safetensors", b"\x01\x02", "cut short"),
        ("a.safetensors", safetensors(SHAPES, cut=1), "cut short"),
        ("a.safetensors", safetensors(SHAPES) + b"!", "too long"),
        ("a.safetensors", struct.pack("<Q", 2**40) + b"{}", "does not fit into the file"),
        ("a.safetensors", struct.pack("<Q", 2) + b"[]", "damaged"),
        ("a.safetensors", struct.pack("<Q", 3) + b"{{{", "damaged"),
        ("a.gguf", b"PK\x03\x04" + bytes(60), "GGUF"),
        ("a.pth", pickled()[:300], "cut short"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    assert why in sound.fault(write(tmp_path / name, content))


def test_a_header_must_fit_its_tensors(tmp_path: Path) -> None:
    whole = safetensors({"a": (2, 3)})
    shorter = whole.replace(b'"shape": [2, 3]', b'"shape": [2, 2]')
    assert "do not fit its shape" in sound.fault(write(tmp_path / "a.safetensors", shorter))
    reverse = whole.replace(b'"data_offsets": [0, 24]', b'"data_offsets": [24, 0]')
    assert "impossible" in sound.fault(write(tmp_path / "b.safetensors", reverse))


def test_known_sizes_and_shapes_are_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", safetensors(SHAPES))
    length = path.stat().st_size
    assert sound.fault(path, length, SHAPES) == ""
    assert "cut short" in sound.fault(path, length + 1)
    assert "too long" in sound.fault(path, length - 1)
    assert "[2, 3], not [3, 2]" in sound.fault(path, None, {"a": (3, 2)})
    assert "no tensor c" in sound.fault(path, None, {"c": (1,)})
    assert sound.fault(write(tmp_path / "empty.json", b""), 0) == ""


def test_missing_parts_of_a_split_file_are_named() -> None:
    parts = [Path(f"m-{part:05d}-of-00003.safetensors") for part in (1, 2, 3)]
    assert sound.missing_shards([*parts, Path("m.index.json")]) == ""
    assert "m-00002-of-00003" in sound.missing_shards([parts[0], parts[2]])
