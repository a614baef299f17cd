"""Every published name stands for one of ours, and every one of ours has a published name."""

import pytest
import torch
from diffusers import WanTransformer3DModel

from support import infinitetalk
from support.infinitetalk import TINY
from talkhead.engines.infinitetalk import keys
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.errors import Code, TalkheadError
from talkhead.models.loading import Rules, renamed, shapes_of, stored


def published(layers: int) -> list[str]:
    blocks = [
        f"blocks.{layer}.{name}" for layer in range(layers) for name in infinitetalk.OFFICIAL_BLOCK
    ]
    return [*infinitetalk.OFFICIAL_REST, *blocks]


def ours(names: list[str], rules: Rules) -> list[str]:
    found = [renamed(name, rules) for name in names]
    assert None not in found
    return [name for name in found if name is not None]


@pytest.fixture(scope="module")
def full_size() -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes_of(InfiniteTalkTransformer())


def test_official_names_are_exactly_the_models(full_size: dict[str, tuple[int, ...]]) -> None:
    found = ours(published(40), keys.OFFICIAL)
    assert len(found) == len(set(found)) == 1633
    assert set(found) == set(full_size)


def test_the_published_sizes(full_size: dict[str, tuple[int, ...]]) -> None:
    count = {name: torch.Size(shape).numel() for name, shape in full_size.items()}
    assert round(sum(count.values()) / 1e9, 2) == 18.88
    adapter = [name for name in published(40) if infinitetalk.adapter_name(name)]
    assert len(adapter) == 330
    total = sum(count[name] for name in ours(adapter, keys.ADAPTER))
    assert round(total / 1e9, 3) == 2.487
    assert full_size["audio_proj.proj1_vf.weight"] == (512, 73728)
    assert full_size["audio_memory.39.to_kv.weight"] == (10240, 768)


def test_no_name_is_in_two_tables() -> None:
    for name in published(2):
        known = [rules for rules in (keys.BASE, keys.ADAPTER) if renamed(name, rules)]
        assert len(known) == 1


def test_every_rule_is_needed() -> None:
    for rules in (keys.BASE, keys.ADAPTER):
        for pattern, _ in rules:
            assert [name for name in published(1) if pattern.fullmatch(name)], pattern.pattern


@pytest.mark.parametrize(
    "name",
    [
        "blocks.0.self_attn.q.scale",
        "blocks.0.self_attn.q.weight.more",
        "xblocks.0.self_attn.q.weight",
        "blocks.zero.self_attn.q.weight",
        "blocks.0.cross_attn.q_img.weight",
        "blocks.0.audio_cross_attn.k_linear.weight",
        "img_emb.proj.2.weight",
        "patch_embeddingXweight",
    ],
)
def test_like_names_are_not_known(name: str) -> None:
    assert renamed(name, keys.OFFICIAL) is None


def test_diffusers_names_are_exactly_the_base() -> None:
    with torch.device("meta"):
        theirs = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=24, in_channels=36, text_dim=20, freq_dim=16,
            ffn_dim=64, num_layers=2, image_dim=16, added_kv_proj_dim=48,
        )  # fmt: skip
    names = [name for name in theirs.state_dict() if "norm_added_q" not in name]
    found = ours(names, keys.DIFFUSERS)
    base = ours([n for n in published(2) if not infinitetalk.adapter_name(n)], keys.BASE)
    assert len(found) == len(set(found))
    assert set(found) == set(base)
    with torch.device("meta"):
        wanted = shapes_of(infinitetalk.builder({**TINY, "num_layers": 2})())
    sizes = shapes_of(theirs)
    assert all(wanted[name] == sizes[key] for key, name in zip(names, found, strict=True))


def test_sizes_are_told_by_shapes(tmp_path) -> None:
    sources = infinitetalk.write(tmp_path, infinitetalk.weights(TINY))
    found = keys.sizes_of(stored(sources), TINY["num_heads"], TINY["audio_blocks"])
    wanted = infinitetalk.config(TINY)
    assert {name: found[name] for name in wanted} == wanted
    with pytest.raises(TalkheadError, match=r"audio_proj\.proj1\.weight") as caught:
        keys.sizes_of(stored(sources[:1]), TINY["num_heads"], TINY["audio_blocks"])
    assert caught.value.code is Code.WEIGHTS
