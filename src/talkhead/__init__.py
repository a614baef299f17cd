"""Portrait plus speech in, talking video out."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from talkhead.errors import Code, TalkheadError
    from talkhead.job import run
    from talkhead.request import Request
    from talkhead.result import Progress, Result
    from talkhead.runtime import Runtime
    from talkhead.serve.client import AsyncClient, Client
    from talkhead.settings import Settings
    from talkhead.validation import parse

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Code",
    "Progress",
    "Request",
    "Result",
    "Runtime",
    "Settings",
    "TalkheadError",
    "__version__",
    "parse",
    "run",
]

_HOMES = {
    "AsyncClient": "serve.client",
    "Client": "serve.client",
    "Code": "errors",
    "Progress": "result",
    "Request": "request",
    "Result": "result",
    "Runtime": "runtime",
    "Settings": "settings",
    "TalkheadError": "errors",
    "parse": "validation",
    "run": "job",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import talkhead` itself stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'talkhead' has no attribute {name!r}")
    return getattr(import_module(f"talkhead.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
