"""Reference numbers of the official code: where they lie, and how they are read.

TALKHEAD_GOLDENS names another folder of the same form; without it, the copies beside the tests.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HERE = Path(__file__).parents[1] / "goldens"


def folder(name: str) -> Path:
    """Return the folder of one set of reference numbers."""
    root = Path(os.environ.get("TALKHEAD_GOLDENS") or HERE)
    path = root / name
    if not path.is_dir():
        raise FileNotFoundError(f"no reference numbers called {name} in {root}")
    return path


def read(name: str, stem: str = "golden") -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the JSON and the tensors of `stem` in the set `name`, as they are stored."""
    path = folder(name) / stem
    facts = json.loads(path.with_suffix(".json").read_text())
    return facts, load_file(path.with_suffix(".safetensors"))


def under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with `prefix`, without it, floats as float32."""
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
