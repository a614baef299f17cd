"""Small files that look like weights, and a small manifest that names them."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fake_hub import Hub
from talkhead import weights
from talkhead.weights.planning import Plan
from talkhead.weights.pull import Pulled, Terms, plan_sets, pull_sets

BIG = bytes(range(256)) * 2000  # 512 kB
SMALL = b'{"small": true}'

MANIFEST = """
[repos."org/model"]
licence = "MIT"
commercial = true

[repos."org/unstated"]

[repos."org/closed"]
licence = "CC BY-NC 4.0"
commercial = false

[repos.byhand]
local = true
licence = "CC BY-NC-SA 4.0"
commercial = false

[files.big]
repo = "org/model"
path = "deep/big.bin"
also = ["unet/big.bin"]

[files.tokenizer]
repo = "org/model"
path = "google/tok/"

[files.shards]
repo = "org/model"
path = "part*"

[files.config]
repo = "org/unstated"
path = "config.json"

[files.closed]
repo = "org/closed"
path = "closed.bin"

[files.hand]
repo = "byhand"
path = "Real/unet.bin"
also = ["byhand/unet.bin"]

[sets.small]
about = "one file and a folder"
files = ["big", "tokenizer"]

[sets.all]
about = "everything that can be pulled"
files = ["big", "tokenizer", "shards", "config"]
"""


def known() -> weights.Manifest:
    return weights.read(MANIFEST)


def safetensors(
    tensors: dict[str, tuple[int, ...]], *, cut: int = 0, metadata: bool = True
) -> bytes:
    """Return a safetensors file of F32 zeros, without its last `cut` bytes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}} if metadata else {}
    at = 0
    for name, shape in tensors.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    whole = struct.pack("<Q", len(text)) + text + bytes(at)
    return whole[: len(whole) - cut]


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@dataclass
class Puller:
    """Pulls by the small manifest, and keeps what was said."""

    hub: Hub
    root: Path
    terms: Terms
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def say(self, event: str, **details: Any) -> None:
        self.said.append((event, details))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [details for event, details in self.said if event == name]

    def __call__(self, *names: str, deadline_s: float = 20, commercial_only: bool = True) -> Pulled:
        return pull_sets(
            names,
            self.root,
            deadline_s=deadline_s,
            say=self.say,
            commercial_only=commercial_only,
            terms=self.terms,
        )

    def plan(self, *names: str) -> Plan:
        return plan_sets(names, self.root, deadline_s=20, commercial_only=False, terms=self.terms)

    def files(self) -> dict[str, bytes]:
        """Return the weights, without our own hidden files."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and not path.relative_to(self.root).as_posix().startswith(".")
        }

    def partials(self) -> list[Path]:
        return list(self.root.rglob("*.partial"))
