"""The manifest that ships is whole, and says no more than is known."""

import re
from pathlib import Path, PurePosixPath

import pytest

from support.weights import MANIFEST
from talkhead import weights
from talkhead.errors import Code, TalkheadError
from talkhead.serve.weights_page import page

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
