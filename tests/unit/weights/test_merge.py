"""Base and OmniAvatar's checkpoint become one file: what an adapter would make, whole or not."""

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from support import omni_files
from talkhead import weights
from talkhead.engines.omniavatar import delta
from talkhead.engines.omniavatar.choice import Choice, transformer
from talkhead.errors import Code, TalkheadError
from talkhead.models.formats import shapes
from talkhead.models.loading import rules, stored
from talkhead.serve.cli import app
from talkhead.weights import bundle, convert, locate, planning, supply, verify
from talkhead.weights.convert import Wanted
from talkhead.weights.locate import Places
from talkhead.weights.stopping import Until

Usage = namedtuple("Usage", "total used free")
KNOWN = weights.manifest()
NAME = "omniavatar-14b-merged"
PLACE = "merged/omniavatar-14b.safetensors"
BF16 = "merged/bf16/omniavatar-14b.safetensors"
Here = dict[str, Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def here(root: Path) -> Here:
    return omni_files.install(root)


def run(root: Path, *names: str, dtype: str = "") -> tuple[convert.Converted, ...]:
    done = convert.convert(
        Wanted(names or (NAME,), root, dtype),
        Places(root),
        KNOWN,
        Until(60),
        lambda _event, **_: None,
        0.0,
    )
    assert not list(root.rglob("*.partial"))
    return done


def refusal(root: Path, dtype: str = "") -> TalkheadError:
    with pytest.raises(TalkheadError) as caught:
        run(root, dtype=dtype)
    assert not list(root.rglob("*.partial"))
    assert not (root / "merged").exists() or not list((root / "merged").rglob("*.safetensors"))
    return caught.value


def whole() -> dict[str, Tensor]:
    return omni_files.applied(omni_files.base(), omni_files.delta())


def said(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, str] = file.metadata()
        return found


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Change each of a base's files in place."""
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def test_it_is_the_base_with_its_pairs_applied(root: Path, here: Here) -> None:
    (done,) = run(root)
    assert done.paths == (root / PLACE,)
    found = load_file(done.paths[0])
    assert found.keys() == whole().keys()
    for name, tensor in whole().items():
        torch.testing.assert_close(found[name], tensor, msg=name)
    facts = said(done.paths[0])
    assert (facts["lora_alpha"], facts["lora_rank"]) == ("1", "2")
    assert facts["delta"] == supply.identity([here["delta"].with_suffix(".safetensors")])
    assert facts["base_files"].count("diffusion_pytorch_model-0000") == omni_files.PARTS
    assert run(root)[0].bytes == 0


def test_it_is_rounded_once(root: Path, here: Here) -> None:
    """Neither a base in bf16 nor the type that is written makes two roundings."""
    (done,) = run(root, dtype="bf16")
    assert done.paths == (root / BF16,)
    found = load_file(done.paths[0])
    for name, tensor in whole().items():
        assert found[name].dtype == torch.bfloat16
        assert torch.equal(found[name], tensor.bfloat16()), name
    rewritten(
        here["base"], lambda tensors: tensors.update({k: v.bfloat16() for k, v in tensors.items()})
    )
    held = {name: tensor.bfloat16().float() for name, tensor in omni_files.base().items()}
    wanted = omni_files.applied(held, omni_files.delta())["blocks.2.ffn.0.weight"]
    (wide,) = run(root, dtype="fp32")
    assert torch.equal(load_file(wide.paths[0])["blocks.2.ffn.0.weight"], wanted)
    (plain,) = run(root)
    assert torch.equal(load_file(plain.paths[0])["blocks.2.ffn.0.weight"], wanted.bfloat16())
    assert load_file(plain.paths[0])["patch_embedding.weight"].dtype == torch.float32  # its own


def test_the_wide_base_is_merged_though_a_narrow_one_is_here(root: Path, here: Here) -> None:
    run(root, "wan-t2v", dtype="bf16")
    found = load_file(run(root, dtype="bf16")[0].paths[0])
    assert torch.equal(found["blocks.1.ffn.2.weight"], whole()["blocks.1.ffn.2.weight"].bfloat16())
    shutil.rmtree(root / "merged")
    for path in here["base"].glob("*.safetensors"):
        path.unlink()
    run(root, dtype="bf16")  # the narrow one does where it is all there is


def test_large_tensors_go_in_pieces(
    root: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talkhead.weights.tensors.PIECE", 7)
    found = load_file(run(root, dtype="fp16")[0].paths[0])
    assert all(torch.equal(found[name], one.half()) for name, one in whole().items())


def test_it_is_made_anew_where_its_parts_changed(root: Path, here: Here) -> None:
    run(root)
    here["config"].write_text(json.dumps({"lora_alpha": 2, "lora_rank": 2}))
    assert run(root)[0].bytes
    assert said(root / PLACE)["lora_alpha"] == "2"
    here["delta"].with_suffix(".safetensors").unlink()
    torch.save(omni_files.delta(seed=9), here["delta"])
    assert run(root)[0].bytes
    assert run(root)[0].bytes == 0
    shutil.rmtree(here["base"])
    assert run(root)[0].bytes == 0  # it is all that is needed


def test_without_a_config_pairs_count_half(root: Path, here: Here) -> None:
    here["config"].unlink()
    (done,) = run(root)
    assert (said(done.paths[0])["lora_alpha"], said(done.paths[0])["lora_rank"]) == ("64", "128")
    found = load_file(done.paths[0])["blocks.0.ffn.0.weight"]
    torch.testing.assert_close(found, whole()["blocks.0.ffn.0.weight"])  # 1 / 2, too


def test_it_stands_for_its_parts(root: Path, here: Here, tmp_path: Path) -> None:
    places, ids = Places(root), ("wan-t2v", "omniavatar-14b-delta")
    files = supply.finder(places, KNOWN)
    (root / KNOWN.files["wan-t2v-config"].place).write_text("{}")
    assert "omniavatar-14b-delta" in supply.lacking(["omniavatar"], places, KNOWN)
    run(root, dtype="bf16")
    found = transformer(files, Choice())
    assert (found.weights, found.delta) == ((root / BF16,), None)
    official = rules({r"(.+)": r"\1"})
    assert stored(delta.sources(found, official)).keys() == whole().keys()
    shutil.rmtree(root / "OmniAvatar")
    for path in here["base"].glob("diffusion*"):
        path.unlink()
    assert transformer(files, Choice()).weights == (root / BF16,)
    assert not set(ids) & set(supply.lacking(["omniavatar"], places, KNOWN))
    entries = weights.chosen(["omniavatar"], KNOWN)
    assert not set(ids) & {file.id for _, file in planning.pending(entries, places, KNOWN)[1]}
    verdicts = verify.verify([KNOWN.files[name] for name in ids], places, KNOWN)
    assert {verdict.why for verdict in verdicts} == {f"{NAME} serves in its place"}
    with pytest.raises(TalkheadError, match="not here: wan-t2v"):
        bundle.bundle(
            bundle.Wanted("omniavatar", tmp_path / "out", True, ()), Places(tmp_path), KNOWN
        )


def test_a_bundle_takes_it_in_place_of_its_parts(root: Path, here: Here, tmp_path: Path) -> None:
    text = """
[sets.tiny]
about = "tiny"
files = ["wan-t2v", "omniavatar-14b-delta", "omniavatar-14b-config"]
"""
    (tmp_path / "own.toml").write_text(text)
    known = weights.known(tmp_path / "own.toml")
    run(root, dtype="bf16")
    out = tmp_path / "out"
    done = bundle.bundle(bundle.Wanted("tiny", out, True, ()), Places(root), known)
    assert [piece.name for piece in done.pieces] == [BF16]  # once, and no config is needed
    readme = (out / "README.md").read_text()
    for repo in ("Wan-AI/Wan2.1-T2V-14B", "OmniAvatar/OmniAvatar-14B"):
        assert f"[{repo}](https://huggingface.co/{repo})" in readme
    assert locate.find(KNOWN.files[NAME], Places(out)).paths == (out / BF16,)


def test_what_lacks_is_named(root: Path, here: Here) -> None:
    here["delta"].unlink()
    error = refusal(root)
    assert error.code is Code.WEIGHTS
    assert error.message == f"{NAME} is made of omniavatar-14b-delta, which is not on this machine"
    assert "talkhead weights pull omniavatar-14b-delta" in error.hint
    next(here["base"].glob("*00002-of-*")).unlink()
    assert "made of wan-t2v and omniavatar-14b-delta" in refusal(root).message
    with pytest.raises(TalkheadError, match="is made on this machine, and cannot be pulled") as one:
        planning.make_plan([(NAME, KNOWN.files[NAME])], Places(root), Until(9), KNOWN)
    assert f"`talkhead weights convert {NAME}`" in one.value.hint
    with pytest.raises(TalkheadError) as two:
        supply.finder(Places(root), KNOWN)(NAME)
    assert two.value.hint == f"`talkhead weights convert {NAME}` makes it"


def no_patch(tensors: dict[str, Tensor]) -> None:
    tensors.pop("patch_embedding.weight", None)


def wide_patch(tensors: dict[str, Tensor]) -> None:
    if "patch_embedding.weight" in tensors:
        tensors["patch_embedding.weight"] = torch.ones(omni_files.DIM, 36, 1, 2, 2)


def small_numbers(tensors: dict[str, Tensor]) -> None:
    inner = {k: v for k, v in tensors.items() if k.endswith("ffn.0.weight")}
    tensors |= {name: one.to(torch.float8_e4m3fn) for name, one in inner.items()}


def twice(tensors: dict[str, Tensor]) -> None:
    tensors["head.modulation"] = torch.ones(1, 2, omni_files.DIM)


def large(tensors: dict[str, Tensor]) -> None:
    inner = {k: v for k, v in tensors.items() if k.endswith("ffn.0.weight")}
    tensors |= {name: torch.full_like(one, 65504.0).half() for name, one in inner.items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (no_patch, "has no patch_embedding.weight: it is not Wan 2.1 text-to-video"),
        (wide_patch, "has patch_embedding.weight as [8, 33, 1, 2, 2], not [8, 73, 1, 2, 2]"),
        (small_numbers, "as F8_E4M3, and quantised weights cannot be merged"),
        (twice, "has head.modulation, as "),
    ],
)
def test_a_base_that_does_not_do(
    root: Path, here: Here, change: Callable[[dict[str, Tensor]], Any], told: str
) -> None:
    rewritten(here["base"], change)
    error = refusal(root)
    assert error.code is Code.WEIGHTS
    assert told in error.message


def test_numbers_must_fit_the_type(root: Path, here: Here) -> None:
    own = omni_files.delta()
    own = {name: 30 * one if "lora" in name else one for name, one in own.items()}
    torch.save(own, here["delta"])
    rewritten(here["base"], large)
    assert "as F16, which cannot hold what it becomes" in refusal(root).message
    assert "too large for fp16" in refusal(root, "fp16").message
    run(root, dtype="bf16")


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("patch_embedding.weight", "lacks 1 tensor (patch_embedding.weight)"),
        ("audio_proj.proj.weight", "lacks 1 tensor (audio_proj.proj.weight)"),
        ("audio_cond_projs.1.weight", "lacks 1 tensor (audio_cond_projs.1.weight)"),
        ("blocks.0.ffn.0.lora_B.default.weight", "has half of a pair for blocks.0.ffn.0"),
    ],
)
def test_a_checkpoint_that_lacks_something(root: Path, here: Here, lost: str, told: str) -> None:
    torch.save({k: v for k, v in omni_files.delta().items() if k != lost}, here["delta"])
    assert told in refusal(root).message


def test_damage_is_named(root: Path, here: Here) -> None:
    (done,) = run(root)
    done.paths[0].write_bytes(done.paths[0].read_bytes()[:-10])
    found = locate.find(KNOWN.files[NAME], Places(root))
    assert not found.paths
    assert "is cut short" in found.looked[0].why
    assert run(root)[0].bytes  # mended
    shutil.rmtree(root / "merged")
    here["delta"].with_suffix(".safetensors").unlink()
    here["delta"].write_bytes(here["delta"].read_bytes()[:-100])
    assert "is not on this machine" in refusal(root).message
    assert (
        "is cut short"
        in locate.find(KNOWN.files["omniavatar-14b-delta"], Places(root)).looked[0].why
    )


def test_a_small_disk_is_refused_before_a_byte(
    root: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**6, 0, 10**5 + 9000))
    error = refusal(root)
    assert error.code is Code.CAPACITY
    assert "are to come" in error.message
    assert not here["delta"].with_suffix(".safetensors").exists()


@pytest.mark.parametrize("when", [1, 20])
def test_a_stop_leaves_nothing(root: Path, here: Here, when: int) -> None:
    until, pieces = Until(60), 0
    run(root, "omniavatar-14b-delta")

    def stop(event: str, **_: object) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == when:
            until.cancel.set()

    with pytest.raises(TalkheadError) as caught:
        convert.convert(Wanted((NAME,), root), Places(root), KNOWN, until, stop, 0.0)
    assert caught.value.code is Code.CANCELLED
    assert not [path for path in (root / "merged").rglob("*") if path.is_file()]


def cli(root: Path, *words: str) -> Result:
    env = {
        "TALKHEAD_WEIGHTS": str(root),
        "TALKHEAD_WEIGHTS_ALSO": "[]",
        "HF_HOME": str(root.parent / "hf"),
    }
    return CliRunner().invoke(app, ["weights", *words], env=env)


def test_the_command_line(root: Path, here: Here) -> None:
    shown = cli(root, "convert", "omniavatar-14b-delta")
    made = here["delta"].with_suffix(".safetensors")
    assert f"omniavatar-14b-delta: {made}" in shown.output, shown.output
    assert shapes(made).keys() == omni_files.delta().keys()
    merged = json.loads(cli(root, "convert", NAME, "--dtype", "bf16", "--json").stdout)
    assert [entry["paths"] for entry in merged] == [[str(root / BF16)]]
    assert cli(root, "locate", NAME).exit_code == 0
    assert cli(root, "verify", NAME).exit_code == 0
    lost = cli(root, "convert", "omniavatar-1-3b-merged")
    assert lost.exit_code
    assert "talkhead weights pull wan-t2v-small omniavatar-1-3b-delta" in lost.output
    assert "fix: talkhead weights convert omniavatar-1-3b-merged" in (
        cli(root, "verify", "omniavatar-1-3b-merged").output
    )


def test_another_folder_takes_what_is_made_of_what_lies_here(
    root: Path, here: Here, tmp_path: Path
) -> None:
    """`--into` says where to write; sources lie where the settings say, or there already."""
    other = tmp_path / "other"
    made = cli(root, "convert", NAME, "--dtype", "bf16", "--into", str(other))
    assert f"{NAME}: {other / BF16}" in made.output, made.output
    assert not (root / "merged").exists()
    assert not here["delta"].with_suffix(".safetensors").exists()
    again = cli(other, "convert", NAME, "--dtype", "bf16", "--into", str(root))
    assert "here already" in again.output
    assert not (root / "merged").exists()
