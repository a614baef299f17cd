"""InfiniteTalk's transformer against the official code's, step by step; facts from the JSON."""

from typing import Any

import pytest
import torch
from torch import Tensor

from parity.goldens import read, under
from support import infinitetalk
from talkhead.engines.infinitetalk import blocks, routing
from talkhead.engines.infinitetalk.transformer import InfiniteTalkTransformer
from talkhead.models.attention import Rope, grid_rope, line_rope, rotate
from talkhead.models.wan_transformer import sinusoid

DIT = 1e-5

FACTS, TENSORS = read("infinitetalk_dit")
CASES = FACTS["cases"]
FULL = [name for name, case in CASES.items() if case.get("full")]


def apart(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one.double() - other.double()).abs().max())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> InfiniteTalkTransformer:
    folder = tmp_path_factory.mktemp("dit")
    return infinitetalk.loaded(folder, FACTS["config"], under(TENSORS, "weights."))


def window_audio(case: dict[str, Any]) -> Tensor:
    audio = TENSORS["in.audio"][: case["speakers"]]
    return torch.zeros_like(audio[:1]) if case.get("zero_audio") else audio


def ran(model: InfiniteTalkTransformer, case: dict[str, Any]) -> Tensor:
    """Return the velocity (16, t, h, w) of one case."""
    text = TENSORS["in.context_null" if case.get("null_text") else "in.context"]
    condition = model.condition(
        TENSORS["in.y"][None],
        model.text_keys(text[None]),
        model.image_keys(TENSORS["in.clip_fea"]),
        model.audio_keys(window_audio(case)),
        TENSORS["in.ref_target_masks"] if case["speakers"] > 1 else None,
    )
    with torch.inference_mode():
        return model(TENSORS["in.latent"][None], torch.tensor([case["t"]]), condition)[0]


@pytest.mark.parametrize("name", CASES)
def test_velocity(model: InfiniteTalkTransformer, name: str) -> None:
    assert apart(ran(model, CASES[name]), TENSORS[f"{name}.out"]) <= DIT


@pytest.mark.parametrize("name", FULL)
def test_time(model: InfiniteTalkTransformer, name: str) -> None:
    t = torch.tensor([CASES[name]["t"]])
    waves = sinusoid(t, FACTS["config"]["freq_dim"])
    pace, modulation = model.time(t)
    assert apart(waves[0], TENSORS[f"{name}.time.sinusoid"]) <= DIT
    assert apart(pace[0], TENSORS[f"{name}.time.e"]) <= DIT
    assert apart(modulation[0], TENSORS[f"{name}.time.e0"]) <= DIT


@pytest.mark.parametrize("name", FULL)
def test_tokens(model: InfiniteTalkTransformer, name: str) -> None:
    text = model.text_tokens(TENSORS["in.context"][None])[0]
    assert apart(text[: len(TENSORS[f"{name}.ctx.text"])], TENSORS[f"{name}.ctx.text"]) <= DIT
    image = model.condition_embedder.image_embedder(TENSORS["in.clip_fea"])[0]
    assert apart(image, TENSORS[f"{name}.ctx.image"]) <= DIT
    audio = window_audio(CASES[name])
    first, later = blocks.grouped(audio, FACTS["config"]["vae_scale"])
    assert torch.equal(first, TENSORS[f"{name}.audio.first"])
    assert torch.equal(later, TENSORS[f"{name}.audio.latter"])
    assert apart(model.audio_proj(audio), TENSORS[f"{name}.audio.tokens"]) <= DIT


def recorded(
    model: InfiniteTalkTransformer, name: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """Run a case and return what its blocks made, by the goldens' names."""
    made: dict[str, Tensor] = {}
    hooks = []
    for index, block in enumerate(model.blocks):
        parts = {
            "self_attn": block.attn1, "cross_attn": block.attn2, "audio_attn": block.audio_attn,
            "out": block,
        }  # fmt: skip
        for part, module in parts.items():

            def keep(_module: Any, _given: Any, out: Any, where: str = f"block{index}.{part}"):
                made[where] = (out[0] if isinstance(out, tuple) else out)[0]

            hooks.append(module.register_forward_hook(keep))
    for function, what in (("reference_map", "ref_map"), ("query_positions", "pos_q")):
        keep_results(monkeypatch, function, what, made)
    ran(model, CASES[name])
    for hook in hooks:
        hook.remove()
    return made


def keep_results(
    monkeypatch: pytest.MonkeyPatch, function: str, what: str, made: dict[str, Tensor]
) -> None:
    """Keep what a function of routing returns, once for every block in turn."""
    original = getattr(routing, function)
    calls = iter(range(FACTS["config"]["num_layers"]))

    def keeping(*given: Any) -> Tensor:
        out: Tensor = original(*given)
        made[f"block{next(calls)}.{what}"] = out[0]
        return out

    monkeypatch.setattr(routing, function, keeping)


@pytest.mark.parametrize("name", FULL)
def test_every_block(
    model: InfiniteTalkTransformer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {key: value for key, value in under(TENSORS, f"{name}.").items() if "block" in key}
    made = recorded(model, name, monkeypatch)
    compared = {key: apart(made[key], wanted[key]) for key in wanted if not key.endswith("pos_k")}
    assert compared
    assert {key: worst for key, worst in compared.items() if worst > DIT} == {}
    assert {key for key in made if key not in wanted} == set()


@pytest.mark.parametrize("name", FULL)
def test_where_speakers_stand(name: str) -> None:
    sizes = FACTS["config"]
    line = routing.key_positions(
        sizes["context_tokens"], sizes["class_range"], sizes["class_interval"], torch.device("cpu")
    )
    wanted = [value for key, value in under(TENSORS, f"{name}.").items() if key.endswith("pos_k")]
    assert bool(wanted) == (CASES[name]["speakers"] > 1)
    for positions in wanted:
        assert torch.equal(line.repeat(FACTS["grid"]["latent_frames"]), positions)


def test_rotary_positions() -> None:
    grid, patch = FACTS["grid"], FACTS["config"]["patch_size"]
    size = (
        grid["latent_frames"] // patch[0], grid["lat_h"] // patch[1], grid["lat_w"] // patch[2]
    )  # fmt: skip
    x = TENSORS["rope.in"]
    turned = rotate(x, grid_rope(size, x.shape[-1], x.device))
    assert apart(turned, TENSORS["rope.out"]) <= DIT
    line = TENSORS["rope1d.in"].transpose(1, 2)  # tokens before heads
    turned = rotate(line, line_rope(TENSORS["rope1d.pos"], line.shape[-1]))
    assert apart(turned.transpose(1, 2), TENSORS["rope1d.out"]) <= DIT


def swapped_routing(maps: Tensor, span: float, width: float) -> Tensor:
    """The two persons in the wrong order."""
    return RIGHT_POSITIONS(maps[:, [1, 0, 2]], span, width)


def even_grouping(audio: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """As many features as there should be, of the wrong frames."""
    first, later = RIGHT_GROUPING(audio, stride)
    return first, later.roll(1, dims=2)


def late_keys(tokens: int, span: float, width: float, device: torch.device) -> Tensor:
    """The audio of the two persons in the wrong places."""
    return RIGHT_KEYS(tokens, span, width, device).flip(0)


def split_rope(x: Tensor, rope: Rope) -> Tensor:
    """Pairs made of the halves of a head, as other models do."""
    half = x.shape[-1] // 2
    order = torch.stack([torch.arange(half), torch.arange(half) + half], 1).flatten()
    return RIGHT_ROTATION(x[..., order], rope)[..., order.argsort()]


RIGHT_POSITIONS, RIGHT_GROUPING = routing.query_positions, blocks.grouped
RIGHT_KEYS, RIGHT_ROTATION = routing.key_positions, blocks.rotate
MISTAKES = {
    "routing order": (routing, "query_positions", swapped_routing, 2),
    "speakers' places": (routing, "key_positions", late_keys, 2),
    "audio grouping": (blocks, "grouped", even_grouping, 1),
    "pairs of the rope": (blocks, "rotate", split_rope, 1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(
    model: InfiniteTalkTransformer, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name, wrong, speakers = MISTAKES[mistake]
    monkeypatch.setattr(module, name, wrong)
    met = [name for name, case in CASES.items() if case["speakers"] >= speakers]
    if not met:
        pytest.skip(f"no case has {speakers} speakers")
    worst = max(apart(ran(model, CASES[name]), TENSORS[f"{name}.out"]) for name in met)
    assert worst > 100 * DIT


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> InfiniteTalkTransformer:
    folder = tmp_path_factory.mktemp("bfloat16")
    tensors = under(TENSORS, "weights.")
    return infinitetalk.loaded(folder, FACTS["config"], tensors, torch.bfloat16)


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_is_near(
    model: InfiniteTalkTransformer,
    narrow: InfiniteTalkTransformer,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where two speakers' maps all but tie, rounding decides: there the choice is float32's."""
    chosen: list[Tensor] = []
    found: list[Tensor] = []

    def keep(*given: Any) -> Tensor:
        chosen.append(RIGHT_POSITIONS(*given))
        return chosen[-1]

    def repeat(*given: Any) -> Tensor:
        found.append(RIGHT_POSITIONS(*given))
        return chosen[len(found) - 1]

    monkeypatch.setattr(routing, "query_positions", keep)
    wide = ran(model, CASES[name])
    monkeypatch.setattr(routing, "query_positions", repeat)
    assert (ran(narrow, CASES[name]) - wide).norm() / wide.norm() <= 2e-2
    for one, other in zip(chosen, found, strict=True):
        assert ((one - other).abs() > FACTS["config"]["class_interval"]).float().mean() <= 0.05
