"""The server's HTTP interface without a server: jobs in memory that only take time.

`python -m support.fake_server --port 8123 --page` also mounts the page. What happens next is set by
`POST /fake/script`, see `Script`.
"""

import argparse
import asyncio
import base64
import hashlib
import io
import json
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from PIL import Image

from support.media import moving, tone, write_sound, write_video
from talkhead.engines.draft.options import Options
from talkhead.engines.infinitetalk.options import Options as Large
from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import bundle, in_library
from talkhead.serve.server import library, page, page_only
from talkhead.serve.ui import Site
from talkhead.settings import Settings
from talkhead.validation import parse

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
STAGES = (("fetch", 0.05), ("prepare", 0.15), ("render", 0.9), ("store", 1.0))
WINDOWS = 4


@dataclass(frozen=True)
class Script:
    """How the next jobs go."""

    queue_s: float = 0.0
    run_s: float = 0.6
    fail: dict[str, Any] | None = None  # the error of the next talk job, once
    refuse: int = 0  # so many calls are answered 429
    plain: bool = False  # like a RunPod endpoint: none of our own paths
    video_engine: bool = False  # infinitetalk is ready, and takes videos
    key: str | None = None  # that every call has to show
    maker: bool = False  # portraits can be drawn
    ability_s: float = 0.0  # until it says what it can do


@dataclass
class Job:
    id: str
    payload: dict[str, Any]
    queue_s: float
    run_s: float
    fail: dict[str, Any] | None
    born: float = field(default_factory=time.time)
    cancelled: float | None = None
    forced: dict[str, Any] | None = None  # an answer that is there at once

    @property
    def age(self) -> float:
        return (self.cancelled or time.time()) - self.born - self.queue_s

    @property
    def status(self) -> str:
        if self.forced is not None:
            return "FAILED" if "code" in self.forced else "COMPLETED"
        if self.age >= self.run_s:
            return "FAILED" if self.fail else "COMPLETED"
        if self.cancelled is not None:
            return "CANCELLED"
        return "IN_QUEUE" if self.age < 0 else "IN_PROGRESS"

    def progress(self) -> dict[str, Any]:
        share = max(0.0, min(1.0, self.age / self.run_s))
        stage = next(name for name, until in STAGES if share <= until)
        done = min(WINDOWS, int(share * WINDOWS / 0.9))
        return {
            "stage": stage,
            "pct": round(100 * share, 1),
            "window": done,
            "windows": WINDOWS,
            "step": done,
            "steps": WINDOWS,
            "eta_s": round(self.run_s - self.age, 1),
        }

    @property
    def action(self) -> str:
        return str(self.payload.get("action", "talk"))


class Fake:
    """All that the fake knows."""

    def __init__(self, folder: Path, video: Path | None = None) -> None:
        self.folder = folder
        self.script = Script()
        self.jobs: dict[str, Job] = {}
        self.seen: list[str] = []  # "METHOD /path" of every call
        self.uploads = folder / "uploads"
        self.uploads.mkdir(parents=True, exist_ok=True)
        self.library = folder / "library"
        (self.library / "team").mkdir(parents=True, exist_ok=True)
        shutil.copy(bundle() / "astronaut.png", self.library / "team" / "Anna.png")
        sound = tone(4, 48_000)
        self.video = video or write_video(folder / "video.mp4", moving(100, 256), sound)
        self.thumbnail = folder / "thumbnail.jpg"
        beside = self.video.with_name("thumbnail.jpg")
        if beside.exists() and beside != self.thumbnail:
            self.thumbnail = beside
        else:
            Image.fromarray(moving(1, 256)[0]).save(self.thumbnail)
        self.speech = write_sound(folder / "speech.wav", tone(1.5, 22_050), 22_050)

    def submit(self, body: dict[str, Any], job_id: str | None = None) -> Job:
        payload = body.get("input")
        parse(payload)  # as the server does before anything is queued
        assert isinstance(payload, dict)
        job = Job(job_id or uuid.uuid4().hex, payload, 0, 0, None)
        if payload.get("action") in ("health", "capabilities", "speak", "portrait"):
            job.forced = self.answer(job)
        elif wrong := self.wrong(payload):
            job.forced = wrong
        elif payload.get("dry_run"):
            job.forced = self.answer(job)
        else:
            script = self.script
            job.queue_s, job.run_s, job.fail = script.queue_s, script.run_s, script.fail
            self.script = replace(script, fail=None)
        self.jobs[job.id] = job
        return job

    def wrong(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Return the error of inputs that are not what they should be."""
        if payload.get("portrait"):
            try:
                Image.open(self.file(payload["portrait"])).verify()
            except OSError:
                return TalkheadError(
                    Code.INPUT,
                    "portrait: this is not a picture",
                    "use a JPEG, PNG or WebP of a face",
                    fields=["portrait"],
                    stage="probe",
                ).to_dict()
        return None

    def file(self, reference: str) -> Path:
        if reference.startswith("data:"):
            inline = self.uploads / hashlib.sha256(reference.encode()).hexdigest()
            inline.write_bytes(base64.b64decode(reference.partition(",")[2]))
            return inline
        if reference.startswith("library:"):
            return in_library(reference.partition(":")[2], self.library)
        return self.uploads / reference.removeprefix("volume:")

    def faces(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        if not payload.get("portrait"):
            return []
        width, height = Image.open(self.file(payload["portrait"])).size
        unit = height / 512
        boxes = [[180 * unit, 69.5 * unit, 271.4 * unit, 178.3 * unit]]
        if width > 1.5 * height:
            boxes.append(
                [box + (512 * unit if at % 2 == 0 else 0) for at, box in enumerate(boxes[0])]
            )
        people = len(payload["speakers"])
        return [
            {"box": box, "speaker": at if at < people else None, "mouth_px": 60.0}
            for at, box in enumerate(boxes)
        ]

    def plan(self, payload: dict[str, Any]) -> dict[str, Any]:
        seconds = float(payload.get("duration") or 7.12)
        return {
            "engine": "draft" if payload.get("engine", "auto") == "auto" else payload["engine"],
            "engine_reason": "the operator's default",
            "width": 720,
            "height": 720,
            "work_width": 720,
            "work_height": 720,
            "fps": "25",
            "frames": round(seconds * 25),
            "seconds": seconds,
            "speech_seconds": seconds,
            "estimated": any("text" in speaker for speaker in payload["speakers"]),
            "segments": 4,
            "estimated_seconds": 2.3,
            "estimated_memory_mb": 270,
            "faces": self.faces(payload),
        }

    def made(self, kind: str, file: Path, mime: str, facts: dict[str, Any]) -> dict[str, Any]:
        return {
            "kind": kind,
            "key": f"fake/{file.name}",
            "url": f"/files/fake/{file.name}",
            "expires_at": None,
            "data": None,
            "mime": mime,
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "facts": facts,
        }

    def answer(self, job: Job) -> dict[str, Any]:
        """Return the Result of a job that went well."""
        base: dict[str, Any] = {
            "action": job.action,
            "version": "0.1.0",
            "job_id": job.id,
            "engine": "draft",
            "outputs": [],
            "warnings": [],
            "seconds": {},
        }
        if job.action == "speak":
            made = self.made("audio", self.speech, "audio/wav", {"seconds": 1.5})
            return base | {"engine": None, "outputs": [made]}
        if job.action == "portrait":
            return base | {
                "engine": None,
                "outputs": [self.made("image", self.thumbnail, "image/jpeg", {})],
            }
        if job.action != "talk":
            return base | {"ability": self.ability()}
        plan = self.plan(job.payload)
        base |= {"plan": plan}
        if job.payload.get("dry_run"):
            return base
        facts = {"seconds": 4.0, "width": 256, "height": 256, "fps": "25", "frames": 100}
        score = {"status": "scored", "grade": "good", "sync": {"r0": 0.81, "lag_ms": 12.0}}
        wanted = job.payload.get("output", {}).get("score")
        return base | {
            "seed": job.payload.get("sampling", {}).get("seed") or 4711,
            "outputs": [
                self.made("video", self.video, "video/mp4", facts),
                self.made("thumbnail", self.thumbnail, "image/jpeg", {}),
            ],
            "seconds": {"fetch": 0.01, "prepare": 0.4, "render": 2.1, "assemble": 0.1},
            "warnings": [
                {"code": "W_DURATION", "message": "the speech is cut off at 3.00 s", "field": None}
            ]
            if job.payload.get("duration")
            else [],
            "score": score if wanted else None,
        }

    def ability(self) -> dict[str, Any]:
        ready = self.script.video_engine
        lacks = "10 files of weights are missing, wan-i2v-config first"
        sizes = {"480": [[640, 640], [832, 448]], "720": [[960, 960], [1280, 704]]}
        draft = {"name": "draft", "ready": True, "detail": "installed", "fix": "", "licence": ""}
        large = {
            "name": "infinitetalk",
            "ready": ready,
            "detail": "weights are here: infinitetalk" if ready else lacks,
            "fix": "" if ready else "talkhead weights pull infinitetalk",
            "licence": "",
        }
        if not self.script.plain:
            draft |= {"sizes": {}, "fps": "25", "max_speakers": 8, "accepts_video": False}
            draft |= {"options": Options.model_json_schema(), "qualities": []}
            large |= {"sizes": sizes, "fps": "25", "max_speakers": 2, "accepts_video": True}
            qualities = ["draft", "fast", "balanced", "best"]
            large |= {"options": Large.model_json_schema(), "qualities": qualities}
        voices = [{"name": "espeak", "ready": True, "detail": "installed", "fix": ""}]
        actions = ["talk", "speak", "health", "capabilities"]
        return {
            "actions": [*actions, *(["portrait"] if self.script.maker else [])],
            "engines": [draft, large],
            "voices": voices,
            "stores": ["default"],
        }

    def body(self, job: Job) -> dict[str, Any]:
        status = job.status
        body: dict[str, Any] = {"id": job.id, "status": status}
        if status == "IN_QUEUE":
            body["position"] = 2
        elif status == "IN_PROGRESS":
            body["output"] = job.progress()
        elif status == "COMPLETED":
            body["output"] = {"result": job.forced or self.answer(job)}
        elif status == "FAILED":
            body["error"] = json.dumps(job.forced or job.fail)
        return body

    def entry(self, job: Job) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": job.id,
            "status": job.status,
            "action": job.action,
            "engine": job.payload.get("engine", "auto"),
            "title": (job.payload.get("speakers") or [{}])[0].get("text") or "A recording",
            "created": job.born,
            "seconds": 4.0,
        }
        if job.status == "COMPLETED" and job.action == "talk":
            entry |= {"video": "/files/fake/video.mp4", "thumbnail": "/files/fake/thumbnail.jpg"}
        if job.status == "FAILED":
            entry["error_code"] = (job.forced or job.fail or {}).get("code")
        return entry


def refused(error: TalkheadError, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": error.to_dict()}, status)


def app_of(fake: Fake) -> FastAPI:
    """Return the app; `fake` is what it shows and changes."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _common(app, fake)
    _own(app, fake)

    @app.middleware("http")
    async def scripted(request: Request, call_next: Any) -> Response:
        path = request.url.path
        fake.seen.append(f"{request.method} {path}")
        ours = path.startswith(("/uploads", "/library", "/partial", "/jobs", "/capabilities"))
        wanted = f"Bearer {fake.script.key}"
        shown = request.headers.get("authorization")
        if fake.script.key and shown != wanted and not path.startswith("/fake"):
            return Response(status_code=401)
        if fake.script.plain and ours:
            return Response(status_code=404)
        if fake.script.refuse > 0 and path.startswith(("/run", "/status")):
            fake.script = replace(fake.script, refuse=fake.script.refuse - 1)
            return Response(status_code=429, headers={"Retry-After": "0.2"})
        return await call_next(request)

    @app.exception_handler(TalkheadError)
    async def named(_request: Request, error: TalkheadError) -> JSONResponse:
        return refused(error)

    return app


def _find(fake: Fake, job_id: str) -> Job:
    if job_id not in fake.jobs:
        raise TalkheadError(Code.INPUT, f"there is no job {job_id}", "start it again")
    return fake.jobs[job_id]


def _common(app: FastAPI, fake: Fake) -> None:  # noqa: C901 (one table of paths)
    """Add RunPod's own paths."""

    @app.post("/run")
    async def run(request: Request) -> Any:
        job = fake.submit(await request.json())
        return {"id": job.id, "status": job.status}

    @app.put("/run/{job_id}")
    async def put(job_id: str, request: Request) -> Any:
        body = await request.json()
        known = fake.jobs.get(job_id)
        if known and known.payload != body["input"]:
            return refused(TalkheadError(Code.INPUT, "another request has this id"), 409)
        job = known or fake.submit(body, job_id)
        return {"id": job.id, "status": job.status}

    @app.post("/runsync")
    async def runsync(request: Request) -> Any:
        job = fake.submit(await request.json())
        if job.action == "talk" and job.forced is None:
            job.born -= 1000  # nothing waits for it
        return fake.body(job)

    @app.get("/status/{job_id}")
    async def status(job_id: str) -> Any:
        return fake.body(_find(fake, job_id))

    @app.get("/stream/{job_id}")
    async def stream(job_id: str, request: Request) -> Any:
        job = _find(fake, job_id)
        if "event-stream" not in request.headers.get("accept", "") or fake.script.plain:
            return {"status": job.status, "stream": []}
        return StreamingResponse(_events(fake, job), media_type="text/event-stream")

    @app.post("/cancel/{job_id}")
    async def cancel(job_id: str) -> Any:
        job = _find(fake, job_id)
        job.cancelled = job.cancelled or time.time()
        return {"id": job.id, "status": job.status}

    @app.post("/retry/{job_id}")
    async def retry(job_id: str) -> Any:
        job = _find(fake, job_id)
        job.born, job.fail, job.cancelled = time.time(), None, None
        return {"id": job.id, "status": job.status}

    @app.get("/health")
    async def health() -> Any:
        return {"jobs": {"inQueue": 0}, "workers": {"idle": 1}}


async def _events(fake: Fake, job: Job) -> Any:
    while job.status not in FINAL:
        yield f"event: progress\ndata: {json.dumps(job.progress())}\n\n"
        await asyncio.sleep(0.1)
    yield f": ping\n\nevent: end\ndata: {json.dumps(fake.body(job))}\n\n"


def _own(app: FastAPI, fake: Fake) -> None:  # noqa: C901 (one table of paths)
    """Add our own paths, and those that only a test calls."""

    @app.put("/uploads/{name}")
    async def upload(name: str, request: Request) -> Any:
        data = await request.body()
        key = hashlib.sha256(data).hexdigest()[:32] + Path(name).suffix
        (fake.uploads / key).write_bytes(data)
        return JSONResponse({"reference": f"volume:{key}", "bytes": len(data)}, 201)

    @app.get("/uploads/{name}")
    async def sent(name: str) -> Any:
        if not (fake.uploads / name).exists():
            return refused(TalkheadError(Code.INPUT, "it was swept away"), 404)
        return FileResponse(fake.uploads / name)

    @app.get("/library/{key:path}")
    async def shelf(key: str) -> Any:
        return library.answer(Settings(library=fake.library), key)

    @app.get("/files/fake/{name}")
    async def files(name: str) -> Any:
        known = {file.name: file for file in (fake.video, fake.thumbnail, fake.speech)}
        return FileResponse(known[name])

    @app.get("/partial/{job_id}")
    async def partial(job_id: str) -> Any:
        if _find(fake, job_id).progress()["window"] == 0:
            return refused(TalkheadError(Code.INPUT, "nothing is there yet"), 404)
        return FileResponse(fake.video, media_type="video/mp4")

    @app.get("/jobs")
    async def jobs(limit: int = 30) -> Any:
        shown = [job for job in fake.jobs.values() if not job.payload.get("dry_run")]
        newest = sorted(shown, key=lambda job: -job.born)
        return {"jobs": [fake.entry(job) for job in newest if job.action == "talk"][:limit]}

    @app.get("/jobs/{job_id}")
    async def job(job_id: str) -> Any:
        found = _find(fake, job_id)
        return {**fake.entry(found), "input": found.payload, **fake.body(found)}

    @app.delete("/jobs/{job_id}")
    async def forget(job_id: str) -> Any:
        fake.jobs.pop(_find(fake, job_id).id)
        return Response(status_code=204)

    @app.get("/capabilities")
    async def capabilities() -> Any:
        await asyncio.sleep(fake.script.ability_s)
        shown = {"version": "0.1.0", "engine": "draft", "workers": []}
        return {
            **fake.ability(),
            **shown,
            "library": library.offered(Settings(library=fake.library)),
        }

    @app.post("/fake/script")
    async def script(request: Request) -> Any:
        fake.script = Script(**await request.json())
        return {}

    @app.post("/fake/at")
    async def at(request: Request) -> Any:
        share = (await request.json())["share"]  # of its work; at 1 it has ended
        for job in fake.jobs.values():
            job.queue_s, job.born = 0.0, time.time() - share * job.run_s
        return {}

    @app.post("/fake/sweep")
    async def sweep() -> Any:
        for file in fake.uploads.iterdir():
            file.unlink()
        return {}

    @app.post("/fake/forget")
    async def forget_all() -> Any:
        fake.jobs.clear()
        fake.seen.clear()
        fake.script = Script()
        return {}

    @app.get("/fake/jobs")
    async def payloads() -> Any:
        return [job.payload for job in fake.jobs.values()]


def two_people(target: Path, source: Path) -> Path:
    """Write a picture with the same person twice, side by side."""
    one = np.asarray(Image.open(source).convert("RGB").resize((512, 512)))
    Image.fromarray(np.concatenate([one, one], axis=1)).save(target)
    return target


def png(side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.fromarray(moving(1, side)[0]).save(out, "PNG")
    return out.getvalue()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--port", type=int, required=True)
    words.add_argument("--page", action="store_true")
    words.add_argument("--video", type=Path)
    words.add_argument("--only-page", metavar="BASE")  # as `talkhead ui --endpoint BASE`
    asked = words.parse_args()
    how: dict[str, Any] = {"host": "127.0.0.1", "port": asked.port, "log_level": "warning"}
    if asked.only_page:
        uvicorn.run(page_only(Site(asked.only_page, choose=True)), **how)
        return
    with tempfile.TemporaryDirectory() as folder:
        app = app_of(Fake(Path(folder), asked.video))
        site = Site(f"http://127.0.0.1:{asked.port}", same_origin=True) if asked.page else None
        app.router.lifespan_context = lambda app: page(app, site)
        uvicorn.run(app, **how)


if __name__ == "__main__":
    main()
