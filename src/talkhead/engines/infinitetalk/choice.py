"""Which weights a job wants, by their ids in weights/manifest.toml. Loads no torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from talkhead.engines.infinitetalk.presets import LORAS

# The files of the first of these ids that is here; raises E_PIPELINE_LOAD where none is.
Files = Callable[..., tuple[Path, ...]]

ADAPTERS = {1: "infinitetalk-single-adapter", 2: "infinitetalk-multi-adapter"}  # by speakers
BASE, BASE_CONFIG = ("wan-i2v",), ("wan-i2v-config",)
VAE, VISION = ("wan-vae-comfy", "wan-vae"), ("clip-vision-h", "wan-clip")
TEXT, TOKENIZER = ("umt5-bf16", "wan-t5"), ("wan-tokenizer",)
SPEECH, SPEECH_CONFIG = ("wav2vec2-zh",), ("wav2vec2-zh-config",)
ENCODER = "umt5-xxl"  # as the cache of prompts knows it


@dataclass(frozen=True, slots=True)
class Choice:
    """Which weights a job wants."""

    speakers: int
    lora: str | None = None  # a key of LORAS
    strength: float = 1.0
    alpha: Literal["ignore", "standard"] = "ignore"

    @property
    def ids(self) -> tuple[tuple[str, ...], ...]:
        """Return what it takes beside the encoder of text, each with its alternatives."""
        own = (LORAS[self.lora],) if self.lora else None
        wanted = (BASE, BASE_CONFIG, (ADAPTERS[self.speakers],), own, VAE, VISION)
        return tuple(ids for ids in (*wanted, SPEECH, SPEECH_CONFIG) if ids)


def choice_of(asked: Mapping[str, Any], speakers: int) -> Choice:
    """Return the weights of a job's settings."""
    return Choice(speakers, asked["lora"], asked["lora_strength"], asked["lora_alpha"])


def located(files: Files, choice: Choice) -> list[Path]:
    """Return all files of a choice; raises E_PIPELINE_LOAD for the first that is not here."""
    return [file for ids in choice.ids for file in files(*ids)]
