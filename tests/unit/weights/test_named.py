"""Places that an operator names are looked at first, files and folders."""

from pathlib import Path

import pytest

from support.weights import safetensors, write
from talkhead import weights
from talkhead.environment import named_of
from talkhead.weights import locate
from talkhead.weights.locate import Places

ADAPTER = safetensors(
    {
        "audio_proj.proj1.weight": (1, 2),
        "audio_proj.proj1_vf.weight": (1, 2),
        "audio_proj.proj2.weight": (1, 2),
        "audio_proj.proj3.weight": (1, 2),
    }
)
SINGLE, MULTI = "infinitetalk-single-adapter", "infinitetalk-multi-adapter"
KNOWN = weights.read(
    """
[repos."MeiGen-AI/InfiniteTalk"]
[files.infinitetalk-single-adapter]
repo = "MeiGen-AI/InfiniteTalk"
path = "single/infinitetalk.safetensors"
[files.infinitetalk-multi-adapter]
repo = "MeiGen-AI/InfiniteTalk"
path = "multi/infinitetalk.safetensors"
[files.infinitetalk-single-fp8]
repo = "MeiGen-AI/InfiniteTalk"
path = "quant_models/infinitetalk_single_fp8.safetensors"
[files.infinitetalk-single-fp8-map]
repo = "MeiGen-AI/InfiniteTalk"
path = "quant_models/infinitetalk_single_fp8.json"
[sets.none]
about = ""
files = []
"""
)


def found(tmp_path: Path, name: str, **env: str) -> Path | None:
    named = {entry: Path(place) for entry, place in named_of(env).items()}
    paths = locate.find(KNOWN.files[name], Places(tmp_path / "none", named=named)).paths
    return paths[0] if paths else None


@pytest.mark.parametrize(
    "named",
    [
        "it/single/infinitetalk.safetensors",
        "it/multi/infinitetalk.safetensors",
        "it/single",
        "it/multi/",
        "it",
    ],
)
def test_an_adapters_file_or_folder_names_both(tmp_path: Path, named: str) -> None:
    single = write(tmp_path / "it/single/infinitetalk.safetensors", ADAPTER)
    env = {"INFINITETALK_DIR": f"{tmp_path}/{named}"}
    if "multi" not in named:
        assert found(tmp_path, SINGLE, **env) == single
        assert found(tmp_path, MULTI, **env) is None  # never the other one's file
    multi = write(tmp_path / "it/multi/infinitetalk.safetensors", ADAPTER)
    assert found(tmp_path, SINGLE, **env) == single
    assert found(tmp_path, MULTI, **env) == multi


def test_a_lone_adapter_is_for_one_speaker(tmp_path: Path) -> None:
    file = write(tmp_path / "it/infinitetalk.safetensors", ADAPTER)
    for named in (file, file.parent):
        assert found(tmp_path, SINGLE, INFINITETALK_DIR=str(named)) == file
        assert found(tmp_path, MULTI, INFINITETALK_DIR=str(named)) is None


def test_quantised_files_lie_beside_each_other(tmp_path: Path) -> None:
    file = write(tmp_path / "quant/infinitetalk_single_fp8.safetensors", ADAPTER)
    beside = write(tmp_path / "quant/infinitetalk_single_fp8.json", b"{}")
    for named in (file, file.parent):
        assert found(tmp_path, "infinitetalk-single-fp8", QUANT_DIR=str(named)) == file
        assert found(tmp_path, "infinitetalk-single-fp8-map", QUANT_DIR=str(named)) == beside


def test_a_named_place_that_does_not_do_is_told(tmp_path: Path) -> None:
    empty = write(tmp_path / "it/single/infinitetalk.safetensors", b"")
    real = write(tmp_path / "root/MeiGen-AI/InfiniteTalk/single/infinitetalk.safetensors", ADAPTER)
    located = locate.find(KNOWN.files[SINGLE], Places(tmp_path / "root", named={SINGLE: empty}))
    assert located.paths == (real,)
    assert (located.looked[0].path, "0 bytes" in located.looked[0].why) == (empty, True)
