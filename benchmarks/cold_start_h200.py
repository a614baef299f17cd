"""InfiniteTalk's cold start: seconds from process start to the first segment, and what they are.

Writes an installation of full size from random weights (38 GB), then starts a process for each
case: the engine itself plans, prepares and makes the first window, and in one case that of another
job after it, which is all that a job waits for after a warm-up. Host memory is counted without what
is mapped from files. docs/engines/infinitetalk.md quotes the results.

PYTHONPATH=src:tests python benchmarks/cold_start_h200.py FOLDER [--cases compile,load]
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

BEGUN = float(os.environ.get("BEGUN", "0"))  # when this process was asked for
SIZE, PROMPT = (640, 640), "a person is talking"


@dataclass(frozen=True, slots=True)
class Case:
    """What a process does."""

    compiled: bool = True
    options: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    from_disk: bool = False  # the page cache is emptied before
    jobs: tuple[str, ...] = ("first",)


CASES = {
    "compile": Case(jobs=("first", "next")),
    "compiled": Case(),  # what was compiled before is found again
    "load": Case(compiled=False, options={"lora": "none"}, from_disk=True),
    "offload": Case(memory={"offload": "block"}),
    "fp8": Case(memory={"quant": "fp8"}),
}


class Memory:
    """The most host memory of this process that is not mapped from files, in 10^9 bytes."""

    def __init__(self) -> None:
        self.most = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
            own = int(found["RssAnon"]) + int(found["RssShmem"])
            self.most = max(self.most, own * 1024 / 1e9)
            time.sleep(0.02)


class Clock:
    """Seconds since the process was asked for, by what was done in them."""

    def __init__(self) -> None:
        self.last = BEGUN
        self.parts: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Count the time since the last mark as that of a part."""
        now = time.time()
        self.parts[name] = round(now - self.last, 2)
        self.last = now


class Bench:
    """The engine with clocks inside."""

    def __init__(self, folder: Path, case: Case, clock: Clock, memory: Memory) -> None:
        from _installation import finder
        from talkhead.engines import Supplies
        from talkhead.engines.infinitetalk import InfiniteTalk, checkpoint
        from talkhead.errors import Code, TalkheadError

        def missing(name: str) -> Exception:
            return TalkheadError(Code.WEIGHTS, f"{name} is not there", "")

        self.case, self.clock, self.memory = case, clock, memory
        self.loaded, self.host = 0.0, 0.0  # seconds, and the most of memory until then
        self._load = checkpoint.load_models
        checkpoint.load_models = self._timed
        find = finder(json.loads((folder / "files.json").read_text()), missing)
        prompts = (folder / "prompts",)
        self.engine = InfiniteTalk(
            Supplies(find, lambda files: str(len(files)), prompts, compiled=case.compiled)
        )

    def first_window(self) -> dict[str, float]:
        """Make a job's first window; return what its seconds were spent on."""
        import numpy as np

        from talkhead.engines import Fitting, Inputs, Plan, Probe, Speaker
        from talkhead.engines.infinitetalk.options import Options

        random = np.random.default_rng(1)
        asked: dict[str, Any] = {
            # pyloudnorm is not on the machine, and measuring takes no time
            "options": Options(normalize_loudness=False, **self.case.options),
            "sampling": {"steps": 4},
            "quality": "fast",
            "memory": Fitting(**self.case.memory),
        }
        plan: Plan = self.engine.plan(
            Probe(*SIZE, Fraction(25), 81, (), 3.24, estimated=False, **asked)
        )
        self.predicted = plan.memory_bytes
        self.clock.mark("plan")
        speech = random.normal(0, 0.1, 51_840).astype(np.float32)
        picture = random.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
        given = Inputs(picture, (Speaker(speech, None),), 5, prompt=PROMPT, **asked)
        prepared = self.engine.prepare(given, plan, lambda *_: None)
        self.clock.mark("prepare")
        steps: list[tuple[int, float]] = []

        def tick(done: int, _total: int) -> None:
            if done and done not in dict(steps):
                _finish()
                steps.append((done, time.time()))

        self.loaded = 0.0
        start = time.time()
        next(self.engine.generate(prepared, plan, tick, None))
        end = time.time()
        step = sorted(b[1] - a[1] for a, b in pairwise(steps[:4]))[1]
        beyond = steps[0][1] - start - self.loaded - step
        self.clock.last = end
        return {
            **self.clock.parts,
            "load": round(self.loaded, 2),
            "compile_and_conditions": round(beyond, 2),
            "window": round(end - start - self.loaded - beyond, 2),
        }

    def _timed(self, *given: Any) -> Any:
        start = time.time()
        models = self._load(*given)
        _finish()
        self.loaded, self.host = time.time() - start, self.memory.most
        return models


def run(folder: Path, case: Case) -> dict[str, Any]:
    """Run a case in this process; return what was measured."""
    memory, clock = Memory(), Clock()
    clock.mark("interpreter")
    import torch

    from talkhead.engines.infinitetalk import checkpoint, pipeline  # noqa: F401

    clock.mark("imports")
    torch.zeros(1, device="cuda")
    clock.mark("cuda")
    bench = Bench(folder, case, clock, memory)
    told: dict[str, Any] = {}
    for job in case.jobs:
        told[job] = bench.first_window()
        told[f"{job}_s"] = round(sum(told[job].values()), 1)
        clock.parts = {}
    return told | {
        "host_peak_while_loading_gb": round(bench.host, 2),
        "host_peak_gb": round(memory.most, 2),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2),
        "predicted_gb": round(bench.predicted / 1e9, 2),
    }


def _finish() -> None:
    import torch

    torch.cuda.synchronize()


def drop_cache() -> None:
    """Empty the page cache; raises OSError where that is not allowed."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def started(folder: Path, name: str) -> dict[str, Any]:
    """Return what a case's own process measured."""
    if CASES[name].from_disk:
        drop_cache()
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")}
    environment["BEGUN"] = str(time.time())
    command = [sys.executable, __file__, str(folder), "--child", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"case": name, "error": done.stderr[-1500:]}
    return {"case": name, **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--child", help="for the processes that it starts")
    parser.add_argument("--out", help="write all lines to this file as JSON")
    given = parser.parse_args()
    if given.child:
        print(json.dumps(run(given.folder, CASES[given.child])))
        return
    from _installation import write
    from _machine import facts

    lines: list[dict[str, Any]] = []

    def say(**values: Any) -> None:
        lines.append(values)
        print(json.dumps(values), flush=True)
        if given.out:
            Path(given.out).write_text(json.dumps(lines, indent=1))

    say(**facts())
    start, index = time.time(), given.folder / "files.json"
    if not index.exists():
        index.write_text(json.dumps(write(given.folder, PROMPT)))
    files = json.loads(index.read_text())
    network = [*files["wan-i2v"], *files["infinitetalk-single-adapter"]]
    size = sum(Path(file).stat().st_size for file in network)
    say(written_s=round(time.time() - start, 1), checkpoint_gb=round(size / 1e9, 2))
    for name in given.cases.split(","):
        say(**started(given.folder, name))


if __name__ == "__main__":
    main()
