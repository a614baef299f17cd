"""LoRAs: what is added, by which names and scales, and that the base stays as it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from support import infinitetalk
from support.infinitetalk import TINY
from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import Code, TalkheadError
from talkhead.models.loading import Source, load, rules, shapes_of, targets
from talkhead.models.lora import Lora, merging, plan

DIM, RANK = TINY["dim"], 4
Q = "blocks.0.self_attn.q"
OURS = "blocks.0.attn1.to_q"
TARGET = targets(torch.device("cpu"), torch.float32, ())


@pytest.fixture(scope="module")
def base() -> dict[str, Tensor]:
    return infinitetalk.weights(TINY)


@pytest.fixture
def sources(tmp_path: Path, base: dict[str, Tensor]) -> tuple[Source, Source]:
    return infinitetalk.write(tmp_path, base)


def pair(seed: int, out: int = DIM, into: int = DIM) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(out, RANK, generator=made), torch.randn(RANK, into, generator=made)


def saved(folder: Path, tensors: dict[str, Tensor], name: str = "style.safetensors") -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    return folder / name


def merged(
    sources: tuple[Source, Source], *loras: Lora
) -> tuple[InfiniteTalkTransformer, tuple[str, ...]]:
    build = infinitetalk.builder(TINY)
    with torch.device("meta"):
        merge = plan(loras, keys.LORA, shapes_of(build()))
    with merging(merge) as mend:
        return load(build, sources, TARGET, mend), merge.warnings


def changed(model: InfiniteTalkTransformer, base: dict[str, Tensor]) -> set[str]:
    """Return our names of what is not as it was."""
    names = infinitetalk.official_names(model)
    return {
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, base[names[name]])
    }


@pytest.mark.parametrize(("up_name", "down_name"), [("lora_up", "lora_down"), ("lora_B", "lora_A")])
@pytest.mark.parametrize("prefix", ["diffusion_model.", ""])
def test_a_pair_is_added(
    tmp_path: Path, sources: Any, base: dict[str, Tensor], up_name: str, down_name: str, prefix: str
) -> None:
    up, down = pair(1)
    file = saved(
        tmp_path,
        {f"{prefix}{Q}.{up_name}.weight": up, f"{prefix}{Q}.{down_name}.weight": down},
    )
    model, warnings = merged(sources, Lora(file, 1.2))
    wanted = base[f"{Q}.weight"] + 1.2 * (up @ down)
    torch.testing.assert_close(model.blocks[0].attn1.to_q.weight, wanted)
    assert changed(model, base) == {f"{OURS}.weight"}
    assert warnings == ()


def test_names_of_diffusers(tmp_path: Path, sources: Any, base: dict[str, Tensor]) -> None:
    up, down = pair(1)
    name = "transformer.blocks.1.attn2.to_k"
    file = saved(tmp_path, {f"{name}.lora_B.weight": up, f"{name}.lora_A.weight": down})
    model, _ = merged(sources, Lora(file))
    assert changed(model, base) == {"text_memory.1.to_k.weight"}


def test_values_are_added_to_weights_biases_and_norms(
    tmp_path: Path, sources: Any, base: dict[str, Tensor]
) -> None:
    ones = torch.ones(DIM)
    up, down = pair(2)
    file = saved(
        tmp_path,
        {
            f"diffusion_model.{Q}.diff_b": ones,
            f"diffusion_model.{Q}.lora_up.weight": up,
            f"diffusion_model.{Q}.lora_down.weight": down,
            "diffusion_model.blocks.1.norm3.diff": 2 * ones,
            "diffusion_model.blocks.1.norm3.diff_b": 3 * ones,
            "diffusion_model.blocks.1.self_attn.norm_k.diff": 4 * ones,
            "diffusion_model.blocks.2.cross_attn.norm_k_img.diff": 5 * ones,
        },
    )
    model, warnings = merged(sources, Lora(file, 0.5))
    assert warnings == ()
    added = {
        f"{OURS}.bias": 0.5, "blocks.1.norm2.weight": 1.0, "blocks.1.norm2.bias": 1.5,
        "blocks.1.attn1.norm_k.weight": 2.0, "image_memory.2.norm.weight": 2.5,
    }  # fmt: skip
    assert changed(model, base) == {*added, f"{OURS}.weight"}
    names = infinitetalk.official_names(model)
    for name, value in added.items():
        torch.testing.assert_close(model.state_dict()[name], base[names[name]] + value)


@pytest.mark.parametrize(("mode", "factor"), [("ignore", 1.0), ("standard", 0.25)])
def test_alpha(
    tmp_path: Path, sources: Any, base: dict[str, Tensor], mode: Any, factor: float
) -> None:
    up, down = pair(3)
    file = saved(
        tmp_path,
        {
            f"{Q}.lora_up.weight": up, f"{Q}.lora_down.weight": down,
            f"{Q}.alpha": torch.tensor(1.0), f"{Q}.diff_b": torch.ones(DIM),
        },
    )  # fmt: skip
    model, warnings = merged(sources, Lora(file, 2.0, mode))
    wanted = base[f"{Q}.weight"] + 2 * factor * (up @ down)
    torch.testing.assert_close(model.blocks[0].attn1.to_q.weight, wanted)
    torch.testing.assert_close(model.blocks[0].attn1.to_q.bias, base[f"{Q}.bias"] + 2)
    assert bool(warnings) == (mode == "ignore")
    assert all("0.25" in text and "lora_alpha" in text for text in warnings)


def test_alpha_equal_to_the_rank_says_nothing(tmp_path: Path, sources: Any) -> None:
    up, down = pair(3)
    file = saved(
        tmp_path,
        {
            f"{Q}.lora_up.weight": up, f"{Q}.lora_down.weight": down,
            f"{Q}.alpha": torch.tensor(float(RANK)),
        },
    )  # fmt: skip
    assert merged(sources, Lora(file))[1] == ()


def test_a_convolution(tmp_path: Path, sources: Any, base: dict[str, Tensor]) -> None:
    up, down = pair(4, DIM, 36 * 4)
    for shape in ((RANK, 36, 1, 2, 2), (RANK, 144)):
        file = saved(
            tmp_path,
            {
                "patch_embedding.lora_up.weight": up.reshape(DIM, RANK, *[1] * (len(shape) - 2)),
                "patch_embedding.lora_down.weight": down.reshape(shape),
            },
        )
        model, _ = merged(sources, Lora(file))
        wanted = base["patch_embedding.weight"] + (up @ down).reshape(DIM, 36, 1, 2, 2)
        torch.testing.assert_close(model.patch_embedding.weight, wanted)


def text_to_video(seed: int) -> dict[str, Tensor]:
    """Return a LoRA of a model without images: no k_img, v_img or img_emb."""
    made = {}
    layers = [f"self_attn.{part}" for part in "qkvo"] + [f"cross_attn.{part}" for part in "qkvo"]
    for block in range(TINY["num_layers"]):
        for layer in layers:
            up, down = pair(seed)
            made[f"diffusion_model.blocks.{block}.{layer}.lora_up.weight"] = up
            made[f"diffusion_model.blocks.{block}.{layer}.lora_down.weight"] = down
    return made


def test_a_lora_of_text_to_video_leaves_the_image_path(
    tmp_path: Path, sources: Any, base: dict[str, Tensor]
) -> None:
    model, warnings = merged(sources, Lora(saved(tmp_path, text_to_video(1))))
    assert warnings == ()
    names = changed(model, base)
    assert len(names) == 8 * TINY["num_layers"]
    assert not {name for name in names if "image" in name or "audio" in name}


def test_another_lora_starts_from_the_base(
    tmp_path: Path, sources: Any, base: dict[str, Tensor]
) -> None:
    one = Lora(saved(tmp_path, text_to_video(1), "one.safetensors"), 0.8)
    two = Lora(saved(tmp_path, text_to_video(2), "two.safetensors"), 1.1)
    merged(sources, one)
    alone, _ = merged(sources, two)
    up, down = pair(2)
    torch.testing.assert_close(
        alone.blocks[0].attn1.to_q.weight, base[f"{Q}.weight"] + 1.1 * (up @ down)
    )
    assert changed(merged(sources)[0], base) == set()
    both, _ = merged(sources, one, two)
    first, second = pair(1), pair(2)
    wanted = base[f"{Q}.weight"] + 0.8 * (first[0] @ first[1]) + 1.1 * (second[0] @ second[1])
    torch.testing.assert_close(both.blocks[0].attn1.to_q.weight, wanted, atol=1e-5, rtol=1e-5)


def test_it_is_merged_before_it_is_rounded(
    tmp_path: Path, sources: Any, base: dict[str, Tensor]
) -> None:
    up, down = pair(5)
    file = saved(tmp_path, {f"{Q}.lora_up.weight": up, f"{Q}.lora_down.weight": down})
    build = infinitetalk.builder(TINY)
    with torch.device("meta"):
        merge = plan([Lora(file)], keys.LORA, shapes_of(build()))
    with merging(merge) as mend:
        model = load(build, sources, targets(torch.device("cpu"), torch.bfloat16, ()), mend)
    wanted = (base[f"{Q}.weight"] + up @ down).bfloat16()
    assert torch.equal(model.blocks[0].attn1.to_q.weight, wanted)


def test_what_is_not_used_is_told(tmp_path: Path, sources: Any) -> None:
    up, down = pair(1)
    file = saved(
        tmp_path,
        {
            f"{Q}.lora_up.weight": up, f"{Q}.lora_down.weight": down,
            "blocks.40.norm3.diff": torch.ones(DIM), "blocks.0.self_attn.q.lora_mid": torch.ones(1),
        },
    )  # fmt: skip
    _, (warning,) = merged(sources, Lora(file))
    assert "style.safetensors: not used: 2 tensors" in warning
    assert "blocks.40.norm3.diff" in warning


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"unet.mid.lora_up.weight": (8, 4), "unet.mid.lora_down.weight": (4, 8)}, "nothing in"),
        ({f"{Q}.lora_up.weight": (DIM, 4)}, "half of a pair"),
        ({f"{Q}.lora_down.weight": (4, DIM)}, "half of a pair"),
        ({f"{Q}.lora_up.weight": (DIM, 4), f"{Q}.lora_down.weight": (8, DIM)}, "ranks 4 and 8"),
        ({f"{Q}.lora_up.weight": (64, 4), f"{Q}.lora_down.weight": (4, 64)}, "is for"),
        ({"blocks.0.norm3.diff": (DIM + 1,)}, "is for"),
        ({f"{Q}.alpha": (1,)}, "nothing in"),
    ],
)
def test_files_of_other_models_are_refused(
    tmp_path: Path, sources: Any, tensors: dict[str, tuple[int, ...]], why: str
) -> None:
    file = saved(tmp_path, {key: torch.ones(shape) for key, shape in tensors.items()})
    with pytest.raises(TalkheadError, match=why) as caught:
        merged(sources, Lora(file))
    assert caught.value.code is Code.WEIGHTS
    assert str(file) in caught.value.message


def test_an_empty_file_is_named(tmp_path: Path, sources: Any) -> None:
    file = tmp_path / "empty.safetensors"
    file.touch()
    with pytest.raises(TalkheadError, match="0 bytes"):
        merged(sources, Lora(file))


@pytest.mark.parametrize(
    "before", ["", "pipe.dit.", "base_model.model.", "pipe.dit.base_model.model."]
)
@pytest.mark.parametrize("named", ["", ".default"])
def test_names_of_peft(
    tmp_path: Path, sources: Any, base: dict[str, Tensor], before: str, named: str
) -> None:
    up, down = pair(1)
    tensors = {
        f"{before}{Q}.lora_{side}{named}.weight": part
        for side, part in zip("BA", (up, down), strict=True)
    }
    model, warnings = merged(sources, Lora(saved(tmp_path, tensors), 0.5))
    torch.testing.assert_close(
        model.blocks[0].attn1.to_q.weight, base[f"{Q}.weight"] + 0.5 * (up @ down)
    )
    assert warnings == ()


def test_whole_tensors_beside_pairs_are_left_to_others(
    tmp_path: Path, sources: Any, base: dict[str, Tensor]
) -> None:
    up, down = pair(1)
    tensors = {f"{Q}.lora_B.weight": up, f"{Q}.lora_A.weight": down, "extra.bias": torch.ones(3)}
    file = saved(tmp_path, tensors)
    model, warnings = merged(sources, Lora(file, beside=rules({r"extra\.bias": "extra.bias"})))
    assert changed(model, base) == {f"{OURS}.weight"}
    assert warnings == ()
    assert "extra.bias" in merged(sources, Lora(file))[1][0]
