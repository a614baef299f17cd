"""A worker under 200 mixed jobs on loopback: each ends once, nothing is lost, memory stays flat.

    .venv/bin/python benchmarks/worker_soak.py [JOBS]

The load is that of tests/e2e/test_worker_soak.py; the curve goes to results/worker_soak.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from _machine import facts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support.soak import soak  # noqa: E402 (found by the line above)


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    machine = facts()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder) / "soak", jobs, lambda line: print(line, flush=True))
    target = HERE / "results" / "worker_soak.json"
    target.write_text(json.dumps({**machine, **found}) + "\n")
    print(f"memory grew by {found['growth_mb']} MB over half of the load; see {target}")


if __name__ == "__main__":
    main()
