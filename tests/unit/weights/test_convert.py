"""Pickles become safetensors that our loaders read, whole or not at all, and run nothing."""

import json
import os
import pickle
import shutil
import struct
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from support import wan
from support.weights import write
from talkhead import weights
from talkhead.errors import Code, TalkheadError
from talkhead.models import text, vision, wan_vae_files
from talkhead.weights import convert, locate, sound
from talkhead.weights.convert import Wanted
from talkhead.weights.locate import Places
from talkhead.weights.stopping import Until

Usage = namedtuple("Usage", "total used free")
CPU = torch.device("cpu")
OFFICIAL = "Wan-AI/Wan2.1-I2V-14B-480P"

MANIFEST = """
[repos."org/model"]
[files.one]
repo = "org/model"
path = "deep/one.pth"
[files.tower]
repo = "org/model"
path = "tower.pth"
keep = "visual."
[files.shards]
repo = "org/model"
path = "part*"
[files.adapter]
repo = "org/model"
path = "adapter.safetensors"
[files.quantised]
repo = "org/model"
path = "base.gguf"
[files.folder]
repo = "org/model"
path = "tok/"
[sets.all]
about = "all"
files = ["one", "tower", "shards", "adapter", "quantised", "folder"]
[sets.safe]
about = "no pickle"
files = ["adapter"]
"""
KNOWN = weights.read(MANIFEST)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/talkhead-evil",)


def saved(path: Path, content: object, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **more)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def run(
    root: Path, *names: str, dtype: str = "", known: weights.Manifest = KNOWN
) -> tuple[convert.Converted, ...]:
    said: list[str] = []
    done = convert.convert(
        Wanted(names, root, dtype),
        Places(root, (root.parent / "volume",)),
        known,
        Until(60),
        lambda event, **_: said.append(event),
        0.0,
    )
    assert not list(root.rglob("*.partial"))
    return done


def refusal(root: Path, *names: str, dtype: str = "") -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        run(root, *names, dtype=dtype)
    assert not list(root.rglob("*.partial"))
    assert not [path for path in root.rglob("*.safetensors") if sound.fault(path)]
    return caught.value


def some() -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(1)
    base = torch.randn(6, 4, generator=made)
    return {
        "a.weight": base,
        "a.part": base[1:3],  # shares its storage
        "a.turned": base.T,  # not contiguous
        "half": torch.randn(5, generator=made).to(torch.bfloat16),
        "one": torch.tensor(3.0),
        "none": torch.empty(0, 3),
        "steps": torch.arange(3),
        "flag": torch.tensor([True, False]),
        "tiny": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def same(path: Path, wanted: dict[str, Tensor]) -> None:
    found = load_file(path)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].float(), tensor.detach().float()), name


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": x}, lambda x: {"model": x}])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_tensor_is_as_it_was(root: Path, wrap: Any, zipped: bool) -> None:
    wanted = some()
    if not zipped:
        del wanted["tiny"]  # torch cannot read back what it wrote
    saved(root / "org/model/deep/one.pth", wrap(wanted), _use_new_zipfile_serialization=zipped)
    (done,) = run(root, "one")
    assert done.paths == (root / "org/model/deep/one.safetensors",)
    assert done.bytes > 0
    same(done.paths[0], wanted)
    with done.paths[0].open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    assert header["__metadata__"] == {"format": "pt"}
    again = run(root, "one")
    assert again[0].bytes == 0
    assert again[0].paths == done.paths


def test_what_was_converted_is_found_first(root: Path) -> None:
    volume = root.parent / "volume"
    pickled = saved(volume / "model/deep/one.pth", some())
    places = Places(root, (volume,))
    found = locate.find(KNOWN.files["one"], places)
    assert (found.paths, found.pickle) == ((pickled,), True)
    (done,) = run(root, "one")
    found = locate.find(KNOWN.files["one"], places)
    assert (found.paths, found.pickle) == (done.paths, False)
    assert str(found.names[0]) == "org/model/deep/one.safetensors"
    (narrow,) = run(root, "one", dtype="bf16")
    assert narrow.paths == (root / "org/model/bf16/deep/one.safetensors",)
    assert locate.find(KNOWN.files["one"], places).paths == narrow.paths
    pickled.unlink()
    narrow.paths[0].write_bytes(b"")
    found = locate.find(KNOWN.files["one"], places)
    assert found.paths == done.paths  # what is damaged is passed over, and named
    assert [(place.path, "0 bytes" in place.why) for place in found.looked] == [
        (narrow.paths[0], True)
    ]
    assert run(root, "one")[0].bytes == 0  # the pickle is not needed any more


def test_a_conversion_in_another_place_is_used_there(root: Path) -> None:
    volume = root.parent / "volume"
    saved(volume / "org/model/deep/one.pth", some())
    made = run(volume, "one")[0].paths
    (done,) = run(root, "one")
    assert (done.paths, done.bytes) == (made, 0)
    (narrow,) = run(root, "one", dtype="bf16")
    assert narrow.paths[0].is_relative_to(root)


def test_a_type_changes_floats_alone(root: Path) -> None:
    saved(root / "org/model/deep/one.pth", some())
    (done,) = run(root, "one", dtype="bf16")
    wanted = {
        name: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor
        for name, tensor in some().items()
    }
    same(done.paths[0], wanted)


def test_large_tensors_go_in_pieces(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkhead.weights.tensors.PIECE", 7)
    saved(root / "org/model/deep/one.pth", some())
    same(run(root, "one")[0].paths[0], some())
    (done,) = run(root, "one", dtype="fp16")
    assert torch.equal(load_file(done.paths[0])["a.turned"], some()["a.turned"].half())


def test_split_files_stay_split_and_their_index_is_left(root: Path) -> None:
    folder = root / "org/model"
    folder.mkdir(parents=True)
    parts = {
        f"part-0000{part}-of-00002.safetensors": {f"w{part}": torch.ones(3)} for part in (1, 2)
    }
    for name, tensors in parts.items():
        save_file(tensors, folder / name)
    write(folder / "part.safetensors.index.json", b"{}")
    (done,) = run(root, "shards", dtype="bf16")
    assert done.paths == tuple(folder / "bf16" / name for name in parts)
    assert load_file(done.paths[1])["w2"].dtype == torch.bfloat16
    found = locate.find(KNOWN.files["shards"], Places(root))
    assert found.paths == done.paths
    assert found.names[1].as_posix() == "org/model/bf16/part-00002-of-00002.safetensors"
    done.paths[0].unlink()
    assert locate.find(KNOWN.files["shards"], Places(root)).paths[0].parent == folder
    (mended,) = run(root, "shards", dtype="bf16")
    assert 0 < mended.bytes < done.bytes  # the part that was left is kept


def test_only_what_an_entry_keeps_is_written(root: Path) -> None:
    saved(root / "org/model/tower.pth", {"visual.a": torch.ones(2), "textual.b": torch.ones(3)})
    (done,) = run(root, "tower")
    assert load_file(done.paths[0]).keys() == {"visual.a"}
    done.paths[0].unlink()
    saved(root / "org/model/tower.pth", {"textual.b": torch.ones(3)})
    assert "holds no tensors called visual." in refusal(root, "tower").message


def test_a_hostile_pickle_runs_nothing(root: Path) -> None:
    marker = Path("/tmp/talkhead-evil")
    marker.unlink(missing_ok=True)
    for content in ({"a": Evil()}, Evil()):
        path = saved(root / "org/model/deep/one.pth", content)
        error = refusal(root, "one")
        assert error.code is Code.WEIGHTS
        assert str(path) in error.message
        assert "nothing in it was run" in error.message
    path.write_bytes(pickle.dumps(Evil()))
    assert "nothing in it was run" in refusal(root, "one").message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.ones(2)], "holds one list, not tensors"),
        (torch.ones(2), "holds one Tensor, not tensors"),
        ({"a": torch.ones(2), "epoch": 3}, "'epoch' in it is int, no tensor"),
        ({"a": {"b": torch.ones(2)}}, "'a' in it is dict, no tensor"),
        ({3: torch.ones(2)}, "'3' in it is Tensor, no tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "a in it is torch.complex64"),
        ({}, "holds no tensors"),
    ],
)
def test_what_is_no_table_of_tensors_is_named(root: Path, content: object, told: str) -> None:
    saved(root / "org/model/deep/one.pth", content)
    error = refusal(root, "one")
    assert error.code is Code.WEIGHTS
    assert told in error.message


def test_damage_and_absence_are_named(root: Path) -> None:
    assert "one: it is not on this machine" in refusal(root, "one").message
    assert "talkhead weights pull one" in refusal(root, "one").hint
    path = write(root / "org/model/deep/one.pth", b"")
    assert f"one: {path} is empty" in refusal(root, "one").message
    path.write_bytes(os.urandom(500))
    assert "not a pickle of tensors alone" in refusal(root, "one").message


def test_what_needs_no_conversion_is_said(root: Path) -> None:
    assert refusal(root, "adapter").message == "adapter is safe to load as it is"
    assert "--dtype bf16" in refusal(root, "adapter").hint
    assert refusal(root, "quantised", dtype="bf16").message == "quantised is no pickle"
    assert refusal(root, "folder", dtype="bf16").message == "folder is no pickle"
    assert "there are no pickles in safe" in refusal(root, "safe").message


def test_numbers_must_fit_the_type(root: Path) -> None:
    saved(root / "org/model/deep/one.pth", {"big": torch.tensor([1.0, 1e6])})
    assert (
        "numbers in big that are too large for fp16" in refusal(root, "one", dtype="fp16").message
    )
    saved(root / "org/model/deep/one.pth", {"inf": torch.tensor([1.0, float("-inf")])})
    run(root, "one", dtype="fp16")


def test_a_small_disk_is_refused_before_a_byte(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(root / "org/model/deep/one.pth", {"a": torch.ones(1000)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10_000, 6000, 4000))
    error = refusal(root, "one")
    assert error.code is Code.CAPACITY
    assert run(root, "one", dtype="bf16")[0].bytes == 2000


def test_a_stop_leaves_nothing(root: Path) -> None:
    saved(root / "org/model/deep/one.pth", some())
    until = Until(60)

    def stop(event: str, **_: object) -> None:
        if event == "weights.convert":
            until.cancel.set()

    with pytest.raises(TalkheadError) as caught:
        convert.convert(Wanted(("one",), root), Places(root), KNOWN, until, stop, 0.0)
    assert caught.value.code is Code.CANCELLED
    assert [path.name for path in (root / "org/model/deep").iterdir()] == ["one.pth"]


def test_the_official_pickles_load(root: Path) -> None:
    """What our loaders make of a converted file is what they make of the tensors themselves."""
    known, folder = weights.manifest(), root / OFFICIAL
    model = wan.vae()
    contents = {
        "wan-vae": wan.official_vae(model),
        "wan-t5": wan.official_text(),
        "wan-clip": wan.official_clip(),
    }
    for name, tensors in contents.items():
        saved(folder / known.files[name].path, tensors)
    run(root, "infinitetalk-official", known=known)
    found = {name: locate.find(known.files[name], Places(root)).paths[0] for name in contents}
    assert all(path.suffix == ".safetensors" for path in found.values())
    vae = wan_vae_files.load_vae(found["wan-vae"], CPU, torch.float32)
    assert all(torch.equal(vae.state_dict()[name], a) for name, a in model.state_dict().items())
    encoder = text.load_encoder([found["wan-t5"]], CPU, torch.float32)
    assert torch.equal(encoder.embed_tokens.weight, contents["wan-t5"]["token_embedding.weight"])
    tower = vision.load_tower(found["wan-clip"], CPU, torch.float32, heads=2)
    patch: Any = tower.embeddings
    wanted = contents["wan-clip"]["visual.patch_embedding.weight"]
    assert torch.equal(patch.patch_embedding.weight, wanted)
    assert not [name for name in load_file(found["wan-clip"]) if name.startswith("textual")]
