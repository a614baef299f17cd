"""Which weights a job wants, by their ids in weights/manifest.toml. Loads no torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from talkhead.engines.infinitetalk.presets import LORAS
from talkhead.engines.wan import quant_of
from talkhead.errors import Code, TalkheadError
from talkhead.models.wan_files import VAE, Files

Quant = Literal["fp8", "int8", "gguf"]

QUANTS: tuple[Quant, ...] = ("fp8", "int8", "gguf")  # values of memory.quant
FULL = "wan-i2v"
# Whole models, adapter included, by kind and speakers.
WHOLE = {
    "fp8": {1: "infinitetalk-single-fp8", 2: "infinitetalk-multi-fp8"},
    "int8": {1: "infinitetalk-single-int8", 2: "infinitetalk-multi-int8"},
}
CAST = "wan-i2v-fp8"
GGUF = (  # the finest first
    "wan-i2v-q8", "wan-i2v-q6", "wan-i2v-q5", "wan-i2v-q4-k-m", "wan-i2v-q4", "wan-i2v-q3-k-m",
)  # fmt: skip
ADAPTERS = {1: "infinitetalk-single-adapter", 2: "infinitetalk-multi-adapter"}  # by speakers
SCALED = {1: "infinitetalk-single-fp8-scaled", 2: "infinitetalk-multi-fp8-scaled"}
BLOCKS = {1: ("infinitetalk-single-q8", "infinitetalk-single-q6"), 2: ("infinitetalk-multi-q8",)}
BASE_CONFIG = ("wan-i2v-config",)
VISION = ("clip-vision-h", "wan-clip")
SPEECH, SPEECH_CONFIG = ("wav2vec2-zh",), ("wav2vec2-zh-config",)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which weights a job wants."""

    speakers: int
    lora: str | None = None  # a key of LORAS
    strength: float = 1.0
    alpha: Literal["ignore", "standard"] = "ignore"
    quant: Quant | None = None
    base: str | None = None  # an id; None: the best that is here

    @property
    def ids(self) -> tuple[tuple[str, ...], ...]:
        """Return what it takes beside transformer and encoder of text, each with alternatives."""
        own = (LORAS[self.lora],) if self.lora else None
        return tuple(ids for ids in (BASE_CONFIG, own, VAE, VISION, SPEECH, SPEECH_CONFIG) if ids)


class Found(NamedTuple):
    """The transformer's files that are here."""

    id: str  # of the base, or of the whole model
    base: tuple[Path, ...]
    adapter: tuple[Path, ...]  # none where the base holds it

    @property
    def parts(self) -> tuple[tuple[Path, ...], ...]:
        """Return files of weights by part, the one that counts last."""
        base = tuple(file for file in self.base if file.suffix != ".json")  # an index of parts
        return (base, self.adapter) if self.adapter else (base,)


def choice_of(asked: Mapping[str, Any], speakers: int) -> Choice:
    """Return the weights of a job's settings; raises E_INPUT_VALIDATION for unknown kinds."""
    quant = quant_of("infinitetalk", asked["quant"], QUANTS)
    return Choice(
        speakers, asked["lora"], asked["lora_strength"], asked["lora_alpha"], quant, asked["base"]
    )


def transformer(files: Files, choice: Choice) -> Found:
    """Return the best files of the transformer that are here for a choice.

    Raises E_PIPELINE_LOAD for the first that is lacking beside others, E_INPUT_VALIDATION for a
    base that no manifest has.
    """
    lacking: TalkheadError | None = None
    partly = False  # whether what is lacking goes with something that is here
    for base, adapters in ways(choice):
        here: tuple[Path, ...] = ()
        try:
            here = files(base)
            return Found(base, here, files(*adapters) if adapters else ())
        except TalkheadError as error:
            if error.code is Code.INTERNAL and base == choice.base:
                raise _unknown(base) from error
            if lacking is None or (here and not partly):
                lacking, partly = error, bool(here)
    assert lacking is not None  # noqa: S101 - there is always a way
    raise lacking


def located(files: Files, choice: Choice) -> list[Path]:
    """Return all files of a choice; raises E_PIPELINE_LOAD for the first that is not here."""
    found = transformer(files, choice)
    rest = [file for ids in choice.ids for file in files(*ids)]
    return [*found.base, *found.adapter, *rest]


def ways(choice: Choice) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield ids of bases, each with its adapter's (none for a whole model), the best first."""
    count, quant = choice.speakers, choice.quant
    adapters = _adapters(count, quant)
    whole = {kind: ids[count] for kind, ids in WHOLE.items()}
    if choice.base is not None:
        yield choice.base, () if choice.base in whole.values() else adapters
        return
    blocks = [(name, adapters) for name in GGUF]
    fp8, int8 = [(whole["fp8"], ()), (CAST, adapters)], [(whole["int8"], ())]
    full = [(FULL, adapters)]
    yield from {
        None: [*full, fp8[0], *int8, fp8[1], *blocks],
        "fp8": [*fp8, *full, *int8, *blocks],
        "int8": [*int8, *full, *fp8, *blocks],
        "gguf": blocks,
    }[quant]


def _adapters(count: int, quant: Quant | None) -> tuple[str, ...]:
    """Return the ids of the adapter for so many speakers, the best first."""
    full, scaled, blocks = ADAPTERS[count], SCALED[count], BLOCKS[count]
    if quant == "fp8":
        return (scaled, full, *blocks)
    return (*blocks, full, scaled) if quant == "gguf" else (full, scaled, *blocks)


def _unknown(base: str) -> TalkheadError:
    known = ", ".join(
        (FULL, CAST, *GGUF, *(name for ids in WHOLE.values() for name in ids.values()))
    )
    return TalkheadError(
        Code.INPUT,
        f"options.base: no weights are called {base!r}",
        f"known: {known}; TALKHEAD_WEIGHTS_MANIFEST adds others",
        fields=["options.base"],
    )
