"""The manifest that ships is whole, and says no more than is known."""

import re
from pathlib import Path, PurePosixPath

import pytest

from support.weights import MANIFEST
from talkhead import weights
from talkhead.errors import Code, TalkheadError
from talkhead.serve.weights_page import page
from talkhead.weights import forms

PAGE = Path(__file__).parents[3] / "docs" / "weights.md"
SHIPPED = weights.manifest()


def test_every_repo_is_used_and_every_name_is_plain() -> None:
    used = {file.repo.name for file in SHIPPED.files.values()}
    text = Path(weights.__file__).with_name("manifest.toml").read_text()
    named = set(re.findall(r'^\[repos\."?([^"\]]+)"?\]', text, re.MULTILINE))
    assert used == named
    for name in (*SHIPPED.files, *SHIPPED.sets):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name), name
    assert not set(SHIPPED.files) & set(SHIPPED.sets)  # one word means one thing


@pytest.mark.parametrize("file", SHIPPED.files.values(), ids=lambda file: file.id)
def test_a_file_has_a_safe_place_and_honest_facts(file: weights.File) -> None:
    for path in (file.path, *file.also):
        assert not PurePosixPath(path).is_absolute()
        assert ".." not in PurePosixPath(path).parts
    assert file.sha256 == "" or re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert file.bytes is None or file.bytes > 0
    assert file.about_gb is None or 0 <= file.about_gb < 100
    assert file.repo.local or file.repo.url or re.fullmatch(r"[\w.-]+/[\w.-]+", file.repo.name)
    # a licence without a word on commercial use, or the reverse, would be a guess
    assert (file.repo.commercial is None) == (file.repo.licence == "")


def test_no_two_files_share_a_place() -> None:
    places = [file.place for file in SHIPPED.files.values()]
    assert len(places) == len(set(places))


def test_the_older_systems_sets_are_as_its_tables_have_them() -> None:
    hq = {file.path.rpartition("/")[2] for file in SHIPPED.sets["infinitetalk-hq"].files}
    fast = {file.path.rpartition("/")[2] for file in SHIPPED.sets["infinitetalk-fast"].files}
    assert hq - fast == {
        "wan2.1-i2v-14b-480p-Q5_0.gguf",
        "lightx2v_I2V_14B_480p_cfg_step_distill_rank256_bf16.safetensors",
    }
    assert fast - hq == {
        "wan2.1-i2v-14b-480p-Q4_0.gguf",
        "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors",
    }
    assert SHIPPED.files["wav2vec2-zh"].repo.revision == "refs/pr/1"


def test_what_forbids_commercial_use_is_known() -> None:
    forbidden = {s.name for s in SHIPPED.sets.values() if s.noncommercial}
    assert forbidden == {"sonic"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('files = ["big", "tokenizer"]', 'files = ["bog"]', "bog"),
        ('repo = "org/closed"', 'repo = "org/clsed"', "org/clsed"),
    ],
)
def test_dangling_names_are_named(old: str, new: str, told: str) -> None:
    with pytest.raises(TalkheadError, match=told) as caught:
        weights.read(MANIFEST.replace(old, new))
    assert caught.value.code is Code.INTERNAL


def test_the_official_sets_load_as_they_are_pulled() -> None:
    """No pickle is in them, and all that the fast preset reads is."""
    for name in ("infinitetalk", "infinitetalk-multi"):
        files = SHIPPED.sets[name].files
        assert not [file.id for file in files if forms.pickled(file)]
        assert "lightx2v-i2v-rank64" in {file.id for file in files}
        other = {file.id for file in SHIPPED.sets[f"{name}-official"].files}
        for file in files:
            assert other & {way.id for way in SHIPPED.ways(file.id)}, file.id


def test_alternatives_go_both_ways() -> None:
    for name, others in SHIPPED.alternatives.items():
        assert all(name in SHIPPED.alternatives[other] for other in others)


OWN = """
[repos."org/tiny"]
[files.wan-vae-comfy]
repo = "org/tiny"
path = "vae.safetensors"
[files.tiny]
repo = "Kijai/WanVideo_comfy"
path = "tiny.safetensors"
shapes = {a = [2, 3]}
[sets.kokoro]
about = "tiny"
files = ["tiny", "wan-t5"]
[alternatives]
tiny = ["wan-t5"]
"""


def test_an_operators_manifest_adds_and_replaces(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(OWN)
    known = weights.known(mine)
    assert known.files["wan-vae-comfy"].path == "vae.safetensors"
    assert known.files["wan-vae-comfy"] in known.sets["infinitetalk"].files
    assert known.files["tiny"].shapes == {"a": (2, 3)}
    assert [file.id for file in known.sets["kokoro"].files] == ["tiny", "wan-t5"]
    assert [file.id for file in known.ways("tiny")] == ["tiny", "wan-t5"]
    assert known.alternatives["wan-vae"] == ("wan-vae-comfy",)
    assert weights.known(None) is weights.manifest() is weights.known()
    mine.write_text(OWN.replace("vae.safetensors", "longer.safetensors"))
    assert weights.known(mine).files["wan-vae-comfy"].path == "longer.safetensors"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[repos", "[reposs", "^FILE: reposs: no such section; known: repos, files"),
        ('path = "tiny', 'bytes = "tiny', "FILE: files.tiny.bytes: not a whole number"),
        ('path = "tiny.safetensors"', "", "FILE: files.tiny.path: missing"),
        ("tiny.safetensors", "/etc/passwd", "FILE: files.tiny.path: not a path below its repo"),
        ("tiny.safetensors", "a/../../b", "FILE: files.tiny.path: not a path below its repo"),
        ("shapes =", "shape =", "FILE: files.tiny.shape: no such field; known: repo, path"),
        ("[2, 3]", '["x"]', "FILE: files.tiny.shapes: a is not a whole number"),
        ("{a = [2, 3]}", "[2]", "FILE: files.tiny.shapes: not a table"),
        ("Kijai/WanVideo_comfy", "nobody", "FILE: files.tiny.repo: there is no repo nobody"),
        ('"tiny", "wan-t5"', '"tny"', "FILE: sets.kokoro.files: names unknown files ..tny"),
        ('tiny = ["wan-t5"]', 'tiny = ["x"]', "FILE: alternatives.tiny: names unknown files"),
        ('tiny = ["wan-t5"]', "tiny = 3", "FILE: alternatives.tiny: not a list"),
        ("[files.tiny]", "[files.tiny", r"FILE: cannot be read: .*line 6"),
        (
            "shapes = {a = [2, 3]}",
            "recognise = {tensor = {}}",
            "FILE: files.tiny.recognise: tensor is no field; known: tensors",
        ),
    ],
)
def test_a_broken_manifest_names_line_or_field(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    mine = tmp_path / "mine.toml"
    assert old in OWN
    mine.write_text(OWN.replace(old, new))
    with pytest.raises(TalkheadError, match=told.replace("FILE", re.escape(str(mine)))) as caught:
        weights.known(mine)
    assert caught.value.code is Code.INPUT
    assert "TALKHEAD_WEIGHTS_MANIFEST" in caught.value.hint


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkheadError, match=r"nowhere\.toml: cannot be read: No such file"):
        weights.known(tmp_path / "nowhere.toml")


def test_names_choose_files_once_and_in_order() -> None:
    known = weights.read(MANIFEST)
    assert [(name, file.id) for name, file in weights.chosen(["small", "all"], known)] == [
        ("small", "big"),
        ("small", "tokenizer"),
        ("all", "shards"),
        ("all", "config"),
    ]
    assert [file.id for _, file in weights.chosen(["hand"], known)] == ["hand"]
    with pytest.raises(TalkheadError, match="did you mean 'small'"):
        weights.chosen(["smal"], known)


def test_the_page_shows_the_manifest_as_it_is() -> None:
    assert page() in PAGE.read_text(), "paste the output of weights_page.page() into the page"
