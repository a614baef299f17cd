"""Clients of RunPod's paths and of our server's own: one request in, plain JSON out, by httpx.

`Client` waits, `AsyncClient` is awaited; their methods are the same. What they do is written once,
in `calls.py` and `watching.py`, as steps that yield what is to happen; `sync.py` and
`asynchronous.py` only make it happen.
"""

from talkhead.serve.client.asynchronous import AsyncClient
from talkhead.serve.client.calls import INLINE_BYTES, RUN_BYTES
from talkhead.serve.client.steps import Json, packed
from talkhead.serve.client.sync import Client
from talkhead.serve.client.watching import FINAL

__all__ = ["FINAL", "INLINE_BYTES", "RUN_BYTES", "AsyncClient", "Client", "Json", "packed"]
