"""Every form in which people have the weights, at tiny size: loaded, kept as it is, merged, run."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from support import formats, infinitetalk, installation
from support.formats import WRITERS
from talkhead.engines import Fitting, Inputs, Probe, Speaker
from talkhead.engines.infinitetalk import InfiniteTalk, checkpoint
from talkhead.engines.infinitetalk.choice import Choice
from talkhead.engines.infinitetalk.options import Options
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import bare, opened
from talkhead.models.placement import Placement
from talkhead.models.quantised import QuantLinear, quantise
from talkhead.models.wan_text import encode_texts
from talkhead.models.weighing import held_of

CPU = torch.device("cpu")
OTHER = {"dim": 64, "output_dim": 32}  # whole blocks of GGUF
SIZES = {**infinitetalk.TINY, **OTHER}
HERE = Placement(CPU, torch.float32)
LAYER = "blocks.1.self_attn.q"


def quiet(_done: int, _total: int) -> None:
    pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> installation.Files:
    found = installation.write(tmp_path_factory.mktemp("weights"), **OTHER)
    made = torch.Generator().manual_seed(7)
    change = {
        f"diffusion_model.{LAYER}.lora_down.weight": torch.randn(2, 64, generator=made) / 8,
        f"diffusion_model.{LAYER}.lora_up.weight": torch.randn(64, 2, generator=made),
    }
    save_file(change, found["lightx2v-i2v-rank64"][0])
    return found


@pytest.fixture(scope="module")
def tensors(files: installation.Files) -> dict[str, Tensor]:
    """Return the official tensors of the installation for one speaker."""
    parts = (*files["wan-i2v"][1:], *files["infinitetalk-single-adapter"])
    return {name: tensor for file in parts for name, tensor in load_file(file).items()}


def written(
    form: str, tensors: Mapping[str, Tensor], files: installation.Files, folder: Path
) -> installation.Files:
    """Return an installation whose transformer is in a form, as it is found in the wild."""
    write, _, _ = WRITERS[form]
    lean = {k: v for k, v in files.items() if k not in ("wan-i2v", "infinitetalk-single-adapter")}
    if form.startswith("quanto"):
        name = f"infinitetalk-single-{form.split()[1]}"
        return {**lean, name: (write(tensors, folder / "whole.bin"),)}
    base = {k: v for k, v in tensors.items() if not infinitetalk.adapter_name(k)}
    adapter = {k: v for k, v in tensors.items() if k not in base}
    ids = "wan-i2v-fp8", "infinitetalk-single-fp8-scaled"
    if form.startswith("GGUF"):
        ids = "wan-i2v-q8", "infinitetalk-single-q8"
    return {
        **lean,
        ids[0]: (write(base, folder / "base.bin"),),
        ids[1]: (write(adapter, folder / "adapter.bin"),),
    }


def loaded(
    files: installation.Files, placement: Placement = HERE, **choice: Any
) -> InfiniteTalkTransformer:
    find = installation.finder(files)
    net: Any = checkpoint.load_models(find, Choice(1, **choice), placement, quiet).transformer
    return net


def run(model: InfiniteTalkTransformer) -> Tensor:
    given = infinitetalk.inputs(SIZES)
    with torch.no_grad():
        words = model.text_keys(given["text"])
        look, voice = model.image_keys(given["clip"]), model.audio_keys(given["audio"])
        condition = model.condition(given["y"], words, look, voice)
        made: Tensor = model(given["latents"], torch.tensor([500.0]), condition)
    return made


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def layers(model: InfiniteTalkTransformer) -> dict[str, QuantLinear]:
    return {name: part for name, part in model.named_modules() if isinstance(part, QuantLinear)}


@pytest.mark.parametrize("form", WRITERS)
def test_it_is_loaded_and_kept_as_it_is(
    form: str, tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    _, kind, far = WRITERS[form]
    here = written(form, tensors, files, tmp_path)
    model = loaded(here)
    kinds = {layer.kind for layer in layers(model).values()}
    assert kinds == ({kind} if kind else set())
    assert "time_embedder" not in "".join(layers(model))
    found = run(model)
    wide = {}
    for file in (file for name in here.keys() - files.keys() for file in here[name]):
        with opened(file) as reader:
            for key in reader.entries:
                name = bare(key)
                wide[name] = reader.get_tensor(key).float().reshape(tensors[name].shape)
    plain = infinitetalk.loaded(tmp_path, SIZES, wide)
    assert off(found, run(plain)) < 1e-5
    assert 0 < off(found, run(loaded(files))) < far
    streamed = loaded(here, Placement(CPU, torch.float32, offload=True))
    assert torch.equal(run(streamed), found)


@pytest.mark.parametrize(("kind", "far"), [("fp8", 0.1), ("int8", 0.03)])
def test_full_precision_is_quantised_as_it_is_loaded(
    kind: Any, far: float, tensors: dict[str, Tensor], files: installation.Files
) -> None:
    model, plain = loaded(files, quant=kind), loaded(files)
    assert 0 < off(run(model), run(plain)) < far
    layer = layers(model)["blocks.1.attn1.to_q"]
    wanted = quantise(tensors[f"{LAYER}.weight"], kind)
    assert torch.equal(layer.weight.float(), wanted.data.float())
    held = sum(tensor.nbytes for tensor in model.parameters())
    whole = sum(tensor.nbytes for tensor in plain.parameters())
    streamed = sum(p.nbytes for n, p in plain.named_parameters() if n.startswith("blocks."))
    assert held < whole - 0.6 * streamed
    streaming = loaded(files, Placement(CPU, torch.float32, offload=True), quant=kind)
    assert torch.equal(run(streaming), run(model))


@pytest.mark.parametrize("form", ["quanto int8", "scaled fp8", "GGUF Q4_0", "GGUF Q8_0"])
@pytest.mark.parametrize("lora", [None, "rank64"])
def test_what_is_predicted_is_what_is_held(
    form: str,
    lora: str | None,
    tensors: dict[str, Tensor],
    files: installation.Files,
    tmp_path: Path,
) -> None:
    here = written(form, tensors, files, tmp_path)
    find, choice = installation.finder(here), Choice(1, lora)
    stored = checkpoint.stored(find, choice, CPU)
    held = held_of(stored.found, stored.keep, 4, stored.merge.changes)
    assert held is not None
    model = loaded(here, lora=lora)
    assert held.whole == sum(tensor.nbytes for tensor in model.parameters())
    blocks: Any = model.blocks
    assert held.block == max(sum(p.nbytes for p in block.parameters()) for block in blocks)


@pytest.mark.parametrize(
    ("form", "kept"),
    [("quanto fp8", "fp8"), ("quanto int8", "int8"), ("scaled fp8", "fp8"), ("GGUF Q8_0", "int8")],
)
def test_a_lora_is_merged_into_quantised_weights(
    form: str, kept: Any, tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    here = written(form, tensors, files, tmp_path)
    plain, merged = layers(loaded(here)), layers(loaded(here, lora="rank64", strength=0.5))
    name = "blocks.1.attn1.to_q"
    change = load_file(files["lightx2v-i2v-rank64"][0])
    up, down = (change[f"diffusion_model.{LAYER}.lora_{part}.weight"] for part in ("up", "down"))
    wanted = quantise(plain[name].packed.wide() + 0.5 * (up @ down), kept)
    assert merged[name].kind == kept
    assert torch.equal(merged[name].weight.float(), wanted.data.float())
    other = "blocks.0.attn1.to_q"  # which the LoRA leaves alone: the file's own numbers
    assert torch.equal(merged[other].weight.float(), plain[other].weight.float())


def test_another_kind_is_made_and_told_of(
    tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    here = written("quanto int8", tensors, files, tmp_path)
    model = loaded(here, quant="fp8")
    assert {layer.kind for layer in layers(model).values()} == {"fp8"}
    plan = planned(engine_of(here, tmp_path), memory=Fitting(quant="fp8"))
    assert any("int8 weights are quantised anew as fp8" in told for told in plan.warnings)


def engine_of(files: installation.Files, folder: Path) -> InfiniteTalk:
    return InfiniteTalk(installation.supplies(files, folder))


def planned(engine: InfiniteTalk, **more: Any) -> Any:
    options = Options(window=9, motion_frames=5, lora="none")
    probe = Probe(
        width=48,
        height=32,
        fps=Fraction(25),
        frames=9,
        faces=(),
        speech_seconds=9 / 25,
        estimated=False,
        **{"options": options, "sampling": {"steps": 2}, "quality": "fast", **more},
    )
    return engine.plan(probe)


def test_what_a_request_asks_for_reaches_the_plan(
    files: installation.Files, tmp_path: Path
) -> None:
    engine = engine_of(files, tmp_path)
    plain, less = planned(engine), planned(engine, memory=Fitting(quant="fp8"))
    assert not less.warnings
    assert less.memory_bytes != plain.memory_bytes
    options = Options(window=9, motion_frames=5, lora="none", base="wan-i2v-q4")
    told = planned(engine, options=options).warnings[0]
    assert "wan-i2v-q4 is not there" in told
    with pytest.raises(TalkheadError) as caught:
        planned(engine, memory=Fitting(quant="q4"))
    assert (caught.value.code, caught.value.fields) == (Code.INPUT, ("memory.quant",))
    nothing = engine_of({}, tmp_path)
    assert planned(nothing, memory=Fitting(quant="fp8")).memory_bytes < 27e9
    assert planned(nothing).memory_bytes > 38e9


@pytest.mark.parametrize("form", ["quanto fp8", "GGUF Q4_0"])
@pytest.mark.parametrize("lora", ["none", "rank64"])
def test_the_engine_runs_on_it(
    form: str, lora: Any, tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    engine = engine_of(written(form, tensors, files, tmp_path), tmp_path / "prompts")
    options = Options(window=9, motion_frames=5, lora=lora)
    plan = planned(engine, options=options)
    assert "wan-i2v is not here" in plan.warnings[0]
    assert any("GGUF" in told for told in plan.warnings) == (form[:4] == "GGUF" and lora != "none")
    made = np.random.default_rng(8)
    speech = made.normal(0, 0.1, 9 * 640).astype(np.float32)
    given = Inputs(
        made.integers(0, 256, (32, 48, 3), np.uint8),
        (Speaker(speech, None),),
        seed=5,
        prompt="a person is talking",
        sampling={"steps": 2},
        options=options,
        quality="fast",
    )
    prepared = engine.prepare(given, plan, quiet)
    (chunk,) = engine.generate(prepared, plan, quiet, None)
    assert chunk.frames.shape == (9, 32, 48, 3)


def refused(files: installation.Files) -> str:
    with pytest.raises(TalkheadError) as caught:
        loaded(files)
    assert caught.value.code is Code.WEIGHTS
    return caught.value.message


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_cut_short(
    form: str, tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    here = written(form, tensors, files, tmp_path)
    (file,) = here[min(here.keys() - files.keys())]
    file.write_bytes(file.read_bytes()[:-4000])
    assert "damaged or cut short" in refused(here)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("v.weight._scale", "has no scale for 1 tensor (blocks.0.self_attn.v.weight._data)"),
        ("v.weight._data", "has 1 tensor (blocks.0.self_attn.v.weight._scale), unknown"),
        ("v.bias", "1 tensor (blocks.0.attn1.to_v.bias) missing"),
    ],
)
def test_parts_that_are_missing_are_named(
    key: str,
    told: str,
    tensors: dict[str, Tensor],
    files: installation.Files,
    tmp_path: Path,
) -> None:
    here = written("quanto int8", tensors, files, tmp_path)
    (file,) = here["infinitetalk-single-int8"]
    lost = f"blocks.0.self_attn.{key}"
    save_file({k: v for k, v in load_file(file).items() if k != lost}, file)
    message = refused(here)
    assert told in message
    assert "optimum-quanto" in message or "missing" in message


def test_mixtures_and_lost_scales_are_refused(
    tensors: dict[str, Tensor], files: installation.Files, tmp_path: Path
) -> None:
    here = written("fp8 by rows", tensors, files, tmp_path)
    (file,) = here["wan-i2v-fp8"]
    whole = load_file(file)
    save_file({**whole, "blocks.0.ffn.0.scale_weight": torch.ones(1)}, file)
    assert "is a mixture of scaled fp8 and fp8 or int8 with weight_scale" in refused(here)
    save_file({k: v for k, v in whole.items() if k != "blocks.0.ffn.0.weight_scale"}, file)
    assert "has no scale for 1 tensor (blocks.0.ffn.0.weight)" in refused(here)
    save_file({**whole, "blocks.0.ffn.0.weight_scale": torch.ones(3)}, file)
    assert "[3] scales for [64, 64]" in refused(here)
    save_file(
        {**whole, "blocks.0.ffn.0.weight": whole["blocks.0.ffn.0.weight"][:, :32].clone()}, file
    )
    assert "is [64, 32], not [64, 64]" in refused(here)


def test_prompts_of_a_quantised_encoder_are_kept_apart(
    files: installation.Files, tmp_path: Path
) -> None:
    small = {name: paths for name, paths in files.items() if name != "umt5-bf16"}
    text = load_file(files["umt5-bf16"][0])
    small["umt5-fp8"] = (formats.cast(text, tmp_path / "t5.bin"),)
    folder = tmp_path / "prompts"

    def rows(here: installation.Files) -> Tensor:
        find = installation.finder(here)
        return encode_texts(find, [folder], ["a person is talking"], HERE)[0]

    less = rows(small)
    full = rows(files)
    assert 0 < off(less, full) < 0.3
    assert torch.equal(rows(small), full)  # the better ones are here now
