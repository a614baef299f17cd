"""A merged copy, as `talkhead weights convert` writes it, shows what base and checkpoint show."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support import omni_installation
from talkhead.engines import Frames, Inputs, Probe, Speaker, Supplies
from talkhead.engines.omniavatar import OmniAvatar, checkpoint
from talkhead.engines.omniavatar.choice import MODELS, Choice, transformer
from talkhead.engines.omniavatar.options import Options
from talkhead.models.placement import Placement
from talkhead.weights import convert, manifest
from talkhead.weights.locate import Places
from talkhead.weights.stopping import Until
from talkhead.weights.supply import finder, identity

WIDTH, HEIGHT, FRAMES = 48, 32, 20
OPTIONS = Options(max_tokens=26, overlap=5)  # chunks of 17 frames: two of them
SAMPLING = {"steps": 2}
MERGED = MODELS["14B"].merged
Merge = Callable[..., None]  # of a type, as --dtype has it


def quiet(*_args: Any, **_facts: Any) -> None:
    pass


def converted(root: Path, *names: str, dtype: str = "") -> None:
    wanted = convert.Wanted(names, root, dtype)
    convert.convert(wanted, Places(root), manifest(), Until(60), quiet, 0.0)


@pytest.fixture(scope="module")
def supplies(tmp_path_factory: pytest.TempPathFactory) -> Supplies:
    """Return what lies on disk as it is published, its pickles converted."""
    root = tmp_path_factory.mktemp("weights")
    omni_installation.install(root)
    converted(root, *omni_installation.pickles())
    return Supplies(finder(Places(root), manifest()), identity, (root / "prompts",), "cpu")


@pytest.fixture
def merge(supplies: Supplies) -> Iterator[Merge]:
    """Yield what writes a merged copy, which is gone after the test."""
    (root,) = (folder.parent for folder in supplies.prompts)

    def write(dtype: str = "") -> None:
        converted(root, MERGED, dtype=dtype)
        assert transformer(supplies.files, Choice()).delta is None

    yield write
    for file in (root / "merged").rglob("*.safetensors"):
        file.unlink()


def ran(supplies: Supplies) -> Frames:
    """Return all frames of a job."""
    made = np.random.default_rng(8)
    known = {"sampling": SAMPLING, "options": OPTIONS}
    engine = OmniAvatar(supplies)
    plan = engine.plan(
        Probe(WIDTH, HEIGHT, Fraction(25), FRAMES, (), FRAMES / 25, estimated=False, **known)
    )
    picture = made.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    speaker = Speaker(made.normal(0, 0.1, FRAMES * 640).astype(np.float32), None)
    prompt = "a person is talking"
    inputs = Inputs(picture, (speaker,), seed=5, prompt=prompt, **known)
    prepared = engine.prepare(inputs, plan, quiet)
    return np.concatenate([c.frames for c in engine.generate(prepared, plan, quiet, None)])


def test_the_frames_are_the_same_bit_for_bit(supplies: Supplies, merge: Merge) -> None:
    assert transformer(supplies.files, Choice()).delta is not None
    parts = ran(supplies)
    merge()
    assert np.array_equal(ran(supplies), parts)


def test_a_narrower_copy_shows_what_rounded_weights_show(
    supplies: Supplies, merge: Merge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit as well: rounding what was merged at load is all that makes the difference."""
    plain, load = ran(supplies), checkpoint.load_models

    def rounded(*given: Any) -> Any:
        models = load(*given)
        for tensor in models.transformer.parameters():
            tensor.data = tensor.bfloat16().to(tensor.dtype)
        return models

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "load_models", rounded)
        wanted = ran(supplies)
    merge("bf16")
    narrow = ran(supplies)
    assert np.array_equal(narrow, wanted)
    assert not np.array_equal(narrow, plain)
    assert np.abs(narrow.astype(int) - plain).mean() < 4


def test_in_bfloat16_a_narrower_copy_is_what_is_merged_at_load(
    supplies: Supplies, merge: Merge
) -> None:
    """As on a GPU: what is kept in float32 there (norms, modulation) is all that was rounded."""
    there = Placement(torch.device("cpu"), torch.bfloat16)

    def weights() -> dict[str, torch.Tensor]:
        models = checkpoint.load_models(supplies.files, Choice(), there, quiet)
        return dict(models.transformer.named_parameters())

    parts = weights()
    merge("bf16")
    for name, tensor in weights().items():
        assert tensor.dtype == parts[name].dtype
        assert torch.equal(tensor, parts[name].bfloat16().to(tensor.dtype)), name
