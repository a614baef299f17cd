"""Names to classes. Nothing is imported before its name is asked for."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from talkhead.errors import Code, TalkheadError

ENGINES = {
    "draft": "talkhead.engines.draft:Draft",
    "infinitetalk": "talkhead.engines.infinitetalk:InfiniteTalk",
    "omniavatar": "talkhead.engines.omniavatar:OmniAvatar",
}
VOICES = {"espeak": "talkhead.voices.espeak:Espeak"}
STORES = {
    "inline": "talkhead.stores.inline:InlineStore",
    "local": "talkhead.stores.local:LocalStore",
    "s3": "talkhead.stores.s3:S3Store",
    "supabase": "talkhead.stores.supabase:SupabaseStore",
}
PORTRAITS: dict[str, str] = {}
WORKFLOWS: dict[str, str] = {}
ISOLATORS: dict[str, str] = {}

# Designed, and not part of this version: asking for one gets an honest answer.
LATER_ENGINES = ("sonic", "wan-animate")

LATER_VOICES = ("f5", "kokoro", "piper")

# What a name needs beyond the core: a module to look for, and the extra that brings it.
EXTRAS = {
    "espeak": ("espeakng_loader", "espeak"),
    "infinitetalk": ("diffusers", "torch"),
    "omniavatar": ("diffusers", "torch"),
    "runpod": ("runpod", "runpod"),
    "s3": ("boto3", "s3"),
    "server": ("fastapi", "server"),
    "ui": ("gradio", "ui"),
}


def resolve(kind: str, name: str, table: Mapping[str, str]) -> Any:
    """Return the class behind name; kind is what the table holds, for the message.

    Raises E_INPUT_VALIDATION for an unknown name, E_UNSUPPORTED for one that is not installed.
    """
    if name in (*LATER_ENGINES, *LATER_VOICES) and name not in table:
        raise TalkheadError(
            Code.UNSUPPORTED,
            f"{kind} {name!r} is not part of this version",
            f"available: {', '.join(sorted(table))}",
            fields=[kind],
        )
    if name not in table:
        near = difflib.get_close_matches(name, table, 1)
        raise TalkheadError(
            Code.INPUT,
            f"unknown {kind} {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            f"available: {', '.join(sorted(table)) or 'none'}",
            fields=[kind],
        )
    if lack := missing(name):
        raise TalkheadError(
            Code.UNSUPPORTED, f"{kind} {name!r} is not installed", install(lack), fields=[kind]
        )
    module, _, attribute = table[name].partition(":")
    return getattr(import_module(module), attribute)


def missing(name: str) -> str | None:
    """Return the extra that name needs and that is not installed, or None. Imports nothing."""
    if name not in EXTRAS:
        return None
    module, extra = EXTRAS[name]
    return None if find_spec(module) else extra


def need(name: str) -> None:
    """Raise E_UNSUPPORTED where the extra that name needs is not installed."""
    if lack := missing(name):
        raise TalkheadError(
            Code.UNSUPPORTED, f"what `{name}` needs is not installed", install(lack)
        )


def install(extra: str) -> str:
    """Return the command that installs an extra."""
    return f'pip install "talkhead[{extra}]"'


def options_of(target: str) -> Any:
    """Return the options model that lies beside an engine's class, as module.options:Options."""
    return import_module(f"{target.partition(':')[0]}.options").Options
