"""The job folder: what makes a job survive a kill.

    <jobs>/<id>/lock            held by flock while a process works; also a lease for other hosts
                request.json    the request, so that a job can be shown and resumed by its id
                manifest.jsonl  one line for each fact that counts; nothing else counts
                prepared.npz    what the engine prepared; large arrays in prepared.NAME.npy
                segment-*.mp4   committed frames
                state-*.npz     where the engine goes on; only the newest is kept

A file is written under a temporary name, fsynced and renamed before the manifest names it.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talkhead import arrays as files
from talkhead import lease
from talkhead.arrays import sync
from talkhead.errors import Code, TalkheadError
from talkhead.mirror import Mirror

MANIFEST, REQUEST = "manifest.jsonl", "request.json"
MAKERS = ("engine", "encoder")  # what an upgrade changes, with no doing of the caller's


@dataclass(frozen=True, slots=True)
class Identity:
    """What must agree for a job to go on where it stopped. All but the platform is binding.

    Another request, other inputs or another seed is another job, and refused. Where only what
    makes the frames is another, the job is the same one and starts over.
    """

    request: str  # digest of the request without output, deadline and priority
    inputs: Mapping[str, str]  # field to sha256 of the bytes behind it
    engine: str  # name, version and identity of the weights
    encoder: str  # settings of the video encoder
    seed: int | None
    platform: str

    @property
    def digest(self) -> str:
        """Return the digest that stands for the whole job, this version's engine included."""
        binding = {name: value for name, value in asdict(self).items() if name != "platform"}
        return digest(binding)

    @property
    def asked(self) -> str:
        """Return the digest of what was asked for, whatever version does it."""
        return digest([self.request, dict(self.inputs), self.seed])


@dataclass(frozen=True, slots=True)
class Segment:
    """Committed frames."""

    file: Path
    frames: int


def digest(value: object) -> str:
    """Return the sha256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def this_platform() -> str:
    """Return what may change pixels without changing a request: machine and library versions."""
    import av  # noqa: PLC0415 (heavy; only a real job needs it)
    import cv2  # noqa: PLC0415

    parts = [platform.machine(), platform.python_version(), f"numpy {np.__version__}"]
    return ", ".join([*parts, f"opencv {cv2.__version__}", f"av {av.__version__}"])


class Folder:
    """One locked job folder. Made by `open_folder`."""

    def __init__(
        self,
        path: Path,
        entries: list[dict[str, Any]],
        notices: list[str],
        mirror: Mirror | None = None,
    ) -> None:
        self.path = path
        self.notices = notices
        self.waited = False  # whether somebody else worked in it when this run came
        self._entries = entries  # the manifest, as read and appended to
        self._mirror = mirror
        self._rooms = 0

    @property
    def segments(self) -> list[Segment]:
        """Return the committed segments in order."""
        return [
            Segment(self.path / entry["file"], entry["frames"])
            for entry in self._entries
            if "segment" in entry
        ]

    @property
    def state(self) -> dict[str, NDArray[Any]] | None:
        """Return where the engine goes on, or None at the very start."""
        for entry in reversed(self._entries):
            if "state" in entry:
                return files.load_npz(self.path / entry["state"])
        return None

    @property
    def finished(self) -> bool:
        """Return whether a job of one step has made its files."""
        return any("made" in entry for entry in self._entries)

    def made(self, output: str) -> list[dict[str, Any]]:
        """Return what `commit_made` wrote down for that output; nothing where a file is spoilt."""
        for entry in reversed(self._entries):
            if entry.get("output") == output:
                sound = all(_is_sound(self.path / i["file"], i["sha256"]) for i in entry["made"])
                return [dict(item) for item in entry["made"]] if sound else []
        return []

    def commit_made(self, output: str, made: Sequence[Mapping[str, Any]]) -> None:
        """Make finished files count; each item names its `file` in this folder."""
        items = [{**item, "sha256": file_digest(self.path / item["file"])} for item in made]
        self._append({"made": items, "output": output})

    def agree_plan(self, plan: str, segments: int) -> None:
        """Write down the plan's digest, or refuse to go on under another plan."""
        known = next((entry for entry in self._entries if "plan" in entry), None)
        if known is None:
            self._append({"plan": plan, "segments": segments})
        elif known["plan"] != plan:
            raise _other_job(self.path.name, ["plan"])

    def note(self, **entry: Any) -> None:
        """Write down a fact of a batch; `noted` returns it."""
        self._append(entry)

    def noted(self, name: str) -> list[dict[str, Any]]:
        """Return the facts that hold such a name, in order."""
        return [entry for entry in self._entries if name in entry]

    def commit_segment(self, partial: Path, frames: int, state: Mapping[str, Any]) -> None:
        """Make a written segment and the state after it count."""
        index = len(self.segments)
        file = f"segment-{index:05d}.mp4"
        entry = {"segment": index, "file": file, "frames": frames, "sha256": file_digest(partial)}
        sync(partial)
        partial.replace(self.path / file)
        self._commit_state(entry, state)

    def commit_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Make a state between two segments count."""
        self._commit_state({"checkpoint": len(self.segments)}, state)

    def save(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write arrays as NAME.npz, large ones beside it; the npz counts, and comes last."""
        files.save(self.path, name, arrays)

    def load(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return what `save` wrote; None where there is nothing, or nothing that can be read."""
        try:
            return files.load(self.path, name) if (self.path / f"{name}.npz").exists() else None
        except files.UNREADABLE:
            self.notices.append(f"{name}.npz was damaged and is made again")
            return None

    def room(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return an array in a new file of this folder; `clear_scratch` deletes it."""
        self._rooms += 1
        return files.room(self.path / f".room-{self._rooms}.npy", shape)

    def clear_scratch(self) -> None:
        """Delete the arrays that only what is saved now was made of."""
        for file in self.path.glob(".*.npy"):
            file.unlink()

    def renew(self) -> None:
        """Tell other hosts that this job is being worked on."""
        lease.renew(self.path)

    def remove(self) -> None:
        """Delete the folder and its copy; its job is done and delivered, or has nothing to keep."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._mirror:
            self._mirror.remove()

    def _commit_state(self, entry: dict[str, Any], state: Mapping[str, Any]) -> None:
        old = [e["state"] for e in self._entries if "state" in e]
        number = 1 + (int(old[-1][len("state-") : -len(".npz")]) if old else 0)
        files.save_npz(self.path / f"state-{number:05d}.npz", state)
        self._append({**entry, "state": f"state-{number:05d}.npz"})
        for name in old[-1:]:
            (self.path / name).unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        with (self.path / MANIFEST).open("ab") as file:
            file.write(json.dumps(entry, default=str).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._entries.append(entry)
        self.renew()
        if self._mirror and (problem := self._mirror.push(self.path)):
            notice = f"the copy in the store could not be kept up to date: {problem}"
            if notice not in self.notices:
                self.notices.append(notice)


@contextmanager
def open_folder(
    root: Path,
    job_id: str,
    identity: Identity,
    request: str,
    mirror: Mirror | None = None,
    wait: Callable[[], None] | None = None,
) -> Iterator[Folder]:
    """Lock the folder of a job, new or interrupted, and check that it is the same job.

    Where a mirror holds more of the job than this disk does, it is brought here first.
    Raises E_CAPACITY while another process works on it, with `wait` only after `lease.lock` gave
    up waiting, and E_INPUT_VALIDATION where the folder belongs to another job.
    """
    path = root / job_id
    with lease.lock(path, wait) as waited:
        if mirror:
            mirror.pull(path)
        entries = _read_manifest(path / MANIFEST)
        known = entries[0]["job"] if entries else None
        notices: list[str] = []
        if known:
            _check_identity(job_id, known, asdict(identity))
        if known and (newer := [name for name in MAKERS if known[name] != getattr(identity, name)]):
            notices.append(f"the {' and the '.join(newer)} changed; the job was started over")
            _start_over(path, entries)
        elif known:
            if known["platform"] != identity.platform:
                notices.append(
                    f"continued on another platform ({known['platform']} before): frames may "
                    "differ slightly at the joint"
                )
            _drop_damaged(path, entries, notices)
        folder = Folder(path, entries, notices, mirror)
        folder.waited = waited
        _clear_strays(path, entries)
        if not (entries and (path / REQUEST).exists()):
            partial = path / f".{REQUEST}.partial"
            partial.touch(0o600)  # it may hold signed links
            partial.write_text(request)
            sync(partial)
            partial.replace(path / REQUEST)
        if not entries:
            folder._append({"job": asdict(identity), "digest": identity.asked})
        yield folder


def _read_manifest(path: Path) -> list[dict[str, Any]]:
    """Return the manifest's sound lines; drop what a crash or the disk spoilt."""
    if not path.exists():
        return []
    data = path.read_bytes()
    entries, length = manifest_entries(data)
    if length < len(data):
        os.truncate(path, length)
    return entries


def manifest_entries(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the entries before the first line that is cut short or damaged, and their bytes."""
    entries, length = [], 0
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(entry, dict):
            break
        entries.append(entry)
        length += len(line)
    return entries, length


def _check_identity(job_id: str, known: dict[str, Any], mine: dict[str, Any]) -> None:
    changed = [name for name in ("request", "seed") if known[name] != mine[name]]
    fields = sorted(known["inputs"].keys() | mine["inputs"].keys())
    changed += [name for name in fields if known["inputs"].get(name) != mine["inputs"].get(name)]
    if changed:
        raise _other_job(job_id, changed)


def _other_job(job_id: str, changed: list[str]) -> TalkheadError:
    return TalkheadError(
        Code.INPUT,
        f"job {job_id} belongs to another request: {', '.join(changed)} changed",
        "give back what it was started with, or start a new job: another key, or no --resume",
        fields=changed,
    )


def _start_over(path: Path, entries: list[dict[str, Any]]) -> None:
    """Delete all that another version made; the manifest last, since it says whose it is."""
    entries.clear()
    for file in path.iterdir():
        if file.is_dir():
            shutil.rmtree(file)
        elif file.name not in (lease.LOCK, MANIFEST):
            file.unlink()
    (path / MANIFEST).unlink()


def _drop_damaged(path: Path, entries: list[dict[str, Any]], notices: list[str]) -> None:
    """Start over where a committed file is gone or damaged: older states are no longer there."""
    committed = [entry for entry in entries if "segment" in entry]
    sound = all(_is_sound(path / entry["file"], entry["sha256"]) for entry in committed)
    states = [entry["state"] for entry in entries if "state" in entry]
    if sound and (not states or (path / states[-1]).exists()):
        return
    notices.append("committed files of the interrupted job were damaged; it was started over")
    entries[:] = [entry for entry in entries if "job" in entry or "plan" in entry]
    text = "".join(json.dumps(entry, default=str) + "\n" for entry in entries)
    partial = path / f".{MANIFEST}.partial"
    partial.write_text(text)
    sync(partial)
    partial.replace(path / MANIFEST)


def _is_sound(file: Path, sha256: str) -> bool:
    return file.is_file() and file_digest(file) == sha256


def _clear_strays(path: Path, entries: list[dict[str, Any]]) -> None:
    """Delete segments, states and partial files that no manifest line names."""
    named = {entry[key] for entry in entries for key in ("file", "state") if key in entry}
    newest = [entry["state"] for entry in entries if "state" in entry][-1:]
    for file in path.iterdir():
        stale_state = file.name.startswith("state-") and [file.name] != newest
        stray = file.name.startswith("segment-") and file.name not in named
        stray |= file.suffix == ".npy" and not (path / f"{file.name.split('.')[0]}.npz").exists()
        if file.name.startswith(".") or stale_state or stray:
            file.unlink(missing_ok=True)
