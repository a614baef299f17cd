"""Linear layers whose weights stay quantised, and quantising by rows.

A matrix is kept as numbers of 8 bits with a scale for each row (fp8, int8), or as GGUF's blocks. It
is made whole where it is multiplied; on GPUs with fp8 units a matrix in fp8 is multiplied as it is,
by activations that are rounded to fp8 with a scale for each token.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from talkhead.models.elementwise import fused, kernels
from talkhead.models.formats import Entry, Kind, Packed, Shape

FP8 = torch.float8_e4m3fn
LARGEST = {"fp8": 448.0, "int8": 127.0}
MULTIPLE = 16  # of both sides of a matrix that fp8 units take
CAPABLE = (8, 9)  # CUDA capability from which on there are fp8 units


@dataclass(frozen=True, slots=True)
class Keep:
    """Which weights stay quantised: matrices in these lists of modules, all linear layers'."""

    lists: tuple[str, ...]
    device: torch.device  # where they are multiplied, wherever they wait
    kind: Kind | None = None  # fp8 or int8; None: as their file has them

    def takes(self, name: str, shape: Shape) -> bool:
        """Return whether a weight is one that may stay quantised."""
        part = name.partition(".")[0]
        return part in self.lists and name.endswith(".weight") and len(shape) == 2

    def kind_of(self, kind: Kind | None, *, changed: bool = False) -> Kind | None:
        """Return what a weight that its file has in a kind is kept as; None is not quantised.

        GGUF's blocks cannot be made again: what was changed of them (by a LoRA) is kept as int8.
        """
        kept = self.kind or kind
        return "int8" if changed and kept == "gguf" else kept

    def nbytes(self, name: str, entry: Entry, itemsize: int, *, changed: bool = False) -> int:
        """Return the bytes that a tensor will take, `itemsize` for each number if it is plain."""
        kept = self.kind_of(entry.kind, changed=changed) if self.takes(name, entry.shape) else None
        if kept is None:
            return prod(entry.shape) * itemsize
        if kept == "gguf":
            return entry.nbytes
        return prod(entry.shape) + 4 * entry.shape[0]


class QuantLinear(nn.Module):
    """A linear layer of a packed weight; in place of nn.Linear where that is only called."""

    scale: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, packed: Packed, bias: nn.Parameter | None, *, fast: bool = False) -> None:
        """Take the weight as it is; `fast` multiplies fp8 by fp8."""
        super().__init__()
        self.kind, self.number, self.fast = packed.kind, packed.number, fast
        self.weight = _fixed(packed.data)
        self.scale = None if packed.scale is None else _fixed(packed.scale)
        self.bias = bias

    @property
    def packed(self) -> Packed:
        """Return the weight as it is kept."""
        return Packed(self.kind, self.weight, self.scale, self.number)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (..., out) of x (..., in), in x's dtype."""
        if self.fast and self.scale is not None:
            return scaled_linear(x, self.weight, self.scale, self.bias)
        return functional.linear(x, self.packed.wide().to(x.dtype), self.bias)

    def extra_repr(self) -> str:
        """Return what print() shows of it."""
        return f"kind={self.kind}, fast={self.fast}"


def matrix(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """Return a linear layer's weight (out, in), made whole where it is quantised."""
    if isinstance(layer, QuantLinear):
        return layer.packed.wide().to(dtype)
    assert isinstance(layer, nn.Linear)  # noqa: S101
    return layer.weight.to(dtype)


def quantise(weight: Tensor, kind: Kind) -> Packed:
    """Return a matrix (out, in) as fp8 or int8, each row's largest number at the type's largest."""
    wide, most = weight.float(), LARGEST[kind]
    scale = wide.abs().amax(dim=1, keepdim=True) / most
    scale = torch.where(scale > 0, scale, 1.0)  # a row of zeros
    wide = (wide / scale).clamp_(-most, most)
    return Packed(kind, wide.round_().to(torch.int8) if kind == "int8" else wide.to(FP8), scale)


def fast_fp8(device: torch.device, dtype: torch.dtype, shape: Shape) -> bool:
    """Return whether a device multiplies a matrix of that shape in fp8."""
    if device.type != "cuda" or dtype != torch.bfloat16 or any(side % MULTIPLE for side in shape):
        return False
    return torch.cuda.get_device_capability(device) >= CAPABLE


def scaled_linear(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Return bf16 (..., out) of x (..., in) rounded to fp8 and a weight in fp8, scales by rows."""
    rows, by_token = rounded(x.flatten(0, -2))
    made: Tensor = torch._scaled_mm(
        rows,
        weight.t(),
        scale_a=by_token,
        scale_b=scale.t(),
        bias=bias,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,  # of Hopper's units; its error is far below that of rounding to fp8
    )
    return made.reshape(*x.shape[:-1], -1)


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (n, d) as fp8, and f32 (n, 1) by which that is to be multiplied.

    The scale is one that x's dtype can hold, so that nothing wider than x is held on the way.
    """
    most = LARGEST["fp8"]
    if fused(x):
        made: tuple[Tensor, Tensor] = kernels.rounded(x, most, torch.finfo(x.dtype).tiny * most)
        return made
    scale = torch.linalg.vector_norm(x, ord=float("inf"), dim=-1, keepdim=True) / most
    scale = scale.clamp(min=torch.finfo(x.dtype).tiny * most)
    return (x / scale).clamp_(-most, most).to(FP8), scale.float()


def _fixed(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
