"""OmniAvatar's checkpoint: what it changes, under which names, and that no part of it may lack."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from support import omni_files
from support.omni_files import ALPHA, FACTOR, RANK, Tree
from talkhead.engines.omniavatar import delta
from talkhead.engines.omniavatar.choice import Found
from talkhead.engines.omniavatar.delta import Scale, scale_of
from talkhead.errors import Code, TalkheadError
from talkhead.models import lora
from talkhead.models.loading import load, rules, shapes_of, stored, targets
from talkhead.models.quantised import Keep, QuantLinear

CPU = torch.device("cpu")
WIDE = targets(CPU, torch.float32, ())
PLAIN = rules({r"(.+)": r"\1"})
# other names than the published ones, as an engine has them
OURS = rules(
    {
        r"blocks\.(\d+)\.self_attn\.(.+)": r"layers.\1.mine.\2",
        r"blocks\.(\d+)\.(.+)": r"layers.\1.\2",
        r"(patch_embedding|head|text_embedding|time_embedding|time_projection)\.(.+)": r"\1.\2",
    }
)


def ours(name: str) -> str:
    return name.replace("blocks.", "layers.").replace("self_attn", "mine")


def written(folder: Path, own: dict[str, Tensor], **config: Any) -> Found:
    said = {"lora_alpha": ALPHA, "lora_rank": RANK, **config}
    save_file(own, folder / "delta.safetensors")
    (folder / "delta.json").write_text(json.dumps(said))
    files = omni_files.write_base(folder, omni_files.base())
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    return Found(
        "14B", folder / "config.json", (index, *files), folder / "delta.safetensors",
        folder / "delta.json",
    )  # fmt: skip


def loaded(found: Found, keep: Keep | None = None) -> Tree:
    """Load as the engine does."""
    whole = omni_files.applied(omni_files.base(), omni_files.delta())
    shapes = {ours(name): tuple(tensor.shape) for name, tensor in whole.items()}

    def build() -> Tree:
        return Tree(shapes)

    with torch.device("meta"):
        wanted = shapes_of(build())
    merge = delta.changes(found, OURS, wanted)
    with lora.merging(merge) as mend:
        return load(
            build, delta.sources(found, OURS), WIDE, mend if merge.changes else None, keep=keep
        )


def refusal(found: Found) -> str:
    with pytest.raises(TalkheadError) as caught:
        loaded(found)
    assert caught.value.code is Code.WEIGHTS
    assert "talkhead weights pull" in caught.value.hint
    return caught.value.message


@pytest.mark.parametrize(
    "before",
    ["", "pipe.dit.", "base_model.model.", "pipe.dit.base_model.model.", "model.diffusion_model."],
)
@pytest.mark.parametrize("named", [".default", ""])
def test_a_base_with_its_pairs(tmp_path: Path, before: str, named: str) -> None:
    found = written(tmp_path, omni_files.delta(before=before, named=named))
    model = loaded(found)
    wanted = omni_files.applied(omni_files.base(), omni_files.delta())
    assert model.state_dict().keys() == {ours(name) for name in wanted}
    for name, tensor in wanted.items():
        torch.testing.assert_close(model.get_parameter(ours(name)).data, tensor, msg=name)


def test_merging_is_what_the_adapter_does(tmp_path: Path) -> None:
    own, held = omni_files.delta(), omni_files.base()
    model = loaded(written(tmp_path, own))
    x = torch.randn(3, omni_files.DIM)
    for name in ("blocks.0.cross_attn.v", "blocks.5.ffn.0"):
        down, up = (own[f"{name}.lora_{side}.default.weight"] for side in "AB")
        wanted = x @ held[f"{name}.weight"].T + FACTOR * (x @ down.T) @ up.T
        torch.testing.assert_close(x @ model.get_parameter(f"{ours(name)}.weight").T, wanted)


def test_sizes_are_told_by_what_counts(tmp_path: Path) -> None:
    shapes = stored(delta.sources(written(tmp_path, omni_files.delta()), OURS))
    assert shapes["patch_embedding.weight"] == (omni_files.DIM, 33, 1, 2, 2)
    assert shapes["audio_cond_projs.1.weight"] == (omni_files.DIM, omni_files.HIDDEN)
    assert not [name for name in shapes if "lora" in name]


def test_it_is_merged_before_it_is_quantised(tmp_path: Path) -> None:
    model = loaded(written(tmp_path, omni_files.delta()), Keep(("layers",), CPU, "int8"))
    layer = model.get_submodule("layers.1.ffn.0")
    assert isinstance(layer, QuantLinear)
    wanted = omni_files.applied(omni_files.base(), omni_files.delta())["blocks.1.ffn.0.weight"]
    torch.testing.assert_close(layer.packed.wide(), wanted, atol=0.03, rtol=0)


def test_a_merged_copy_is_loaded_as_it_is(tmp_path: Path) -> None:
    whole = omni_files.applied(omni_files.base(), omni_files.delta())
    save_file(whole, tmp_path / "merged.safetensors")
    found = Found("14B", tmp_path, (tmp_path / "merged.safetensors",), None, None)
    model = loaded(found)
    assert all(torch.equal(model.get_parameter(ours(name)), one) for name, one in whole.items())


A, B = "blocks.3.ffn.2.lora_A.default.weight", "blocks.3.ffn.2.lora_B.default.weight"
PATCH = "patch_embedding.weight"


@pytest.mark.parametrize(
    ("lost", "more", "told"),
    [
        ((PATCH,), {}, "lacks 1 tensor (patch_embedding.weight): the base's own takes too few"),
        ((), {PATCH: torch.ones(8, 16, 1, 2, 2)}, "has patch_embedding.weight as [8, 16, 1, 2, 2]"),
        (("audio_proj.norm_out.bias",), {}, "lacks 1 tensor (audio_proj.norm_out.bias)"),
        (("audio_cond_projs.1.bias",), {}, "lacks 1 tensor (audio_cond_projs.1.bias)"),
        ((), {"audio_cond_projs.2.bias": torch.ones(8)}, "unknown to this model"),
        ((A, B), {}, "has no pairs for 1 tensor (layers.3.ffn.2.weight)"),
        ((A,), {}, "has half of a pair for blocks.3.ffn.2"),
        ((), {"blocks.9.ffn.2.lora_A.weight": torch.ones(2, 12)}, "half of a pair for blocks.9"),
        ((), {A: torch.ones(3, 12), B: torch.ones(8, 3)}, "pairs of rank 3, and its config says 2"),
        ((), {A: torch.ones(2, 9)}, "is for (8, 9), not (8, 12)"),
        ((), {"optimizer.step": torch.ones(1)}, "not used: 1 tensors: optimizer.step"),
        ((), {f"pipe.dit.{A}": torch.ones(2, 12)}, "has two names for one thing"),
        ((), {f"pipe.dit.{PATCH}": torch.ones(8, 33, 1, 2, 2)}, "has two names for one thing"),
        ((), {"blocks.3.ffn.2.alpha": torch.ones(1)}, "its alpha asks for changes times 0.5"),
    ],
)
def test_what_lacks_or_does_not_fit_is_named(
    tmp_path: Path, lost: tuple[str, ...], more: dict[str, Tensor], told: str
) -> None:
    own = {name: one for name, one in omni_files.delta().items() if name not in lost}
    assert told in refusal(written(tmp_path, {**own, **more}))


def test_the_other_size_is_refused(tmp_path: Path) -> None:
    own = {
        name: one for name, one in omni_files.delta().items() if not name.startswith("blocks.5.")
    }
    assert "has no pairs for 10 tensors" in refusal(written(tmp_path, own))


def test_what_a_config_says(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    assert scale_of(None) == Scale()
    assert scale_of(None).factor == 0.5
    file.write_text('{"lora_rank": 8, "lora_alpha": 2, "in_dim": 33}')
    assert scale_of(file) == Scale(2.0, 8, stated=True)
    assert scale_of(file).factor == 0.25
    file.write_text("{}")
    assert scale_of(file) == Scale()
    for wrong, told in (
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ('{"lora_rank": 0}', "lora_rank 0"),
        ('{"lora_alpha": true}', "lora_alpha True"),
        ('{"lora_rank": "128"}', "lora_rank '128'"),
    ):
        file.write_text(wrong)
        with pytest.raises(TalkheadError, match=told) as caught:
            scale_of(file)
        assert caught.value.code is Code.WEIGHTS


def test_without_a_config_any_rank_is_at_half(tmp_path: Path) -> None:
    found = written(tmp_path, omni_files.delta())._replace(delta_config=None)
    model = loaded(found)  # FACTOR is a half, too
    wanted = omni_files.applied(omni_files.base(), omni_files.delta())["blocks.1.ffn.0.weight"]
    torch.testing.assert_close(model.get_parameter("layers.1.ffn.0.weight").data, wanted)
