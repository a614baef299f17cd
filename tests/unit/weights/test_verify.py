"""Every way in which weights go bad gets its own words and the command that mends it."""

import os
from pathlib import Path

import pytest

from support.weights import BIG, MANIFEST, Puller, known, safetensors, write
from talkhead import weights
from talkhead.weights import record
from talkhead.weights.locate import Places
from talkhead.weights.verify import Verdict, verify


def verdicts(
    places: Places, *names: str, manifest: weights.Manifest | None = None
) -> list[Verdict]:
    files = [file for _, file in weights.chosen(names, manifest or known())]
    return list(verify(files, places))


@pytest.mark.parametrize(
    ("damage", "state", "why"),
    [
        (None, "ok", "sha256"),
        (b"", "damaged", "0 bytes"),
        (BIG[:-1], "damaged", "cut short"),
        (BIG + b"x", "damaged", "too long"),
        (BIG[::-1], "damaged", "has the sha256"),
        (b"version https://git-lfs.github.com/spec/v1", "damaged", "git-LFS"),
        ("gone", "missing", "is gone"),
    ],
)
def test_what_was_pulled_is_read_again(
    pull: Puller, damage: bytes | str | None, state: str, why: str
) -> None:
    pull("big")
    file = pull.root / "org/model/deep/big.bin"
    if damage == "gone":
        file.unlink()
    elif isinstance(damage, bytes):
        facts = file.stat()
        file.write_bytes(damage)
        if len(damage) == len(BIG):  # a disk that rots leaves size and time as they were
            os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    (verdict,) = verdicts(Places(pull.root), "big")
    assert (verdict.state, why in verdict.why) == (state, True), verdict
    assert verdict.fix == ("" if state == "ok" else "talkhead weights pull big")
    pull("big")
    assert file.read_bytes() == BIG
    assert verdicts(Places(pull.root), "big")[0].state == "ok"


def test_what_lies_elsewhere_is_judged_by_its_form(tmp_path: Path) -> None:
    places = Places(tmp_path / "root", (tmp_path / "volume",))
    assert verdicts(places, "big")[0].state == "missing"
    write(tmp_path / "volume/unet/big.bin", b"")
    (empty,) = verdicts(places, "big")
    assert (empty.state, empty.fix) == ("damaged", "talkhead weights pull big")
    assert "volume/unet/big.bin is empty" in empty.why
    write(tmp_path / "volume/unet/big.bin", BIG)
    (sound,) = verdicts(places, "big")
    assert (sound.state, "form only" in sound.why) == ("ok", True)


def test_a_hash_in_the_manifest_is_compared(tmp_path: Path) -> None:
    told = 'path = "deep/big.bin"\nsha256 = "' + "0" * 64 + '"'
    manifest = weights.read(MANIFEST.replace('path = "deep/big.bin"', told))
    write(tmp_path / "org/model/deep/big.bin", BIG)
    (verdict,) = verdicts(Places(tmp_path), "big", manifest=manifest)
    assert (verdict.state, "000000000000…" in verdict.why) == ("damaged", True)


def test_shapes_in_the_manifest_are_compared(tmp_path: Path) -> None:
    adapter = weights.manifest().files["infinitetalk-single-adapter"]
    target = tmp_path / adapter.place
    write(target, safetensors({"audio_proj.proj1.weight": (2, 2)}))
    (verdict,) = verify([adapter], Places(tmp_path))
    assert verdict.state == "damaged"
    assert "audio_proj.proj1.weight has shape [2, 2], not [512, 46080]" in verdict.why


def test_a_pickle_that_was_converted_may_be_deleted(tmp_path: Path) -> None:
    known = weights.read(
        MANIFEST.replace("deep/big.bin", "deep/big.pth") + "[alternatives]\nhand = ['big']\n"
    )
    places, big = Places(tmp_path), known.files["big"]
    pickled = write(tmp_path / big.place, b"\x80\x02" + BIG)
    record.write(tmp_path, big, "c0ffee", (record.seen(tmp_path, pickled, "0" * 64),))
    write(tmp_path / "org/model/deep/big.safetensors", safetensors({"a": (3,)}))
    pickled.unlink()
    (verdict,) = verdicts(places, "big", manifest=known)
    assert (verdict.state, verdict.why) == ("ok", "form only: converted here")
    (verdict,) = verify([known.files["hand"]], places, known)
    assert (verdict.state, verdict.why) == ("ok", "big serves in its place")
    assert verdicts(places, "hand", manifest=known)[0].state == "missing"


def test_what_cannot_be_pulled_is_put_by_hand(tmp_path: Path) -> None:
    (verdict,) = verdicts(Places(tmp_path), "hand")
    assert verdict.fix == f"put it at {tmp_path / 'byhand/Real/unet.bin'}"
