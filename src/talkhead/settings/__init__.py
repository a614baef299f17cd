"""Everything an operator may set, read once at start from TALKHEAD_* variables."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_origin

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from talkhead.environment import named_of, older_of, store_of
from talkhead.errors import Code, TalkheadError
from talkhead.redaction import secret_name
from talkhead.settings.groups import Endpoint, Fetching, Older, Server, Worker
from talkhead.settings.stores import (
    S3,
    STORES,
    Inline,
    Local,
    StoreSettings,
    Supabase,
    cache_folder,
)

__all__ = [
    "S3",
    "STORES",
    "Inline",
    "Local",
    "Settings",
    "StoreSettings",
    "Supabase",
    "cache_folder",
    "environment",
    "gradio_files",
    "load",
    "on_runpod",
    "refuse_unknown",
    "runpod_key",
    "secrets_of_environment",
    "visible_gpus",
]


def _hf_cache() -> Path:
    """Return the folder that huggingface_hub uses, which an installation need not have."""
    if hub := os.environ.get("HF_HUB_CACHE"):
        return Path(hub)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else cache_folder().parent / "huggingface") / "hub"


EXAMPLES = {  # of settings that are objects
    "compat_engines": '{"infinitetalk": "draft"}',
    "stores": '{"archive": {"kind": "local", "root": "/data/archive"}}',
    "store": '{"kind": "local", "root": "/data/results"}',
    "fetch": '{"http": true}',
    "worker": '{"check_s": 60}',
    "server": '{"port": 9000}',
    "endpoint": '{"url": "http://127.0.0.1:8000"}',
    "older": '{"steps": 8}',
    "weights_named": '{"wan-vae": "/data/Wan2.1_VAE.pth"}',
}


class _Variables(EnvSettingsSource):
    """Environment variables; lists may also be text with commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """Return the list or object that a variable holds, or raise E_INPUT_VALIDATION."""
        listed = field is not None and get_origin(field.annotation) is tuple
        try:
            found = super().decode_complex_value(field_name, field, value)  # type: ignore[arg-type]
        except ValueError as error:
            if not listed or value.lstrip().startswith(("[", "{")):
                raise self._not_json(field_name, value, listed) from error
            found = None
        if listed and not isinstance(found, list | dict):
            return [part.strip() for part in value.split(",") if part.strip()]
        return found

    def _not_json(self, field_name: str, value: str, listed: bool) -> TalkheadError:
        """Return the error that names the variable and never its value."""
        end = field_name.lower()
        names = [
            name for name, held in self.env_vars.items() if held == value and name.endswith(end)
        ]
        name = (names or [f"talkhead_{end}"])[0].upper()
        other = EXAMPLES["store"] if "STORE" in name else '{"mine": "package.module:Class"}'
        example = "first,second" if listed else EXAMPLES.get(end, other)
        return TalkheadError(
            Code.INPUT, f"{name}: not valid JSON", f"write it as {name}='{example}'"
        )


class Settings(BaseSettings):
    """One object, made at the edge and passed down; nothing else reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="TALKHEAD_",
        env_nested_delimiter="__",
        env_ignore_empty=True,  # forms of platforms set what was left empty
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )
    engine: str = Field("auto", description="the engine that `auto` stands for")
    voice: str = Field("espeak", description="the voice of text that names none")
    compat_engines: dict[str, str] = Field(
        {}, description="for older payloads: the engine or voice to use in place of theirs"
    )
    store: StoreSettings = Field(Local(), description="where results go")
    stores: dict[str, StoreSettings] = Field({}, description="further stores, by name")
    readable: tuple[str, ...] = Field(
        ("",), description="beginnings of the keys that store: references may read"
    )
    request_store: bool = Field(False, description="allow a request to bring its own s3Config")
    inline_mb: float = Field(7, gt=0, le=7, description="largest file inside an answer")
    fetch: Fetching = Field(Fetching(), description="what references may reach")
    jobs: Path = Field(default_factory=lambda: cache_folder() / "jobs", description="job folders")
    mirror: bool = Field(False, description="copy unfinished jobs to the store as they grow")
    library: Path | None = Field(None, description="folder behind library:NAME, before the bundle")
    volumes: tuple[Path, ...] = Field((), description="folders behind volume:PATH")
    weights: Path = Field(
        default_factory=lambda: cache_folder() / "weights", description="folder of model weights"
    )
    weights_also: tuple[Path, ...] = Field(
        (Path("/runpod-volume"), Path("/workspace")),
        description="further folders to look for weights in, in any older system's layout",
    )
    weights_named: dict[str, Path] = Field(
        {}, description="file, or folder to look in first, by a weights file's id"
    )
    weights_manifest: Path | None = Field(
        None, description="TOML file of repos, files and sets beside those that come with talkhead"
    )
    prompts: Path = Field(
        default_factory=lambda: cache_folder() / "prompts",
        description="folder of encoded prompts, which need no text encoder any more",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="where neural engines compute: cuda, cuda:1, cpu; auto: a GPU, if there is one",
    )
    attention: Literal["auto", "sdpa", "cudnn", "fa3"] = Field(
        "auto", description="of neural engines; auto: fa3 on Hopper with fa3-fwd installed, or sdpa"
    )
    compile: bool = Field(
        False, description="compile neural engines: slower to start, then 30 % faster"
    )
    hf_cache: Path = Field(
        default_factory=_hf_cache, description="Hugging Face's cache; HF_HOME says where"
    )
    noncommercial: bool = Field(
        False, description="allow weights whose licence forbids commercial use"
    )
    older: Older = Field(Older(), description="defaults of older InfiniteTalk payloads")
    keep_days: float = Field(7, ge=0, description="how long the folder of a failed job stays")
    keep_gb: float = Field(5, ge=0, description="how much all failed jobs' folders may hold")
    price_per_hour: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="of the machine that renders: results then say what they cost",
    )
    worker: Worker = Field(Worker(), description="the rendering process")
    server: Server = Field(Server(), description="the self-hosted server")
    endpoint: Endpoint = Field(Endpoint(), description="where work is sent to")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least that is logged"
    )
    log_file: Path | None = Field(None, description="also log to this file; 3 old ones are kept")
    engines: dict[str, str] = Field({}, description="third-party engines, name to module:Class")
    voices: dict[str, str] = Field({}, description="third-party voices, name to module:Class")
    portraits: dict[str, str] = Field({}, description="portrait makers, name to module:Class")
    workflows: dict[str, str] = Field({}, description="workflow runners, name to module:Class")
    isolators: dict[str, str] = Field(
        {}, description="vocal isolators, name to module:Class; the first one is used"
    )

    @model_validator(mode="after")
    def _refuse_typos(self) -> Self:
        known = {f"TALKHEAD_{name.upper()}" for name in type(self).model_fields}
        known.add("TALKHEAD_GOLDENS")  # where parity tests find their reference values
        mine = {name for name in os.environ if name.startswith("TALKHEAD_")}
        if told := _unknown(mine, known):
            raise ValueError(f"{told}; known: {', '.join(sorted(known))}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's)
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (the library's)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read what the program says, then the environment; no files."""
        return init_settings, _Variables(settings_cls)


def load(*, aliases: bool = False, weights_aliases: bool = False) -> Settings:
    """Return the settings of this process, or raise E_INPUT_VALIDATION naming the variable.

    With `aliases`, the store may also be described by the names of older systems, R2_* and the
    like, unless the settings choose one; what those names cannot say, such as
    TALKHEAD_STORE__CA_BUNDLE, is added. So may places of weights, CKPT_DIR and the like, and
    defaults of older payloads. With `weights_aliases`, the places of weights alone.
    """
    more = {**_older_store(), **_older_defaults()} if aliases else {}
    if aliases or weights_aliases:
        more |= _older_weights()
    try:
        return Settings(**more)
    except ValidationError as error:
        lines = [
            f"{_variable(e['loc'])}{_complaint(e['type'], e['msg'], e['loc'])}"
            for e in error.errors(include_url=False, include_input=False)
        ]
        raise TalkheadError(
            Code.INPUT, "; ".join(lines), "correct or unset the environment variable"
        ) from error


def refuse_unknown(names: set[str]) -> None:
    """Raise E_INPUT_VALIDATION where a TALKHEAD_ variable for another machine is no setting."""
    fields = Settings.model_fields
    known = {f"TALKHEAD_{name.upper()}" for name in fields}
    held = [(name, field.annotation) for name, field in fields.items()]
    models = [(name, kind) for name, kind in held if isinstance(kind, type)]
    models = [(name, kind) for name, kind in models if issubclass(kind, BaseModel)]
    parts = {
        f"TALKHEAD_{group.upper()}__{field.upper()}"
        for group, model in (*models, *(("store", model) for model in STORES.values()))
        for field in model.model_fields
    }
    groups = {part.split("__")[0] for part in parts}
    inner = {name for name in names if "__" in name and name.split("__")[0] in groups}
    told = [_unknown(names - inner, known), _unknown(inner, parts, whole=True)]
    if any(told):
        raise TalkheadError(Code.INPUT, "; ".join(filter(None, told)), "docs/contract.md has all")


def _unknown(names: set[str], known: set[str], *, whole: bool = False) -> str:
    """Return a sentence on names that are no settings, by what stands before "__" or as a whole."""
    fronts = {name: name if whole else name.split("__")[0] for name in sorted(names)}
    return "; ".join(
        f"{name}: no such setting{_nearest(front, known)}"
        for name, front in fronts.items()
        if front not in known
    )


def _names(path: tuple[int | str, ...]) -> list[str]:
    """Return a path into the settings without the kind that pydantic puts into it."""
    tag = {"store": 1, "stores": 2}.get(str(path[0]))
    return [str(part) for at, part in enumerate(path) if not (at == tag and part in STORES)]


def _variable(path: tuple[int | str, ...]) -> str:
    """Return the variable behind a path into the settings, for the front of a message."""
    return f"TALKHEAD_{'__'.join(_names(path)).upper()}: " if path else ""


def _complaint(kind: str, message: str, path: tuple[int | str, ...]) -> str:
    """Return what is wrong with a setting, in our words where pydantic's do not help."""
    if kind == "union_tag_not_found":
        return f"not an object with a kind, such as {EXAMPLES['store']}"
    if kind == "union_tag_invalid":
        return f"no such kind of store; one of {', '.join(STORES)}"
    if kind == "extra_forbidden" and len(path) > 1:
        held = str(path[-2])
        groups: dict[str, type[BaseModel]] = {
            **STORES,
            "fetch": Fetching,
            "worker": Worker,
            "server": Server,
            "endpoint": Endpoint,
            "older": Older,
        }
        model = groups.get(held)
        front = "__".join(["TALKHEAD", *_names(path)[:-1]]).replace("__", "_", 1).upper()
        known = {f"{front}__{name.upper()}" for name in model.model_fields} if model else set()
        return f"no such setting{_nearest(f'{front}__{str(path[-1]).upper()}', known)}"
    return message.removeprefix("Value error, ")


def _nearest(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return f", did you mean {near[0]}?" if near else ""


def _older_store() -> dict[str, Any]:
    mine = {name.upper(): value for name, value in os.environ.items() if value.strip()}
    # what only a store of our own names has; with a kind alone, an older family may say the rest
    own = ("", "__ROOT", "__BUCKET", "__URL", "__KEY")
    kind = mine.get("TALKHEAD_STORE__KIND", "").strip()
    whole = {f"TALKHEAD_STORE{part}" for part in own[: None if kind else 2]}
    if whole & mine.keys() or kind not in {"", "s3", "supabase"}:
        return {}
    found = store_of(os.environ, kind or None)
    return {} if found is None else {"store": found}


def _older_defaults() -> dict[str, Any]:
    """Return the defaults by older names, without those that our own names give."""
    mine = {name.upper() for name in os.environ}
    if "TALKHEAD_OLDER" in mine:
        return {}
    found = older_of(os.environ)
    kept = {
        key: value for key, value in found.items() if f"TALKHEAD_OLDER__{key.upper()}" not in mine
    }
    return {"older": kept} if kept else {}


def _older_weights() -> dict[str, Any]:
    """Return where weights lie by older names, unless our own name says so."""
    if any(name.upper().startswith("TALKHEAD_WEIGHTS_NAMED") for name in os.environ):
        return {}
    found = named_of(os.environ)
    return {"weights_named": found} if found else {}


def secrets_of_environment() -> frozenset[str]:
    """Return the values of all environment variables whose name says that they are secret."""
    return frozenset(value for name, value in os.environ.items() if value and secret_name(name))


def runpod_key() -> SecretStr | None:
    """Return RUNPOD_API_KEY, which is for RunPod's own host alone."""
    value = os.environ.get("RUNPOD_API_KEY")
    return SecretStr(value) if value else None


def on_runpod() -> bool:
    """Return whether the platform's variables are there, by which the SDK finds its queue."""
    return bool(os.environ.get("RUNPOD_WEBHOOK_GET_JOB"))


def visible_gpus() -> int | None:
    """Return how many GPUs CUDA_VISIBLE_DEVICES leaves to this process, None where it is unset."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return None if listed is None else len([name for name in listed.split(",") if name.strip()])


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process of our own: this one's and more."""
    return {**os.environ, **more}


def gradio_files(folder: Path) -> None:
    """Have Gradio keep uploads in a folder of ours; it reads the variable when it is imported."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
