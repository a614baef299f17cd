"""A bundle holds one set and no more, and is found as a repo in a cache or as a folder."""

import errno
import json
import os
from pathlib import Path

import pytest

from support.weights import safetensors, write
from talkhead import weights
from talkhead.errors import Code, TalkheadError
from talkhead.weights import bundle as bundling
from talkhead.weights import locate, planning, record
from talkhead.weights.bundle import Bundled, Wanted, bundle
from talkhead.weights.locate import Places
from talkhead.weights.supply import finder, lacking
from talkhead.weights.verify import verify

MANIFEST = """
[repos."org/model"]
licence = "MIT"
commercial = true
[repos."org/text"]
[repos."org/closed"]
licence = "CC BY-NC 4.0"
commercial = false
[files.base]
repo = "org/model"
path = "part*"
[files.vae]
repo = "org/model"
path = "vae.safetensors"
[files.vae-pickle]
repo = "org/model"
path = "vae_official.pth"
[files.text]
repo = "org/text"
path = "text.safetensors"
part = "text encoder"
[files.tokenizer]
repo = "org/text"
path = "tok/"
[sets.whole]
about = "all"
files = ["base", "vae", "text", "tokenizer"]
[sets.other]
about = "less"
files = ["vae"]
[alternatives]
vae = ["vae-pickle"]
"""
KNOWN = weights.read(MANIFEST)
PARTS = ("part-00001-of-00002.safetensors", "part-00002-of-00002.safetensors")
FILES = {
    *(f"org/model/bf16/{part}" for part in PARTS),
    "org/model/vae_official.safetensors",
    "org/text/text.safetensors",
    "org/text/tok/deep/tokenizer.json",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a weights folder with conversions, an alternative and a file of an older layout."""
    root = tmp_path / "root"
    for part in PARTS:
        write(root / "org/model" / part, safetensors({part: (9,)}))
        write(root / "org/model/bf16" / part, safetensors({part: (5,)}))
    write(root / "org/model/vae_official.safetensors", safetensors({"v": (3,)}))
    write(root / "text/text.safetensors", safetensors({"t": (3,)}))
    write(root / "org/text/tok/deep/tokenizer.json", b"{}")
    write(root / "org/text/tok/.hidden", b"{}")
    write(tmp_path / "prompts/0a.safetensors", safetensors({"rows": (3,)}))
    return root


def run(root: Path, name: str = "whole", *, text: bool = True, into: str = "bundle") -> Bundled:
    wanted = Wanted(name, root.parent / into, text, (root.parent / "prompts",))
    done = bundle(wanted, Places(root), KNOWN)
    assert not list(done.folder.rglob("*.partial"))
    return done


def held(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refusal(root: Path, name: str = "whole", *, text: bool = True) -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        run(root, name, text=text)
    return caught.value


def test_a_bundle_holds_the_set_and_no_more(root: Path) -> None:
    folder = run(root).folder
    assert held(folder) == FILES | {"prompts/0a.safetensors", "README.md", "talkhead.json"}
    assert (folder / "org/model/bf16" / PARTS[0]).samefile(root / "org/model/bf16" / PARTS[0])
    told = json.loads((folder / "talkhead.json").read_text())
    assert (told["set"], told["text_encoder"]) == ("whole", True)
    assert {file["path"] for file in told["files"]} == FILES | {"prompts/0a.safetensors"}
    assert all(file["bytes"] == (folder / file["path"]).stat().st_size for file in told["files"])
    assert {file.get("id") for file in told["files"]} == {
        "base", "vae-pickle", "text", "tokenizer", None,
    }  # fmt: skip


def test_sums_are_told_where_they_are_known(root: Path) -> None:
    file = root / "org/text/text.safetensors"
    (root / "text/text.safetensors").rename(write(file, b""))
    record.write(root, KNOWN.files["text"], "c0ffee", (record.seen(root, file, "5" * 64),))
    told = json.loads((run(root).folder / "talkhead.json").read_text())
    sums = {entry["path"]: entry.get("sha256") for entry in told["files"]}
    assert sums["org/text/text.safetensors"] == "5" * 64
    assert sums["org/model/vae_official.safetensors"] is None


def test_the_page_lists_licences(root: Path) -> None:
    page = (run(root).folder / "README.md").read_text()
    assert page.startswith("---\nlicense: other\nlicense_name: several\n")
    assert "| [org/model](https://huggingface.co/org/model) | main | MIT | allowed |" in page
    assert "| main | not stated in our sources: see the model's page | see its page |" in page
    page = (run(root, "other", into="less").folder / "README.md").read_text()
    assert page.startswith("---\nlicense: mit\n")


def test_a_bundle_works_as_the_weights_folder(root: Path) -> None:
    places = Places(run(root).folder)
    assert lacking(["whole"], places, KNOWN) == ()
    assert finder(places, KNOWN)("base")[0] == places.root / "org/model/bf16" / PARTS[0]
    assert locate.prompt_folders(places) == (places.root / "prompts",)
    assert locate.prompt_folders(Places(root)) == ()
    assert run(places.root, into="again").copied == 0  # and may be bundled itself


@pytest.mark.parametrize("cache", ["hub", "volume/huggingface-cache/hub"])
def test_a_bundle_in_a_cache_is_found(root: Path, tmp_path: Path, cache: str) -> None:
    blobs = tmp_path / cache / "models--me--bundle/blobs"
    snapshot = blobs.parent / "snapshots" / ("a" * 40)
    for name in held(folder := run(root).folder):
        blob = write(blobs / name.replace("/", "-"), (folder / name).read_bytes())
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    places = Places(tmp_path / "none", (tmp_path / "volume",), (tmp_path / "hub",))
    assert lacking(["whole"], places, KNOWN) == ()
    assert finder(places, KNOWN)("vae") == (snapshot / "org/model/vae_official.safetensors",)
    assert finder(places, KNOWN)("text") == (snapshot / "org/text/text.safetensors",)
    assert locate.prompt_folders(places) == (snapshot / "prompts",)
    newer = write(blobs.parent / "refs/main", b"b" * 40).parent.parent / "snapshots" / ("b" * 40)
    for name in ("talkhead.json", "org/text/text.safetensors"):
        write(newer / name, (folder / name).read_bytes())
    assert finder(places, KNOWN)("text") == (snapshot / "org/text/text.safetensors",)  # kept
    assert locate.find(KNOWN.files["text"], places).paths[0].is_relative_to(newer)
    (snapshot / "talkhead.json").unlink()
    assert locate.find(KNOWN.files["base"], places).paths == ()
    again = bundle(Wanted("other", tmp_path / "again", True, ()), Places(folder), KNOWN)
    assert held(again.folder) == {
        "org/model/vae_official.safetensors", "README.md", "talkhead.json",
    }  # fmt: skip


def test_files_of_a_cache_are_not_links_in_a_bundle(root: Path, tmp_path: Path) -> None:
    text = root / "text/text.safetensors"
    text.rename(tmp_path / "blob")
    text.symlink_to(tmp_path / "blob")
    copy = run(root).folder / "org/text/text.safetensors"
    assert not copy.is_symlink()
    assert copy.samefile(tmp_path / "blob")


def test_without_the_text_encoder_prompts_have_to_do(root: Path) -> None:
    folder = run(root, text=False).folder
    assert "org/text/text.safetensors" not in held(folder)
    assert "org/text/tok/deep/tokenizer.json" in held(folder)
    assert json.loads((folder / "talkhead.json").read_text())["text_encoder"] is False
    (root.parent / "prompts/0a.safetensors").unlink()
    error = refusal(root, text=False)
    assert f"there are none in {root.parent / 'prompts'}" in error.message
    assert "talkhead weights prompts" in error.hint


def test_what_lacks_is_told_at_once(root: Path) -> None:
    (root / "text/text.safetensors").unlink()
    for part in PARTS:
        (root / "org/model/bf16" / part).unlink()
        (root / "org/model" / part).unlink()
    (root / "org/model/vae_official.safetensors").unlink()
    write(root / "org/model/vae_official.pth", b"\x80\x02" + bytes(60))
    error = refusal(root)
    assert error.code is Code.WEIGHTS
    assert error.message == "not here: base, text; here as pickles alone: vae-pickle"
    assert "`talkhead weights pull base text`, `talkhead weights convert vae-pickle`" in error.hint
    assert not (root.parent / "bundle").exists()


def test_other_folders_are_left_alone(root: Path) -> None:
    mine = write(root.parent / "bundle/mine.txt", b"x")
    assert "holds other things, such as mine.txt" in refusal(root).message
    assert held(mine.parent) == {"mine.txt"}
    mine.unlink()
    assert "vae is a file, not a set" in refusal(root, "vae").message
    assert "did you mean 'whole'" in refusal(root, "whale").message


def test_a_bundle_made_again_is_the_new_set(root: Path) -> None:
    folder = run(root).folder
    run(root, "other")
    assert held(folder) == {
        "org/model/vae_official.safetensors",
        "prompts/0a.safetensors", "README.md", "talkhead.json",
    }  # fmt: skip


def test_another_disk_gets_copies(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", refuse)
    done = run(root)
    assert done.copied == len(done.pieces) == 6
    assert not (done.folder / "org/text/text.safetensors").samefile(root / "text/text.safetensors")
    assert run(root).copied == 0  # they are there


def test_a_bundle_that_was_stopped_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bundling._put

    def full(piece: bundling.Piece, target: Path) -> bool:
        if "text" in piece.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(piece, target)

    with monkeypatch.context() as patched:
        patched.setattr(bundling, "_put", full)
        assert refusal(root).code is Code.CAPACITY
    folder = root.parent / "bundle"
    assert not (folder / "talkhead.json").exists()
    assert run(root).folder == folder
    assert (folder / "talkhead.json").exists()


def test_one_volume_is_valid_under_two_names(root: Path, tmp_path: Path) -> None:
    """A volume is /workspace in a pod, where it is filled, and /runpod-volume in a worker."""
    (tmp_path / "workspace").mkdir()
    root.rename(tmp_path / "workspace/weights")
    pod = Places(tmp_path / "workspace/weights", (tmp_path / "workspace",))
    file = write(pod.root / "org/model/vae.safetensors", safetensors({"v": (3,)}))
    sha256 = record.sha256_of(file)
    record.write(pod.root, KNOWN.files["vae"], "c0ffee", (record.seen(pod.root, file, sha256),))
    in_pod = {name: finder(pod, KNOWN)(name) for name in ("base", "vae", "text")}
    (tmp_path / "workspace").rename(tmp_path / "runpod-volume")
    mount = tmp_path / "runpod-volume"
    for places in (Places(mount / "weights", (mount,)), Places(tmp_path / "unset", (mount,))):
        assert lacking(["whole"], places, KNOWN) == ()
        for name, paths in in_pod.items():
            moved = tuple(mount / path.relative_to(tmp_path / "workspace") for path in paths)
            assert finder(places, KNOWN)(name) == moved
        _, missing = planning.pending(weights.chosen(["vae"], KNOWN), places, KNOWN)
        assert not missing
    (verdict,) = verify([KNOWN.files["vae"]], Places(mount / "weights", (mount,)))
    assert verdict.why == "size and sha256 are those of the pull"
