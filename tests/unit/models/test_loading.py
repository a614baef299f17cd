"""Weights come from files strictly, in their own dtypes, and never twice in memory."""

import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from talkhead.errors import Code, TalkheadError
from talkhead.models import loading
from talkhead.models.loading import Model, Source, Target, load, rules, stored, targets

CPU = torch.device("cpu")
WIDE = targets(CPU, torch.float32, ())
RULES = rules({r"in\.(weight|bias)": r"first.\1", r"out\.(weight|bias)": r"second.\1"})


class Pair(nn.Module):
    """Two layers, whose published names are `in` and `out`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(seed)
    shapes = {"in.weight": (4, 3), "in.bias": (4,), "out.weight": (2, 4), "out.bias": (2,)}
    return {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}


def written(folder: Path, given: dict[str, Tensor], name: str = "a.safetensors") -> Path:
    save_file(given, folder / name)
    return folder / name


def read(
    *files: Path,
    build: Callable[[], Model] = Pair,
    target: Callable[[str], Target] = WIDE,
) -> Model:
    return load(build, [Source(files, RULES)], target)


def test_a_model_has_its_files_weights(tmp_path: Path) -> None:
    given = tensors()
    ticks: list[tuple[int, int]] = []
    source = Source((written(tmp_path, given),), RULES)
    model = load(Pair, [source], WIDE, tick=lambda *t: ticks.append(t))
    assert torch.equal(model.first.weight, given["in.weight"])
    assert torch.equal(model.second.bias, given["out.bias"])
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert ticks == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_parts_of_a_checkpoint(tmp_path: Path) -> None:
    given = tensors()
    one = written(tmp_path, {"in.weight": given["in.weight"], "out.bias": given["out.bias"]}, "1")
    two = written(tmp_path, {"in.bias": given["in.bias"], "out.weight": given["out.weight"]}, "2")
    model = read(one, two)
    assert torch.equal(model.second.weight, given["out.weight"])
    with pytest.raises(TalkheadError, match="2 tensors") as caught:
        read(one)
    assert caught.value.code is Code.WEIGHTS
    assert "first.bias" in caught.value.message
    assert str(one) in caught.value.message
    assert "talkhead weights" in caught.value.hint


def test_the_last_source_counts(tmp_path: Path) -> None:
    base, adapter = tensors(0), tensors(1)
    sources = [
        Source((written(tmp_path, base, "base"),), RULES),
        Source((written(tmp_path, {"in.bias": adapter["in.bias"]}, "adapter"),), RULES),
    ]
    model = load(Pair, sources, WIDE)
    assert torch.equal(model.first.bias, adapter["in.bias"])
    assert torch.equal(model.first.weight, base["in.weight"])


def test_what_a_source_skips_is_left_to_others(tmp_path: Path) -> None:
    base = {**tensors(), "in.weight": torch.ones(4, 1), "in.weight.lora_A": torch.ones(1)}
    adapter = {"in.weight": tensors(1)["in.weight"], "model": torch.ones(2)}
    first = Source((written(tmp_path, base, "base"),), RULES, re.compile(r"in\.weight.*"))
    second = Source((written(tmp_path, adapter, "adapter"),), RULES, re.compile("model"))
    model = load(Pair, [first, second], WIDE)
    assert torch.equal(model.first.weight, adapter["in.weight"])
    assert torch.equal(model.first.bias, base["in.bias"])
    assert stored([first]).keys() == {"first.bias", "second.weight", "second.bias"}
    with pytest.raises(TalkheadError, match=r"1 tensor \(first.weight\) missing from"):
        load(Pair, [first], WIDE)
    with pytest.raises(TalkheadError, match=r"has 1 tensor \(model\), unknown to this model"):
        load(Pair, [first, Source(second.files, RULES)], WIDE)


def test_each_tensor_has_its_own_dtype(tmp_path: Path) -> None:
    file = written(tmp_path, tensors())
    model = read(file, target=targets(CPU, torch.bfloat16, ("second",)))
    assert model.first.weight.dtype == torch.bfloat16
    assert model.second.weight.dtype == torch.float32
    model = read(file, target=targets(CPU, torch.bfloat16, ("seco",)))
    assert model.second.weight.dtype == torch.bfloat16  # whole parts of a name only


def refused(file: Path, *others: Path) -> str:
    with pytest.raises(TalkheadError) as caught:
        read(file, *others)
    assert caught.value.code is Code.WEIGHTS
    assert caught.value.hint
    return caught.value.message


def test_an_unknown_tensor(tmp_path: Path) -> None:
    file = written(tmp_path, {**tensors(), "in.scale": torch.ones(1)})
    assert f"{file} has 1 tensor (in.scale), unknown" in refused(file)


def test_a_tensor_of_a_larger_model(tmp_path: Path) -> None:
    table = rules({r"(.*)": r"\1"})
    file = written(tmp_path, {"third.weight": torch.ones(1)})
    with pytest.raises(TalkheadError, match=r"third\.weight"):
        load(Pair, [Source((file,), table)], WIDE)


def test_a_wrong_shape(tmp_path: Path) -> None:
    file = written(tmp_path, {**tensors(), "in.weight": torch.ones(3, 4)})
    assert f"{file}: in.weight is [3, 4], not [4, 3]" in refused(file)


def test_a_tensor_given_twice(tmp_path: Path) -> None:
    one, two = written(tmp_path, tensors(), "1"), written(tmp_path, tensors(), "2")
    message = refused(one, two)
    assert str(one) in message
    assert f"again in {two}" in message


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "a placeholder of 0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git-LFS"),
        (b"<!doctype html><html>Sign in</html>", "damaged or cut short"),
        (None, "not there"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "a.safetensors"
    if content is not None:
        file.write_bytes(content)
    message = refused(file)
    assert str(file) in message
    assert why in message


def test_a_file_cut_short(tmp_path: Path) -> None:
    file = written(tmp_path, tensors())
    file.write_bytes(file.read_bytes()[:-5])
    assert "damaged or cut short" in refused(file)


def test_nothing_is_in_memory_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that was read is gone before the next one is."""
    source = Source((written(tmp_path, tensors(), "1.safetensors"),), RULES)
    alive: list[weakref.ref[Tensor]] = []
    original = loading._put
    most = 0

    def watched(model: nn.Module, name: str, tensor: Tensor, *rest: object) -> None:
        nonlocal most
        alive.append(weakref.ref(tensor))
        most = max(most, sum(ref() is not None for ref in alive))
        original(model, name, tensor, *rest)

    monkeypatch.setattr(loading, "_put", watched)
    model = load(Pair, [source], WIDE)
    assert len(alive) == 4
    assert most == 1
    assert not [ref for ref in alive if ref() is not None]
    assert not any(parameter.is_meta for parameter in model.parameters())


def test_memory_is_that_of_the_model(tmp_path: Path) -> None:
    """Loading costs the host the model's bytes, and one tensor more at most."""
    given = {f"layers.{index}.weight": torch.ones(256, 1024) for index in range(24)}  # 1 MB each
    file = written(tmp_path, given)
    table = rules({r"layers\.(\d+)\.weight": r"\1.weight"})
    del given
    held: list[int] = []

    def build() -> nn.Module:
        return nn.ModuleList(nn.Linear(1024, 256, bias=False) for _ in range(24))

    def count(done: int, _total: int) -> None:
        if done % 8:  # looking through all objects takes its time
            return
        held.append(sum(t.nbytes for t in living() if t.shape == (256, 1024)))

    load(build, [Source((file,), table)], targets(CPU, torch.bfloat16, ()), tick=count)
    whole, one = 24 * 2**19, 2**20  # bytes: the model in bfloat16, a tensor as it is stored
    assert max(held) <= whole + one
    assert held[-1] >= whole


def living() -> list[Tensor]:
    found = [item for item in gc.get_objects() if type(item) in (Tensor, nn.Parameter)]
    return [tensor for tensor in found if not tensor.is_meta]


def test_the_file_may_go_once_it_is_loaded(tmp_path: Path) -> None:
    file = written(tmp_path, tensors())
    model = read(file)
    file.write_bytes(b"\0" * file.stat().st_size)
    assert torch.equal(model.first.weight, tensors()["in.weight"])


def test_buffers_that_no_file_holds_are_a_mistake(tmp_path: Path) -> None:
    class Rotating(Pair):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("angles", torch.ones(2), persistent=False)

    with pytest.raises(ValueError, match="angles"):
        read(written(tmp_path, tensors()), build=Rotating)
