"""The job folders of this machine: what is unfinished, and what may go."""

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from talkhead import lease
from talkhead.folder import MANIFEST, REQUEST, manifest_entries
from talkhead.lease import LOCK

SCRATCH = ".scratch-"


@dataclass(frozen=True, slots=True)
class Kept:
    """An unfinished job."""

    id: str
    state: Literal["running", "interrupted"]
    done: int  # committed segments; of a batch, items that have ended
    total: int | None  # None before its plan was made
    bytes: int
    age_s: float  # since its last progress
    path: Path
    batch: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form."""
        parts = "items" if self.batch else "segments"
        return {
            "id": self.id,
            "state": self.state,
            f"{parts}_done": self.done,
            parts: self.total,
            "bytes": self.bytes,
            "age_s": round(self.age_s),
        }


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Yield a folder for one run, deleted at its end, or by `clean` after a kill."""
    path = root / f"{SCRATCH}{uuid.uuid4().hex}"
    with lease.lock(path):
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def kept(root: Path) -> list[Kept]:
    """Return the unfinished jobs under root, newest first."""
    if not root.is_dir():
        return []
    folders = [path for path in root.iterdir() if not path.name.startswith(".")]
    found = [_describe(path) for path in folders if (path / LOCK).is_file()]
    return sorted((job for job in found if job), key=lambda job: job.age_s)


def clean(root: Path, keep_days: float, keep_gb: float, spare: str | None = None) -> list[Kept]:
    """Delete interrupted jobs that are too old or, oldest first, too much; return them.

    The job `spare` stays, whatever its age and size.
    """
    for path in root.glob(f"{SCRATCH}*"):
        lease.remove(path)
    gone: list[Kept] = []
    room = keep_gb * 1e9
    for job in kept(root):
        if job.state == "running":
            continue
        room -= job.bytes
        if job.id == spare:
            continue
        if (job.age_s > keep_days * 86_400 or room < 0) and lease.remove(job.path):
            gone.append(job)
    return gone


def forget(root: Path, job_id: str, request_digest: str | None) -> bool:
    """Delete what a kill left of a job that has finished since.

    Return False where the folder is another job's, or somebody works in it.
    """
    manifest = root / job_id / MANIFEST
    if not manifest.parent.exists():
        return True
    entries, _ = manifest_entries(manifest.read_bytes() if manifest.exists() else b"")
    return all(e.get("digest", request_digest) == request_digest for e in entries) and lease.remove(
        manifest.parent
    )


def saved_request(root: Path, job_id: str) -> dict[str, Any] | None:
    """Return the request that an unfinished job was started with, or None where there is none."""
    path = root / job_id / REQUEST
    if Path(job_id).name != job_id or not path.is_file():
        return None
    try:
        saved: dict[str, Any] = json.loads(path.read_text())
    except ValueError:  # the disk spoilt it
        return None
    return saved


def _describe(path: Path) -> Kept | None:
    try:
        files = [file.stat() for file in path.rglob("*")]  # the items of a batch lie deeper
        running = lease.held(path)
        touched = (path / LOCK).stat().st_mtime
        manifest = path / MANIFEST
        entries, _ = manifest_entries(manifest.read_bytes() if manifest.exists() else b"")
    except OSError:
        return None  # finished while we looked, or not ours to look at
    batch = next((entry["items"] for entry in entries if "items" in entry), None)
    total = next((entry["segments"] for entry in entries if "plan" in entry), batch)
    done = sum("segment" in entry for entry in entries)
    return Kept(
        id=path.name,
        state="running" if running else "interrupted",
        done=done if batch is None else len({e["item"] for e in entries if e.get("done")}),
        total=total,
        bytes=sum(stat.st_size for stat in files),
        age_s=max(time.time() - touched, 0.0),
        path=path,
        batch=batch is not None,
    )
