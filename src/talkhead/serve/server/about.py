"""What the server says of itself: health in numbers, and what it can do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from talkhead import registry
from talkhead.errors import TalkheadError
from talkhead.request import Talk
from talkhead.result import Component
from talkhead.serve.pool import LANES, Pool, devices
from talkhead.serve.queue import Status
from talkhead.serve.server import library
from talkhead.settings import Settings

if TYPE_CHECKING:
    from talkhead.runtime import Runtime

Body = dict[str, Any]
QUALITIES = get_args(Talk.model_fields["quality"].annotation)  # of engines that sample in steps


def health(counts: Mapping[Status, int], pool: Pool) -> Body:
    """Return jobs and workers in numbers, as RunPod does."""
    size = sum(pool.size(lane) for lane in LANES)
    ready = sum(pool.ready(lane) for lane in LANES)
    busy = sum(pool.busy(lane) for lane in LANES)
    return {
        "jobs": {
            "completed": counts.get("COMPLETED", 0),
            "failed": counts.get("FAILED", 0) + counts.get("TIMED_OUT", 0),
            "inProgress": counts.get("IN_PROGRESS", 0),
            "inQueue": counts.get("IN_QUEUE", 0),
            "retried": 0,
        },
        "workers": {
            "idle": max(0, ready - busy),
            "initializing": size - ready,
            "ready": ready,
            "running": busy,
            "throttled": 0,
            "unhealthy": 0,
        },
    }


def capabilities(settings: Settings) -> Body:
    """Return what this installation can do, with all that a page needs to offer it."""
    from talkhead.runtime import Runtime  # noqa: PLC0415 (heavy: the port opens without it)

    runtime = Runtime(settings, serving=True)
    ability = runtime.ability()
    known = ability.ability
    if known is None:
        raise RuntimeError("capabilities without an ability")
    table = {**registry.ENGINES, **settings.engines}
    return {
        "version": ability.version,
        "actions": list(known.actions),
        "engine": None if settings.engine == "auto" else settings.engine,
        "engines": [_engine(runtime, found, table) for found in known.engines],
        "voices": [found.model_dump() for found in known.voices],
        "stores": list(known.stores),
        "library": library.offered(settings),
        "devices": list(devices(settings)),
        "price_per_hour": known.price_per_hour,
    }


def _engine(runtime: "Runtime", found: Component, table: Mapping[str, str]) -> Body:
    """Return an engine's readiness, and where it can be asked what it takes."""
    shown: Body = found.model_dump()
    try:
        spec = runtime.engine(found.name).spec
        options = registry.options_of(table[found.name]).model_json_schema()
    except TalkheadError:  # not installed: `detail` and `fix` say so
        return shown
    return {
        **shown,
        "fps": float(spec.fps),
        "max_speakers": spec.max_speakers,
        "accepts_video": spec.accepts_video,
        "needs_face": spec.needs_face,
        "multiple": spec.multiple,
        "qualities": list(QUALITIES) if spec.weights else [],
        "sizes": {
            str(name): [list(size) for size in sizes] for name, sizes in spec.buckets.items()
        },
        "options": options,
    }
