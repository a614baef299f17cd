"""Ids in weights/manifest.toml of what models of Wan 2.1 share. Loads no torch."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from talkhead.errors import Code, TalkheadError

# The files of the first of these ids that is here; raises E_PIPELINE_LOAD where none is.
Files = Callable[..., tuple[Path, ...]]

VAE = ("wan-vae-comfy", "wan-vae")
TEXT, TOKENIZER = ("umt5-bf16", "wan-t5"), ("wan-tokenizer",)
SMALL_TEXT = ("umt5-fp8", "infinitetalk-t5-fp8")  # where none of TEXT is here
ENCODER, SMALL_ENCODER = "umt5-xxl", "umt5-xxl fp8"  # as the cache of prompts knows them


def here(files: Files, ids: Sequence[str]) -> tuple[Path, ...]:
    """Return the files of the first of these ids that is on this machine, none where none is."""
    try:
        return files(*ids)
    except TalkheadError as error:
        if error.code is not Code.WEIGHTS:
            raise
        return ()


def config(file: Path) -> dict[str, Any]:
    """Return the content of a config.json."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found
