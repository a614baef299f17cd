"""Everything an operator may set, read once at start from TALKHEAD_* variables."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from talkhead.errors import Code, TalkheadError
from talkhead.request import Strict


class Local(Strict):
    """A folder on this machine, or a mounted volume."""

    kind: Literal["local"] = "local"
    root: Path = Path("out")


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "talkhead"


class Settings(BaseSettings):
    """One object, made at the edge and passed down; nothing else reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="TALKHEAD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )
    engine: str = Field("auto", description="the engine that `auto` stands for")
    voice: str = Field("espeak", description="the voice of text that names none")
    store: Local = Local()
    jobs: Path = Field(default_factory=lambda: _cache() / "jobs", description="job folders")
    library: Path | None = Field(None, description="folder behind library:NAME, before the bundle")
    volumes: tuple[Path, ...] = Field((), description="folders behind volume:PATH")
    keep_days: float = Field(7, ge=0, description="how long the folder of a failed job stays")
    keep_gb: float = Field(5, ge=0, description="how much all failed jobs' folders may hold")
    engines: dict[str, str] = Field({}, description="third-party engines, name to module:Class")
    voices: dict[str, str] = Field({}, description="third-party voices, name to module:Class")
    portraits: dict[str, str] = Field({}, description="portrait makers, name to module:Class")
    workflows: dict[str, str] = Field({}, description="workflow runners, name to module:Class")

    @model_validator(mode="after")
    def _refuse_typos(self) -> Self:
        known = {f"TALKHEAD_{name.upper()}" for name in type(self).model_fields}
        known.add("TALKHEAD_GOLDENS")  # where parity tests find their reference values
        mine = {name for name in os.environ if name.startswith("TALKHEAD_")}
        if unknown := {name for name in mine if name.split("__")[0] not in known}:
            raise ValueError(f"unknown settings {sorted(unknown)}; known: {sorted(known)}")
        return self


def load() -> Settings:
    """Return the settings of this process, or raise E_INPUT_VALIDATION naming the variable."""
    try:
        return Settings()
    except ValidationError as error:
        lines = [
            f"{'TALKHEAD_' + '__'.join(map(str, e['loc'])).upper() + ': ' if e['loc'] else ''}"
            f"{e['msg'].removeprefix('Value error, ')}"
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise TalkheadError(
            Code.INPUT, "; ".join(lines), "correct or unset the environment variable"
        ) from error
