"""Results in the shape that each family's callers expect, beside the `result` of this version."""

from collections.abc import Callable, Iterable
from typing import Any

from talkhead.aliases.reading import Reading
from talkhead.result import ItemEnd, Made, Notice, Result

Answer = dict[str, Any]


def answer(reading: Reading, result: Result) -> Answer:
    """Return the keys that the family's own worker answered with; {} for a canonical request."""
    shape = _SHAPES.get(reading.family)
    return shape(reading, result) if shape else {}


def failure(reading: Reading, error: dict[str, Any]) -> Answer:
    """Return what the family's own worker answered with beside its `error` text."""
    shape = _FAILURES.get(reading.family)
    return shape(error) if shape else {}


def _file(made: Made, inline: str, url: str) -> Answer:
    """Return the file itself where the answer holds it, else its URL under another name."""
    return {inline: made.data} if made.data is not None else {url: made.url}


def _video(result: Result, inline: str = "video") -> Answer:
    return _file(result.video, inline, "video_url") if result.video else {}


def _sonic(reading: Reading, result: Result) -> Answer:
    files = [
        {
            "type": made.kind,
            "filename": made.key.rsplit("/", 1)[-1],
            "path": made.key,
            "size": made.bytes,
            "url": made.url,
            "signed_url": made.url,
        }
        for made in result.outputs
        if made.kind in ("video", "audio", "image")
    ]
    actions = {"sonic": "lipsync", "sonic-tts": "tts", "sonic-portrait": "portrait"}
    said = {"status": "success", "version": result.version, "action": actions[reading.family]}
    return {**said, "seed": result.seed, "files": files, **_avatar(reading, result)}


def _avatar(reading: Reading, result: Result) -> Answer:
    """Return what a portrait is good for; its maker says in the facts whether it has one face."""
    name = reading.payload.get("save_as")
    picture = next((made for made in result.outputs if made.kind == "image"), None)
    if name is None or picture is None:
        return {}
    ready = picture.facts.get("lipsync_ready") is True
    return {"avatar_saved": f"avatars/{name}.png", "lipsync_ready": ready}


def _wanvideo(reading: Reading, result: Result) -> Answer:
    del reading
    return {"video": [result.video.url]} if result.video else {}


def _wan_animate(reading: Reading, result: Result) -> Answer:
    del reading
    made = result.video
    return {"minio_key": made.key, "presigned_url": made.url} if made else {}


def _hub(reading: Reading, result: Result) -> Answer:
    made = result.video
    if made is None:
        return {}
    if reading.payload.get("output", {}).get("inline"):
        return _video(result)
    return {"video_path": made.key, "video_url": made.url}


def _inline(reading: Reading, result: Result) -> Answer:
    del reading
    return _video(result)


def _service(reading: Reading, result: Result) -> Answer:
    del reading
    said = {"id": result.job_id, "status": "COMPLETED", "progress": 100}
    return said | _video(result, "video_base64")


def _infinitetalk(reading: Reading, result: Result) -> Answer:
    timings = {f"{stage}_ms": round(seconds * 1000) for stage, seconds in result.seconds.items()}
    timings["total_ms"] = sum(timings.values())
    said: Answer = {
        "job_id": result.job_id,
        "status": "success",
        "timings": timings,
        "params": dict(reading.echo),
        "artifacts": [_artifact(made) for made in result.outputs],
        "warnings": _lines((*reading.notices, *result.warnings)),
        "checkpoints": [],
    }
    made = result.video
    if made:
        thumbnail = next((item for item in result.outputs if item.kind == "thumbnail"), None)
        said["video"] = {"url": made.url, "mime": made.mime, "bytes": made.bytes}
        said["video"] |= {"thumbnail_url": thumbnail.url} if thumbnail else {}
    return said


def _infinitetalk_batch(reading: Reading, result: Result) -> Answer:
    ids = dict(enumerate(reading.echo.get("ids", ())))
    items = [
        {
            "id": ids.get(end.index) or f"item-{end.index}",
            "result": _infinitetalk_item(reading, end),
        }
        for end in result.items
    ]
    failed = any(end.error is not None for end in result.items)
    said = {"job_id": result.job_id, "status": "partial" if failed else "success"}
    return {**said, "items": items} if items else said


def _infinitetalk_item(reading: Reading, end: ItemEnd) -> Answer:
    """Return what a single job of that worker answered, with the item's own words beside it."""
    if end.result is None:
        error = end.error.model_dump(mode="json") if end.error else {}
        return {**_infinitetalk_failed(error), "error": error}
    at = f"batch.{end.index}."
    own = tuple(notice for notice in reading.notices if (notice.field or "").startswith(at))
    params = dict(enumerate(reading.echo.get("items", ()))).get(end.index, {})
    return _infinitetalk(Reading("infinitetalk", {}, own, params), end.result)


def _lines(notices: Iterable[Notice]) -> list[str]:
    """Return notices as lines, each once: a result may hold the reading's own already."""
    lines = (f"{at.field}: {at.message}" if at.field else at.message for at in notices)
    return list(dict.fromkeys(lines))


def _artifact(made: Made) -> Answer:
    kind = made.kind if made.kind in ("video", "thumbnail") else "metadata"
    found: Answer = {"type": kind, "url": made.url, "path": made.key}
    found |= {"mime": made.mime, "bytes": made.bytes}
    return found | ({"base64": made.data} if made.data is not None else {})


def _multigpu(reading: Reading, result: Result) -> Answer:
    if result.video is None:
        return {}
    said = {"video_path": result.video.key, "generation_params": dict(reading.echo)}
    return said | _video(result, "video_base64")


def _cog(reading: Reading, result: Result) -> Answer:
    del reading
    return {"status": "succeeded", "output": result.video.url if result.video else None}


def _lightx2v(reading: Reading, result: Result) -> Answer:
    del reading
    path = result.video.key if result.video else None
    return {"task_id": result.job_id, "task_status": "completed", "save_result_path": path}


def _flashfalcon(reading: Reading, result: Result) -> Answer:
    return {**reading.echo, "video_url": result.video.url} if result.video else {}


def _comfy(reading: Reading, result: Result) -> Answer:
    del reading
    files = [
        {
            "filename": made.key.rsplit("/", 1)[-1],
            "type": "s3_url" if made.data is None else "base64",
            "data": made.url if made.data is None else made.data,
        }
        for made in result.outputs
        if made.kind in ("video", "image", "audio", "file")
    ]
    return {"images": files} if files else {}


_SHAPES: dict[str, Callable[[Reading, Result], Answer]] = {
    "sonic": _sonic,
    "sonic-tts": _sonic,
    "sonic-portrait": _sonic,
    "wanvideo": _wanvideo,
    "wan-animate": _wan_animate,
    "hub": _hub,
    "hub-animate": _inline,
    "omniavatar": _inline,
    "infinitetalk-api": _service,
    "infinitetalk": _infinitetalk,
    "infinitetalk-batch": _infinitetalk_batch,
    "multigpu": _multigpu,
    "cog": _cog,
    "lightx2v": _lightx2v,
    "flashfalcon": _flashfalcon,
    "comfy": _comfy,
}


def _sonic_failed(error: dict[str, Any]) -> Answer:
    fields = list(error.get("fields") or ())
    return {"status": "error", **({"validation_errors": fields} if fields else {})}


def _infinitetalk_failed(error: dict[str, Any]) -> Answer:
    return {"job_id": error.get("job_id"), "status": "error", "timings": {}, "checkpoints": []}


def _service_failed(error: dict[str, Any]) -> Answer:
    return {"id": error.get("job_id"), "status": "FAILED", "progress": 0}


def _lightx2v_failed(error: dict[str, Any]) -> Answer:
    return {"task_id": error.get("job_id"), "task_status": "failed"}


_FAILURES: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "sonic": _sonic_failed,
    "sonic-tts": _sonic_failed,
    "sonic-portrait": _sonic_failed,
    "infinitetalk": _infinitetalk_failed,
    "infinitetalk-batch": _infinitetalk_failed,
    "infinitetalk-api": _service_failed,
    "cog": lambda _: {"status": "failed"},
    "lightx2v": _lightx2v_failed,
}
