"""What every benchmark prints first: where and when it ran."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def facts() -> dict[str, object]:
    """Return the machine, its load and the date."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def heading(title: str) -> None:
    """Print the title, the machine, its load and the date."""
    here = facts()
    print(f"{title}\n{here['date']}, {here['cpu']}, {here['cores']} cores, ", end="")
    print(f"load {here['load_before']} before, Python {here['python']}\n")
