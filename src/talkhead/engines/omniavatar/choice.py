"""Which weights a job wants, by their ids in weights/manifest.toml. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from talkhead.engines.wan import quant_of
from talkhead.errors import Code, TalkheadError
from talkhead.models.wan_files import VAE, Files, here

Quant = Literal["fp8", "int8"]
Ids = tuple[str, ...]  # the first is what is wanted, the others do as well

QUANTS: tuple[Quant, ...] = ("fp8", "int8")  # values of memory.quant; made at load
AUTO = "auto"
SPEECH, SPEECH_CONFIG = ("wav2vec2-en",), ("wav2vec2-en-config",)


class Model(NamedTuple):
    """One size of the model, by the ids of its files."""

    base: str
    base_config: str
    delta: str  # OmniAvatar's own checkpoint
    delta_config: str  # says how strongly its pairs change the base
    merged: str  # both in one file, as `talkhead weights convert` makes it
    set: str  # what pulls all of it


MODELS = {  # the best first
    "14B": Model(
        "wan-t2v",
        "wan-t2v-config",
        "omniavatar-14b-delta",
        "omniavatar-14b-config",
        "omniavatar-14b-merged",
        "omniavatar",
    ),
    "1.3B": Model(
        "wan-t2v-small",
        "wan-t2v-small-config",
        "omniavatar-1-3b-delta",
        "omniavatar-1-3b-config",
        "omniavatar-1-3b-merged",
        "omniavatar-1.3b",
    ),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which weights a job wants."""

    model: str = AUTO  # a key of MODELS, or the best whose files are here
    quant: Quant | None = None


class Found(NamedTuple):
    """The transformer's files that are here: a merged copy, or base and delta."""

    model: str  # a key of MODELS
    config: Path  # of the base: its number of heads
    base: tuple[Path, ...]  # the merged copy, where delta is None
    delta: Path | None
    delta_config: Path | None  # None: as the official one has it

    @property
    def files(self) -> tuple[Path, ...]:
        """Return all of them."""
        others = (self.config, self.delta, self.delta_config)
        return (*self.base, *(file for file in others if file is not None))

    @property
    def weights(self) -> tuple[Path, ...]:
        """Return the base's files of tensors, without an index of parts."""
        return tuple(file for file in self.base if file.suffix != ".json")


def choice_of(asked: Mapping[str, Any]) -> Choice:
    """Return the weights of a job's settings; raises E_INPUT_VALIDATION for unknown kinds."""
    quant, model = quant_of("omniavatar", asked["quant"], QUANTS), asked["model"]
    if model not in (AUTO, *MODELS):
        raise TalkheadError(
            Code.INPUT,
            f"options.model: omniavatar knows no {model!r}, only {', '.join((AUTO, *MODELS))}",
            "leave it out for the best that is here",
            fields=["options.model"],
        )
    return Choice(model, quant)


def transformer(files: Files, choice: Choice) -> Found:
    """Return the best files of the transformer that are here for a choice.

    Raises E_PIPELINE_LOAD for the first that is lacking: of the model asked for, or with "auto" of
    the one of which something is here.
    """
    lacking: TalkheadError | None = None
    partly = False  # whether what is lacking goes with something that is here
    for name in MODELS if choice.model == AUTO else (choice.model,):
        model = MODELS[name]
        some = any(here(files, (one,)) for one in (model.base, model.delta, model.merged))
        try:
            return _found(files, name)
        except TalkheadError as error:
            if error.code is not Code.WEIGHTS:
                raise
            if lacking is None or (some and not partly):
                lacking, partly = _hinted(error, model), some
    assert lacking is not None  # noqa: S101 - there is always a model
    raise lacking


def located(files: Files, choice: Choice) -> list[Path]:
    """Return all files of a choice; raises E_PIPELINE_LOAD for the first that is not here.

    The encoder of text is left out, which encoded prompts do without.
    """
    found = transformer(files, choice)
    rest = [file for ids in (VAE, SPEECH, SPEECH_CONFIG) for file in files(*ids)]
    return [*found.files, *rest]


def _found(files: Files, name: str) -> Found:
    """Return the merged copy of a model where there is one, else its base and delta."""
    model = MODELS[name]
    merged = here(files, (model.merged,))
    base = merged or files(model.base)
    delta = None if merged else files(model.delta)[0]
    config = files(model.base_config)[0]
    scale = () if merged else here(files, (model.delta_config,))
    return Found(name, config, base, delta, scale[0] if scale else None)


def _hinted(error: TalkheadError, model: Model) -> TalkheadError:
    """Return the error with the command that brings all of a model, where it names none."""
    whole = f"talkhead weights pull {model.set}"
    if whole in error.hint:
        return error
    return TalkheadError(error.code, error.message, f"{error.hint}; `{whole}` brings all of it")
