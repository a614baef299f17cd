"""How long a user waits before anything happens: import, --help, and the first progress.

Claims: `import talkhead` under 0.3 s, `talkhead --help` under 0.5 s, first progress within 1 s.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from _machine import heading

TALKHEAD = str(Path(sys.executable).with_name("talkhead"))
RUNS = 7


def timed(command: list[str]) -> float:
    """Return the median wall time of a command, in seconds."""
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return median(times)


def first_progress() -> tuple[float, float]:
    """Return the medians of seconds from process start to the first line, and to plan and ETA."""
    firsts, plans = [], []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            command = [TALKHEAD, "talk", "library:astronaut.png", "library:librivox.flac"]
            command += ["-o", f"{folder}/out.mp4", "--size", "512x512", "--seed", "1"]
            began = time.perf_counter()
            run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert run.stderr is not None
            first = None
            for line in run.stderr:
                first = first or time.perf_counter() - began
                if b"left" in line:
                    break
            firsts.append(first or 0.0)
            plans.append(time.perf_counter() - began)
            run.kill()
            run.communicate()
    return median(firsts), median(plans)


def main() -> None:
    heading(f"Startup, medians of {RUNS} runs, files in the page cache")
    bare = timed([sys.executable, "-c", "pass"])
    imported = timed([sys.executable, "-c", "import talkhead"])
    shown = timed([TALKHEAD, "--help"])
    first, plan = first_progress()
    print(f"python -c pass            {bare:.3f} s")
    print(f"import talkhead           {imported:.3f} s, of which talkhead {imported - bare:.3f} s")
    print(f"talkhead --help           {shown:.3f} s")
    print(
        f"talkhead talk: first line {first:.3f} s, first line with plan and time left {plan:.3f} s"
    )


if __name__ == "__main__":
    main()
