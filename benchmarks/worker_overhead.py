"""What the worker costs beside the job itself: 10 s of draft video by worker and by command line.

    .venv/bin/python benchmarks/worker_overhead.py [RUNS]

Claim: less than 0.5 s more by the worker, start of the SDK and of its child not counted. By worker
a job counts from its submission to its answer; by command line the whole process counts, and beside
it its work by its own account, which leaves the imports out: the harder of the two comparisons.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from _machine import facts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.harness import (  # noqa: E402 (found by the line above)
    SPEECH,
    TALKHEAD,
    read_sound,
    write_wav,
)
from support.plane import platform  # noqa: E402
from support.serving import Ground, working  # noqa: E402

SECONDS = 10


def ten_seconds(folder: Path) -> None:
    """Write the speech of the job."""
    sound = np.concatenate([read_sound(SPEECH / f"librivox_0{n}.flac") for n in (870, 890, 920)])
    write_wav(folder / "ten.wav", sound[: SECONDS * 16_000])


def payload(seed: int) -> dict[str, Any]:
    return {
        "portrait": "library:astronaut.png",
        "speakers": [{"audio": "volume:ten.wav"}],
        "size": "512x512",
        "fit": "face",
        "engine": "draft",
        "sampling": {"seed": seed},
    }


def by_cli(ground: Ground, seed: int) -> dict[str, float]:
    """Return seconds of the whole process and of its work by its own account."""
    file = ground.folder / "request.json"
    file.write_text(json.dumps(payload(seed)))
    command = [str(TALKHEAD), "talk", "--request", str(file), "-o", f"{ground.folder}/{seed}.mp4"]
    began = time.perf_counter()
    run = subprocess.run(
        [*command, "--json"], check=True, capture_output=True, text=True, env=ground.env
    )
    whole = time.perf_counter() - began
    return {"whole": whole, "work": sum(json.loads(run.stdout)["seconds"].values())}


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    machine, worker_s, cli = facts(), [], []
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground(Path(folder))
        ten_seconds(ground.volume)
        with platform() as plane, working(ground, plane):
            plane.ask(payload(999))  # the models are loaded once in a worker's life
            for seed in range(runs):
                time.sleep(2)  # the SDK looks for the next job once a second after one
                began = time.perf_counter()
                ended = plane.ask(payload(seed))
                worker_s.append(time.perf_counter() - began)
                assert ended["output"]["result"]["plan"]["seconds"] == SECONDS, ended
                cli.append(by_cli(ground, seed))
    found = {
        **machine,
        "runs": runs,
        "worker_s": round(median(worker_s), 3),
        "cli_s": round(median(run["whole"] for run in cli), 3),
        "cli_work_s": round(median(run["work"] for run in cli), 3),
        "all_worker_s": [round(seconds, 3) for seconds in worker_s],
        "all_cli_s": [round(run["whole"], 3) for run in cli],
    }
    found["worker_minus_cli_s"] = round(found["worker_s"] - found["cli_s"], 3)
    found["worker_minus_cli_work_s"] = round(found["worker_s"] - found["cli_work_s"], 3)
    (HERE / "results" / "worker_overhead.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
