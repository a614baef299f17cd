"""Three minutes of speech on a tiny InfiniteTalk: memory of the process while it renders."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from support import installation
from support.harness import PORTRAITS, SPEECH, TALKHEAD, read_sound, write_wav

TESTS = Path(__file__).parent.parent
SECONDS = 180
LAYERS, CHANNELS = 12, 768  # of speech features, as published; all else is tiny


def render(folder: Path, seconds: int = SECONDS) -> dict[str, Any]:
    """Render in a process of its own; return its memory in MB for each committed segment."""
    sizes = {"audio_blocks": LAYERS, "audio_channels": CHANNELS}
    env = {
        **os.environ,
        **installation.install(folder / "weights", **sizes),
        "PYTHONPATH": str(TESTS),
        "TALKHEAD_ENGINES": json.dumps({"infinitetalk": "support.tinytalk:TinyTalk"}),
        "TALKHEAD_PROMPTS": str(folder / "prompts"),
        "TALKHEAD_JOBS": str(folder / "jobs"),
    }
    convert = [str(TALKHEAD), "weights", "convert", *installation.PICKLED]
    subprocess.run(convert, env=env, check=True, capture_output=True)
    words = [
        "talk", PORTRAITS / "woman_frontal_closed.png", _speech(folder / "speech.wav", seconds),
        "--engine", "infinitetalk", "--size", "256x256", "--seed", 1, "--set", "quality=draft",
        "--json", "-o", folder / "long.mp4",
    ]  # fmt: skip
    run = subprocess.Popen(
        [str(TALKHEAD), *map(str, words)], env=env, stdout=subprocess.PIPE, text=True
    )
    curve: list[dict[str, float]] = []
    while run.poll() is None:
        done = _segments(folder / "jobs")
        if done and (not curve or done > curve[-1]["segments"]):
            curve.append({"segments": done, **_memory(run.pid)})
        time.sleep(0.2)
    out, _ = run.communicate()
    assert run.returncode == 0, out
    answer = json.loads(out)
    (video,) = (made for made in answer["outputs"] if made["kind"] == "video")
    return {
        "windows": 1 + -(-(video["facts"]["frames"] - 81) // 72),
        "segments": answer["segments"]["total"],
        "frames": video["facts"]["frames"],
        "features_mb": round(video["facts"]["frames"] * LAYERS * CHANNELS * 4 / 1e6, 1),
        "curve": curve,
        "seconds": answer["seconds"],
    }


def growth(curve: list[dict[str, float]]) -> float:
    """Return by how many MB of its own the process grew from a quarter of its way to the end."""
    anonymous = [point["anonymous_mb"] for point in curve]
    start = anonymous[len(anonymous) // 4 : len(anonymous) // 2]
    end = anonymous[-len(start) :]
    return float(np.median(end) - np.median(start))


def _speech(file: Path, seconds: int) -> Path:
    """Write recordings of the tests again and again until they last so long."""
    voices = [read_sound(SPEECH / f"librivox_0{number}.flac") for number in (870, 890, 920)]
    return write_wav(file, np.resize(np.concatenate(voices), seconds * 16_000))


def _segments(jobs: Path) -> int:
    return sum(
        line.count('"segment":')
        for file in jobs.glob("*/manifest.jsonl")
        for line in file.read_text().splitlines()
    )


def _memory(pid: int) -> dict[str, float]:
    """Return what a process has of its own, and what it maps of files, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    held = dict(line.split(":", 1) for line in lines)
    names = {"anonymous_mb": "RssAnon", "mapped_mb": "RssFile"}
    return {ours: int(held[theirs].split()[0]) * 1024 / 1e6 for ours, theirs in names.items()}
