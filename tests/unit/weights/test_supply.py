"""Files by id for those who load them, and what they are told where there are none."""

import os
from pathlib import Path

import pytest

from support.weights import safetensors, write
from talkhead import weights
from talkhead.errors import Code, TalkheadError
from talkhead.weights.locate import Places
from talkhead.weights.supply import finder, identity, lacking

MANIFEST = """
[repos."org/model"]
[repos.hand]
local = true

[files.vae]
repo = "org/model"
path = "vae.safetensors"
shapes = {a = [9]}
[files.vae-pickle]
repo = "org/model"
path = "deep/vae.pth"
[files.config]
repo = "org/model"
path = "config.json"
[files.mine]
repo = "hand"
path = "mine.safetensors"

[sets.whole]
about = "all of it"
files = ["vae", "config"]

[alternatives]
vae = ["vae-pickle"]
"""
KNOWN = weights.read(MANIFEST)
VAE = safetensors({"a": (9,)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def places(root: Path, tmp_path: Path) -> Places:
    return Places(root, (tmp_path / "volume",))


def refusal(places: Places, *names: str) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        finder(places, KNOWN)(*names)
    assert caught.value.code is Code.WEIGHTS
    return caught.value


def test_the_first_id_that_is_here_is_given(places: Places, root: Path) -> None:
    config = write(root / "org/model/config.json", b"{}")
    files = finder(places, KNOWN)
    assert files("config") == (config,)
    assert files("vae", "config") == (config,)
    vae = write(root / "org/model/vae.safetensors", VAE)
    assert files("vae", "config") == (vae,)
    with pytest.raises(TalkheadError, match="no file of weights is called 'vea'"):
        files("vea")


def test_what_was_converted_serves_as_the_file(places: Places, root: Path) -> None:
    files = finder(places, KNOWN)
    made = write(root / "org/model/deep/vae.safetensors", safetensors({"a": (9,)}))
    assert files("vae-pickle") == (made,)
    assert files("vae") == (made,)
    assert lacking(["whole"], places, KNOWN) == ("config",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty: a placeholder of 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1", "is a git-LFS pointer"),
        (VAE[:-3], "is cut short"),
        (safetensors({"a": (8,)}), r"tensor a has shape \[8\], not \[9\]"),
    ],
)
def test_what_is_wrong_is_said_of_the_best_place(
    places: Places, root: Path, content: bytes, told: str
) -> None:
    file = write(root / "org/model/vae.safetensors", content)
    error = refusal(places, "vae")
    assert error.message.startswith(f"vae (vae.safetensors): {file} {told.replace(chr(92), '')}")
    assert "`talkhead weights pull vae` brings it" in error.hint
    assert "`talkhead weights pull whole`" in error.hint
    assert "TALKHEAD_WEIGHTS" in error.hint


def test_what_is_nowhere_is_said_to_be(places: Places, root: Path) -> None:
    error = refusal(places, "vae")
    assert error.message.startswith(f"vae (vae.safetensors): not found below {root} or in ")
    assert refusal(places, "mine").hint == f"put it at {root / 'hand/mine.safetensors'}"
    assert lacking(["whole", "mine"], places, KNOWN) == ("vae", "config", "mine")


def test_a_pickle_alone_has_to_be_converted(places: Places, root: Path) -> None:
    pickle = write(root / "org/model/deep/vae.pth", b"\x80\x02" + bytes(60))
    error = refusal(places, "vae-pickle")
    assert str(pickle) in error.message
    assert "`talkhead weights convert vae-pickle`" in error.hint
    error = refusal(places, "vae")
    assert error.message.startswith("vae (vae.safetensors): vae-pickle, which would do, is here")
    assert "`talkhead weights convert vae-pickle`" in error.hint
    assert lacking(["vae"], places, KNOWN) == ("vae",)


def test_encoded_prompts_do_without_their_encoder(places: Places, root: Path) -> None:
    text = weights.read(MANIFEST.replace('path = "config', 'part = "text encoder"\npath = "config'))
    write(root / "org/model/vae.safetensors", VAE)
    assert lacking(["whole"], places, text) == ("config",)
    assert lacking(["whole"], places, text, text_encoder=False) == ()


def test_a_folder_of_pickles_is_given_as_it_is(places: Places, root: Path) -> None:
    voices = weights.read(MANIFEST.replace('path = "config.json"', 'path = "voices/"'))
    voice = write(root / "org/model/voices/a.pt", b"\x80\x02" + bytes(60))
    assert finder(places, voices)("config") == (voice,)


def test_what_was_found_is_looked_at_again_when_it_changes(places: Places, root: Path) -> None:
    files = finder(places, KNOWN)
    vae = write(root / "org/model/vae.safetensors", VAE)
    assert files("vae") == (vae,)
    vae.write_bytes(b"")
    refusal(places, "vae")
    vae.unlink()
    other = write(root.parent / "volume/model/vae.safetensors", VAE)
    assert files("vae") == (other,)


def test_a_fingerprint_follows_the_content(tmp_path: Path) -> None:
    big = bytearray(os.urandom(1_000_000))
    one = write(tmp_path / "a/x.safetensors", bytes(big))
    same = write(tmp_path / "b/x.safetensors", bytes(big))
    assert identity([one]) == identity([same])
    assert identity([one]) != identity([one, same])
    big[-1] ^= 1
    assert identity([one]) != identity([write(tmp_path / "c/x.safetensors", bytes(big))])
    small = identity([write(tmp_path / "s.json", b"{}")])
    assert identity([write(tmp_path / "s.json", b"[]")]) != small
    assert identity([write(tmp_path / "t.json", b"{}")]) != small
