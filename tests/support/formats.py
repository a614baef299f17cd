"""Official tensors written as people have them: optimum-quanto, fp8 of all sorts, GGUF."""

from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FP8 = torch.float8_e4m3fn
Tensors = Mapping[str, Tensor]
Writer = Callable[[Tensors, Path], Path]


def matrix(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is a linear layer's weight."""
    return name.endswith(".weight") and tensor.ndim == 2


def by_rows(tensor: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """Return a matrix over its rows' scales, and these (rows, 1)."""
    scale = tensor.abs().amax(1, keepdim=True) / most
    return tensor / scale, scale


def quanto(kind: str) -> Writer:
    """Return what writes optimum-quanto's state dict of a kind, scales in bfloat16."""

    def write(tensors: Tensors, file: Path) -> Path:
        found: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            if not matrix(name, tensor):
                found[name] = tensor.clone()
                continue
            over, scale = by_rows(tensor, 127 if kind == "int8" else 448)
            data = over.round().to(torch.int8) if kind == "int8" else over.to(FP8)
            found |= {f"{name}._data": data, f"{name}._scale": scale.bfloat16()}
            layer = name.removesuffix(".weight")
            found |= {f"{layer}.{side}_scale": torch.ones(()) for side in ("input", "output")}
        save_file(found, file)
        return file

    return write


def scaled(tensors: Tensors, file: Path) -> Path:
    """Write fp8 with one scale for each matrix, and the mark that ComfyUI knows such files by."""
    found = {"scaled_fp8": torch.empty(2, dtype=FP8)}
    for name, tensor in tensors.items():
        if matrix(name, tensor):
            scale = tensor.abs().max() / 448
            found[name] = (tensor / scale).to(FP8)
            found[f"{name.removesuffix('.weight')}.scale_weight"] = scale
        else:
            found[name] = tensor.clone()
    save_file(
        {f"diffusion_model.{k}" if k != "scaled_fp8" else k: v for k, v in found.items()}, file
    )
    return file


def rows(tensors: Tensors, file: Path) -> Path:
    """Write fp8 with a scale for each row, as LightX2V does."""
    found = {}
    for name, tensor in tensors.items():
        if matrix(name, tensor):
            over, scale = by_rows(tensor, 448)
            found |= {name: over.to(FP8), f"{name}_scale": scale}
        else:
            found[name] = tensor.clone()
    save_file(found, file)
    return file


def cast(tensors: Tensors, file: Path) -> Path:
    """Write what is larger than a vector as fp8, without any scale."""
    save_file({k: v.to(FP8) if v.ndim > 1 else v.bfloat16() for k, v in tensors.items()}, file)
    return file


def blocks(kind: str) -> Writer:
    """Return what writes a GGUF file: matrices in blocks of a kind where rows allow, the rest F32.

    Other tensors are folded to two sides at most, as ggml's own tools leave them.
    """

    def write(tensors: Tensors, file: Path) -> Path:
        writer = gguf.GGUFWriter(file, "wan")
        number = gguf.GGMLQuantizationType[kind]
        size = gguf.GGML_QUANT_SIZES[number][0]
        for name, tensor in tensors.items():
            array = tensor.float().numpy()
            if matrix(name, tensor) and tensor.shape[1] % size == 0:
                packed = gguf.quants.quantize(array, number)
                own = number if packed.dtype == np.uint8 else None
                writer.add_tensor(f"model.diffusion_model.{name}", packed, raw_dtype=own)
            else:
                folded = array.reshape(array.shape[0], -1) if array.ndim > 2 else array
                writer.add_tensor(f"model.diffusion_model.{name}", np.ascontiguousarray(folded))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file

    return write


# By what people call them: the writer, what is kept of it, and how far it is off the original.
WRITERS: Mapping[str, tuple[Writer, str | None, float]] = {
    "quanto int8": (quanto("int8"), "int8", 0.03),
    "quanto fp8": (quanto("float8"), "fp8", 0.1),
    "scaled fp8": (scaled, "fp8", 0.1),
    "fp8 by rows": (rows, "fp8", 0.1),
    "fp8 cast": (cast, "fp8", 0.15),
    "GGUF Q8_0": (blocks("Q8_0"), "gguf", 0.03),
    "GGUF Q5_0": (blocks("Q5_0"), "gguf", 0.15),
    "GGUF Q4_0": (blocks("Q4_0"), "gguf", 0.3),
    "GGUF F16": (blocks("F16"), None, 1e-3),
    "GGUF BF16": (blocks("BF16"), None, 0.02),
}
