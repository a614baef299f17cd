"""`talkhead doctor`: what is installed, what is missing and the command that fixes it."""

import hashlib
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from talkhead import __version__, jobs, registry
from talkhead.errors import TalkheadError
from talkhead.result import Component
from talkhead.runtime import Runtime
from talkhead.serve import console, fitness
from talkhead.settings import load

LIBRARIES = ("numpy", "av", "opencv-python-headless", "pillow", "pocketsphinx", "pydantic")
# What serving others may need beyond the core: an extra, and the module that shows it is there.
EXTRAS = {
    "runpod": "runpod",
    "s3": "boto3",
    "server": "fastapi",
    "ui": "gradio",
    "weights": "huggingface_hub",
}
ROOM_WANTED = 1e9  # bytes free for job folders


def doctor(json: bool) -> bool:
    """Print the state of this installation; return whether `talk` can work."""
    runtime = Runtime(load(weights_aliases=True), local_paths=True)
    ability = runtime.ability().ability
    engines = ability.engines if ability else ()
    checks = [_machine(), *(_library(name) for name in LIBRARIES), _face_models()]
    checks.append(_folder(runtime.settings.jobs))
    voices = ability.voices if ability else ()
    later = [
        Component(name=name, ready=False, detail="not part of this version")
        for name in registry.LATER_ENGINES
    ]
    serving = [*(_extra(name, module) for name, module in EXTRAS.items()), _worker_store()]
    sound = all(check.ready for check in checks) and any(engine.ready for engine in engines)
    if json:
        groups = {
            "checks": checks,
            "engines": [*engines, *later],
            "voices": voices,
            "serving": serving,
        }
        shown = {name: [item.model_dump() for item in group] for name, group in groups.items()}
        console.as_json({"version": __version__, "ok": sound, **shown})
        return sound
    console.table(f"talkhead {__version__}", ("", "", "", "fix"), [_row(c) for c in checks])
    console.out()
    console.table("Engines", ("", "", "", "fix"), [_row(c) for c in (*engines, *later)])
    console.out()
    console.table("Voices", ("", "", "", "fix"), [_row(c) for c in voices])
    console.out()
    console.table("Serving", ("", "", "", "fix"), [_row(c) for c in serving])
    return sound


def _row(item: Component) -> tuple[str, str, str, str]:
    detail = f"{item.detail}; licence: {item.licence}" if item.licence else item.detail
    return "ok" if item.ready else "--", item.name, detail, item.fix


def _machine() -> Component:
    detail = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
    return Component(name="machine", ready=True, detail=f"{detail}{os.cpu_count()} cores")


def _library(name: str) -> Component:
    try:
        return Component(name=name, ready=True, detail=version(name))
    except PackageNotFoundError:
        return Component(name=name, ready=False, detail="missing", fix=f"pip install {name}")


def _face_models() -> Component:
    """Compare the bundled face models with their sums."""
    folder = Path(str(files("talkhead.assets"))) / "face_landmarker"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        wanted, name = line.split()
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            fix = "pip install --force-reinstall talkhead"
            return Component(name="face models", ready=False, detail=f"{name} damaged", fix=fix)
    return Component(name="face models", ready=True, detail="3 files, sums agree")


def _extra(name: str, module: str) -> Component:
    if find_spec(module) is None:
        return Component(name=name, ready=False, detail="not installed", fix=registry.install(name))
    return Component(name=name, ready=True, detail="installed")


def _worker_store() -> Component:
    """Say where `talkhead worker` would put results, by our settings or an older system's names."""
    name = "worker's store"
    try:
        found = load(aliases=True)
        fitness.refuse_unknown_families(found)
        fitness.refuse_unfinished_settings(found)
    except TalkheadError as error:
        return Component(name=name, ready=False, detail=error.message, fix=error.hint)
    store = found.store
    place = getattr(store, "bucket", None) or getattr(store, "root", "")
    if lack := registry.missing(store.kind):
        fix = registry.install(lack)
        return Component(name=name, ready=False, detail=f"{store.kind}, {place}", fix=fix)
    return Component(name=name, ready=True, detail=f"{store.kind}, {place}")


def _folder(folder: Path) -> Component:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    name = "job folders"
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        fix = "set TALKHEAD_JOBS to a folder that can be written"
        return Component(name=name, ready=False, detail=f"{folder} is not writable", fix=fix)
    free = shutil.disk_usage(existing).free
    detail = f"{folder}, {len(jobs.kept(folder))} unfinished, {free / 1e9:.0f} GB free"
    if free < ROOM_WANTED:
        return Component(name=name, ready=False, detail=detail, fix="free some disk space")
    return Component(name=name, ready=True, detail=detail)
