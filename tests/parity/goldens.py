"""Reference numbers of the official code: where they lie, and how they are read.

TALKHEAD_GOLDENS names another folder of the same form; without it, the copies beside the tests.
Some copies lack large tensors that others of their set follow from; tests of those are skipped.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
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
    return facts, stored(path.with_suffix(".safetensors"))


def meta(name: str, *, optional: bool = False) -> dict[str, Any]:
    """Return what meta.json says of a set; skips the test where an optional one is left out."""
    try:
        path = folder(name)
    except FileNotFoundError as missing:
        if optional:
            pytest.skip(f"only in whole sets: {missing}")
        raise
    facts: dict[str, Any] = json.loads((path / "meta.json").read_text())
    return facts


def part(name: str, stem: str = "io") -> dict[str, torch.Tensor]:
    """Return the tensors of one file of a set, as they are stored; skips where it is left out."""
    file = folder(name) / f"{stem}.safetensors"
    if not file.is_file():
        pytest.skip(f"only in whole sets: {name}/{file.name} is left out of {file.parents[1]}")
    return stored(file)


def some(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return one tensor; skips the test where it is left out of its file."""
    if name not in tensors:
        pytest.skip(f"only in whole sets: {name} is left out")
    return tensors[name]


def under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with `prefix`, without it, floats as float32."""
    return {
        name.removeprefix(prefix): value.float() if value.is_floating_point() else value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def shown_video(tensors: dict[str, torch.Tensor], name: str) -> tuple[int, torch.Tensor]:
    """Return every how many frames of a case's video are there, all of them or a third, and those.

    The repository's copy has a third, for its size.
    """
    if f"{name}.video" in tensors:
        return 1, tensors[f"{name}.video"]
    return 3, tensors[f"{name}.video_every3"]


def stored(file: Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors. The repository's copies hold equal ones once, named in `same`."""
    with safe_open(file, "pt") as held:
        same = json.loads((held.metadata() or {}).get("same", "{}"))
    tensors = load_file(file)
    return tensors | {name: tensors[other] for name, other in same.items()}
