"""InfiniteTalk's host memory over three minutes of speech: flat, but for features that are mapped.

    .venv/bin/python benchmarks/infinitetalk_memory.py [SECONDS]

Tiny network at 64x64, speech features of the published size; the load is that of
tests/e2e/test_infinitetalk.py, the curve goes to results/infinitetalk_memory.json.
"""

import json
import sys
import tempfile
from pathlib import Path

from _machine import facts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from support import long_speech  # noqa: E402 (found by the line above)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else long_speech.SECONDS
    machine = facts()
    with tempfile.TemporaryDirectory() as folder:
        found = long_speech.render(Path(folder), seconds)
    grown = round(long_speech.growth(found["curve"]), 1)
    target = HERE / "results" / "infinitetalk_memory.json"
    target.write_text(json.dumps({**machine, "growth_mb": grown, **found}) + "\n")
    print(
        f"{found['windows']} windows, {found['features_mb']} MB of features, mapped; the process "
        f"itself grew by {grown} MB from a quarter of its way to the end; see {target}"
    )


if __name__ == "__main__":
    main()
