"""What every benchmark prints first: where and when it ran."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def heading(title: str) -> None:
    """Print the title, the machine, its load and the date."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    load = os.getloadavg()[0]
    print(
        f"{title}\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {cpu}, {os.cpu_count()} cores, ", end=""
    )
    print(f"load {load:.1f} before, Python {platform.python_version()}\n")
