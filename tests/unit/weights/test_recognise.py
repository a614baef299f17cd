"""Repacks under other names are known by their tensors; what those cannot tell is not guessed."""

import json
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from support.weights import write
from talkhead import weights
from talkhead.errors import TalkheadError
from talkhead.weights import locate, recognise
from talkhead.weights.locate import Places
from talkhead.weights.supply import finder

# The marks of the manifest that ships, made small.
MANIFEST = """
[repos."org/model"]
[files.text]
repo = "org/model"
path = "text-bf16.safetensors"
[files.text.recognise]
dtype = "BF16"
dtype_of = "blocks.0.attn.q.weight"
smallest = 100
tensors = {"token_embedding.weight" = [8, 4], "blocks.1.ffn.fc2.weight" = [4, 6]}
[files.text-fp8]
repo = "org/model"
path = "text-fp8.safetensors"
[files.text-fp8.recognise]
dtype = "F8_E4M3"
dtype_of = "blocks.0.attn.q.weight"
smallest = 100
tensors = {"token_embedding.weight" = [8, 4], "blocks.1.ffn.fc2.weight" = [4, 6]}
[files.vae]
repo = "org/model"
path = "vae.safetensors"
recognise = {smallest = 100, tensors = {"encoder.conv1.weight" = [4, 3, 3, 3, 3]}}
[files.base-q4]
repo = "org/model"
path = "base-480p-Q4_0.gguf"
[files.base-q4.recognise]
file_type = 2
named = "480"
smallest = 100
without = ["audio_proj."]
tensors = {"blocks.1.ffn.0.weight" = [96, 64]}
[files.base-q8]
repo = "org/model"
path = "base-480p-Q8_0.gguf"
[files.base-q8.recognise]
file_type = 7
named = "480"
smallest = 100
without = ["audio_proj."]
tensors = {"blocks.1.ffn.0.weight" = [96, 64]}
[files.single]
repo = "org/model"
path = "Single_Q8.gguf"
[files.single.recognise]
file_type = 7
named = "(?i)single"
smallest = 100
tensors = {"audio_proj.proj1.weight" = [32, 96]}
[files.multi]
repo = "org/model"
path = "Multi_Q8.gguf"
[files.multi.recognise]
file_type = 7
named = "(?i)multi"
smallest = 100
tensors = {"audio_proj.proj1.weight" = [32, 96]}
[sets.all]
about = "all"
files = ["text", "vae"]
"""
KNOWN = weights.read(MANIFEST)
TEXT = {"token_embedding.weight": (8, 4), "blocks.1.ffn.fc2.weight": (4, 6)}
WIDTH = {"BF16": 2, "F8_E4M3": 1, "F32": 4}


def safe(tensors: dict[str, tuple[int, ...]], dtype: str) -> bytes:
    header, at = {}, 0
    for name, shape in tensors.items():
        end = at + int(np.prod(shape)) * WIDTH[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def text(dtype: str, prefix: str = "") -> bytes:
    names = {**TEXT, "blocks.0.attn.q.weight": (4, 4)}
    return safe({prefix + name: shape for name, shape in names.items()}, dtype)


def quantised(
    path: Path,
    kind: str,
    tensors: dict[str, tuple[int, ...]],
    prefix: str = "",
    said: bool = True,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(path, "wan")
    if said:
        writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    for name, shape in tensors.items():
        values = np.ones(shape, np.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])
        writer.add_tensor(prefix + name, packed, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


BASE = {"blocks.1.ffn.0.weight": (96, 64), "head.head.weight": (32, 64)}
ADAPTER = {"audio_proj.proj1.weight": (32, 96)}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "root", (tmp_path / "volume",))


def found(name: str, places: Places) -> tuple[Path, ...]:
    return locate.find(KNOWN.files[name], places).paths


@pytest.mark.parametrize(
    "where",
    [
        "volume/ComfyUI/models/text_encoders/umt5.safetensors",
        "volume/models/clip/mine/umt5.safetensors",
        "volume/umt5.safetensors",
        "root/umt5.safetensors",
    ],
)
def test_another_name_in_a_model_folder_is_known(
    places: Places, tmp_path: Path, where: str
) -> None:
    file = write(tmp_path / where, text("BF16"))
    assert found("text", places) == (file,)
    assert found("text-fp8", places) == ()
    located = locate.find(KNOWN.files["text"], places)
    assert located.names == (KNOWN.files["text"].place,)
    file.write_bytes(text("F8_E4M3"))
    assert found("text", places) == ()
    assert found("text-fp8", places) == (file,)


def test_only_model_folders_are_looked_through(places: Places, tmp_path: Path) -> None:
    write(tmp_path / "volume/loras/umt5.safetensors", text("BF16"))
    write(tmp_path / "volume/downloads/umt5.safetensors", text("BF16"))
    write(tmp_path / "volume/clip/a/b/umt5.safetensors", text("BF16"))
    assert found("text", places) == ()


def test_its_own_name_comes_first(places: Places, tmp_path: Path) -> None:
    write(tmp_path / "volume/clip/umt5.safetensors", text("BF16"))
    own = write(tmp_path / "volume/model/text-bf16.safetensors", text("BF16"))
    assert found("text", places) == (own,)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model."])
def test_prefixes_of_repacks_are_looked_past(places: Places, tmp_path: Path, prefix: str) -> None:
    file = write(tmp_path / "volume/unet/x.safetensors", text("BF16", prefix))
    assert found("text", places) == (file,)
    base = quantised(tmp_path / "volume/unet/480.gguf", "Q8_0", BASE, prefix)
    assert found("base-q8", places) == (base,)


def test_other_shapes_and_small_files_are_not_taken(places: Places, tmp_path: Path) -> None:
    vae = {"encoder.conv1.weight": (4, 3, 3, 3, 3)}
    file = write(tmp_path / "volume/vae/x.safetensors", safe(vae, "F32"))
    assert found("vae", places) == (file,)
    file.write_bytes(safe({"encoder.conv1.weight": (5, 3, 3, 3, 3)}, "F32"))
    assert found("vae", places) == ()
    marks = MANIFEST.replace("recognise = {smallest = 100", "recognise = {smallest = 5000")
    file.write_bytes(safe(vae, "F32"))
    small = weights.read(marks).files["vae"]
    assert locate.find(small, places).paths == ()


@pytest.mark.parametrize(
    "content", [b"", b"x" * 500, struct.pack("<Q", 2**40) + b"x" * 500, b"GGUF" + bytes(500)]
)
def test_damaged_files_are_passed_over(places: Places, tmp_path: Path, content: bytes) -> None:
    write(tmp_path / "volume/unet/x.safetensors", content)
    write(tmp_path / "volume/unet/480.gguf", content)
    assert found("text", places) == ()
    assert found("base-q8", places) == ()


def test_what_is_cut_short_is_recognised_and_named(places: Places, tmp_path: Path) -> None:
    file = write(tmp_path / "volume/clip/x.safetensors", text("BF16")[:-3])
    located = locate.find(KNOWN.files["text"], places)
    assert located.paths == ()
    assert (located.looked[-1].path, "cut short" in located.looked[-1].why) == (file, True)


def test_quantisations_are_told_apart(places: Places, tmp_path: Path) -> None:
    q4 = quantised(tmp_path / "volume/unet/my 480 small.gguf", "Q4_0", BASE)
    q8 = quantised(tmp_path / "volume/unet/my 480 large.gguf", "Q8_0", BASE)
    assert (found("base-q4", places), found("base-q8", places)) == ((q4,), (q8,))
    assert found("single", places) == ()
    quantised(q8, "Q8_0", {**BASE, **ADAPTER})  # a model with the adapter in it is another one
    assert found("base-q8", places) == ()


def test_a_file_that_does_not_say_its_type_shows_it(places: Places, tmp_path: Path) -> None:
    for kind, name in (("Q4_0", "base-q4"), ("Q8_0", "base-q8")):
        file = quantised(tmp_path / f"volume/unet/480 {kind}.gguf", kind, BASE, said=False)
        assert found(name, places) == (file,)


def test_what_tensors_cannot_tell_is_not_guessed(places: Places, tmp_path: Path) -> None:
    file = quantised(tmp_path / "volume/unet/talk.gguf", "Q8_0", ADAPTER)
    located = locate.find(KNOWN.files["single"], places)
    assert located.paths == ()
    assert [hint.path for hint in located.hints] == [file]
    with pytest.raises(TalkheadError, match="but its name does not say ") as caught:
        finder(places, KNOWN)("single")
    assert str(file) in caught.value.message
    single = file.rename(file.with_name("talk-single.gguf"))
    multi = quantised(file.with_name("talk-Multi.gguf"), "Q8_0", ADAPTER)
    assert (found("single", places), found("multi", places)) == ((single,), (multi,))


def test_a_header_is_read_once_while_the_file_stays(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "volume/clip/x.safetensors", text("BF16"))
    read: list[Path] = []
    real = recognise._safetensors
    monkeypatch.setattr(recognise, "_safetensors", lambda path: (read.append(path), real(path))[1])
    assert found("text", places) == (file,)
    assert found("text-fp8", places) == ()
    assert read == [file]
    file.write_bytes(text("F8_E4M3", "diffusion_model."))
    assert found("text-fp8", places) == (file,)
    assert read == [file, file]


def test_without_the_package_a_gguf_file_is_a_hint(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = quantised(tmp_path / "volume/unet/480.gguf", "Q8_0", BASE)
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(recognise, "find_spec", lambda _name: None)
    located = locate.find(KNOWN.files["base-q8"], places)
    assert located.paths == ()
    assert [(hint.path, hint.why) for hint in located.hints] == [(file, recognise.NO_GGUF)]


def test_what_ships_knows_the_repacks_by_their_marks() -> None:
    marked = {file.id for file in weights.manifest().files.values() if file.recognise}
    assert {"umt5-bf16", "umt5-fp8", "wan-vae-comfy", "clip-vision-h"} < marked
    quants = {f"wan-i2v-{kind}" for kind in ("q3-k-m", "q4", "q4-k-m", "q5", "q6", "q8")}
    assert quants < marked
    kinds = {"q3-k-m": "Q3_K_M", "q4": "Q4_0", "q4-k-m": "Q4_K_M", "q5": "Q5_0", "q6": "Q6_K",
             "q8": "Q8_0"}  # fmt: skip
    for kind, name in kinds.items():
        file = weights.manifest().files[f"wan-i2v-{kind}"]
        assert file.recognise is not None
        assert file.recognise.file_type == gguf.LlamaFileType[f"MOSTLY_{name}"]
        assert name in file.path
