"""Which files are taken, by what is asked for and what is here."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.installation import finder
from talkhead.engines.omniavatar.choice import (
    MODELS,
    SPEECH,
    SPEECH_CONFIG,
    Choice,
    choice_of,
    located,
    transformer,
)
from talkhead.errors import Code, TalkheadError
from talkhead.models.wan_files import SMALL_TEXT, TEXT, TOKENIZER, VAE
from talkhead.weights import manifest
from talkhead.weights.locate import Places
from talkhead.weights.supply import finder as supplied

LARGE, SMALL = MODELS["14B"], MODELS["1.3B"]
REST = ("wan-vae-comfy", "wav2vec2-en", "wav2vec2-en-config")


def here(*names: str) -> Any:
    return finder({name: (Path(name),) for name in names})


def taken(*names: str, **choice: Any) -> list[str]:
    found = transformer(here(*names), Choice(**choice))
    return [found.model, *(str(file) for file in found.files)]


def test_all_ids_are_in_the_manifest_and_in_their_sets() -> None:
    known = manifest()
    shared = {*VAE, *TEXT, *TOKENIZER, *SMALL_TEXT, *SPEECH, *SPEECH_CONFIG}
    assert shared <= set(known.files)
    for model in MODELS.values():
        held = {file.id for file in known.sets[model.set].files}
        assert {model.base, model.base_config, model.delta, model.delta_config} <= held
        assert {VAE[0], TEXT[0], TOKENIZER[0], SPEECH[0], SPEECH_CONFIG[0]} <= held
        merged = known.files[model.merged]
        assert merged.merges == (model.base, model.delta, model.delta_config)
        assert merged in known.instead(model.base)


FULL14 = ("wan-t2v-config", "wan-t2v", "omniavatar-14b-delta")
FULL13 = ("wan-t2v-small-config", "wan-t2v-small", "omniavatar-1-3b-delta")
M14, M13 = "omniavatar-14b-merged", "omniavatar-1-3b-merged"


@pytest.mark.parametrize(
    ("names", "model", "wanted"),
    [
        ((*FULL14, *FULL13), "auto", "14B"),
        ((*FULL14, *FULL13), "1.3B", "1.3B"),
        (FULL13, "auto", "1.3B"),
        (("wan-t2v", *FULL13), "auto", "1.3B"),
        ((M14, "wan-t2v-config", *FULL13), "auto", "14B"),
        ((M13, "wan-t2v-small-config"), "auto", "1.3B"),
    ],
)
def test_the_best_that_is_here(names: tuple[str, ...], model: str, wanted: str) -> None:
    assert taken(*names, model=model)[0] == wanted


def test_a_merged_copy_is_taken_first() -> None:
    whole = transformer(here(*FULL14, "omniavatar-14b-config"), Choice())
    assert whole.delta == Path("omniavatar-14b-delta")
    assert whole.delta_config == Path("omniavatar-14b-config")
    assert transformer(here(*FULL14), Choice()).delta_config is None
    merged = transformer(here(*FULL14, M14, "omniavatar-14b-config"), Choice())
    assert merged == ("14B", Path("wan-t2v-config"), (Path(M14),), None, None)


def test_an_index_of_parts_is_no_file_of_weights() -> None:
    files = {
        "wan-t2v": (Path("a.json"), Path("a.safetensors")),
        **{name: (Path(name),) for name in FULL14 if name != "wan-t2v"},
    }
    found = transformer(finder(files), Choice())
    assert found.weights == (Path("a.safetensors"),)
    assert Path("a.json") in found.files


@pytest.mark.parametrize(
    ("names", "model", "lost"),
    [
        ((), "auto", "wan-t2v"),
        ((), "1.3B", "wan-t2v-small"),
        (FULL14, "1.3B", "wan-t2v-small"),
        (("wan-t2v-small",), "auto", "omniavatar-1-3b-delta"),
        (("wan-t2v", "wan-t2v-small"), "auto", "omniavatar-14b-delta"),
        ((M14,), "auto", "wan-t2v-config"),
    ],
)
def test_what_lacks_is_named(names: tuple[str, ...], model: str, lost: str) -> None:
    with pytest.raises(TalkheadError, match=f"^{lost} is not there") as caught:
        transformer(here(*names), Choice(model))
    assert caught.value.code is Code.WEIGHTS
    name = "omniavatar-1.3b" if "small" in lost or "1-3b" in lost else "omniavatar"
    assert f"`talkhead weights pull {name}`" in caught.value.hint


def test_the_real_finder_says_what_to_do(tmp_path: Path) -> None:
    files = supplied(Places(tmp_path), manifest())
    with pytest.raises(TalkheadError) as caught:
        located(files, Choice())
    assert caught.value.message.startswith("wan-t2v (diffusion_pytorch_model*): not found")
    assert "`talkhead weights pull omniavatar`" in caught.value.hint
    assert caught.value.hint.count("weights pull omniavatar") == 1


def test_all_files_of_a_job() -> None:
    names = [str(path) for path in located(here(*FULL14, *REST), Choice("14B", "fp8"))]
    assert sorted(names) == sorted([*FULL14, *REST])
    with pytest.raises(TalkheadError, match="wav2vec2-en-config is not there"):
        located(here(*FULL14, *REST[:2]), Choice())
    assert located(here(*FULL14, "wan-vae", *REST[1:]), Choice())


def test_what_is_asked_for() -> None:
    assert choice_of({"model": "auto", "quant": None}) == Choice()
    assert choice_of({"model": "1.3B", "quant": "int8"}) == Choice("1.3B", "int8")
    for asked, field in (
        ({"model": "14B", "quant": "gguf"}, "memory.quant"),
        ({"model": "2B", "quant": None}, "options.model"),
    ):
        with pytest.raises(TalkheadError) as caught:
            choice_of(asked)
        assert caught.value.code is Code.INPUT
        assert list(caught.value.fields) == [field]


def test_planning_loads_no_torch() -> None:
    code = "import sys, talkhead.engines.omniavatar.choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
