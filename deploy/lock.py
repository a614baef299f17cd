"""The lock of the worker's image: `lock.py make` writes it, `lock.py check` holds it to pyproject.

`make` asks pip what it would install here (Linux x86_64 and the Python of the image) and writes
versions and digests, nothing else. Run it in an environment that holds nothing but a recent pip.
"""

import argparse
import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "deploy" / "worker.lock"
MORE = ROOT / "deploy" / "worker.in"
EXTRAS = ("runpod", "s3", "espeak", "weights", "torch")  # of the image; not ui, not server
PYTHON = "3.11"  # of the image

LINE = re.compile(r"([a-z0-9-]+)==([^\s;]+) --hash=sha256:([0-9a-f]{64})")


def wanted() -> list[str]:
    """Return the requirements of the image as pyproject.toml and worker.in have them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    lines = (line.partition("#")[0].strip() for line in MORE.read_text().splitlines())
    return sorted({*found, *(line for line in lines if line)})


def fingerprint() -> str:
    """Return a digest of what the lock was made of."""
    return hashlib.sha256("\n".join([PYTHON, *wanted()]).encode()).hexdigest()[:16]


def name_of(requirement: str) -> str:
    """Return the normal form of a requirement's name."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()


def problems(text: str) -> list[str]:
    """Return what is wrong with a lock, one sentence each."""
    head, *lines = text.splitlines() or [""]
    found = []
    if head != header():
        found.append("pyproject.toml or deploy/worker.in changed since the lock was made")
    pins = {}
    for line in lines:
        if not (match := LINE.fullmatch(line)):
            found.append(f"not a version with its digest: {line!r}")
        else:
            pins[match[1]] = match[2]
    if lines != sorted(lines) or len(pins) != len(lines):
        found.append("the lines are not in order, or a name is there twice")
    found += [f"{name} is not locked" for name in map(name_of, wanted()) if name not in pins]
    found += [f"{name} does not belong into the image" for name in ("gradio",) if name in pins]
    return found


def header() -> str:
    """Return the first line of a lock that is of today's requirements."""
    return f"# made by deploy/lock.py for Python {PYTHON} on Linux x86_64, from {fingerprint()}"


def make() -> None:
    """Write the lock anew; needs a package index."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if (here, sys.platform, platform.machine()) != (PYTHON, "linux", "x86_64"):
        sys.exit(f"the image has Python {PYTHON} on Linux x86_64; run this under it")
    with tempfile.TemporaryDirectory() as folder:
        report, asked = Path(folder) / "report.json", Path(folder) / "asked.txt"
        asked.write_text("\n".join(wanted()))
        pip = [sys.executable, "-m", "pip", "install", "--isolated", "--quiet", "--dry-run"]
        more = ["--ignore-installed", "--only-binary", ":all:", "--report", str(report)]
        subprocess.run([*pip, *more, "-r", str(asked)], check=True)
        found = json.loads(report.read_text())["install"]
    lines = [
        f"{name_of(item['metadata']['name'])}=={item['metadata']['version']}"
        f" --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}"
        for item in found
    ]
    LOCK.write_text("\n".join([header(), *sorted(lines)]) + "\n")


def main() -> None:
    """Make or check the lock."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("make", "check"))
    if parser.parse_args().what == "make":
        make()
    elif found := problems(LOCK.read_text()):
        sys.exit("\n".join(["deploy/worker.lock:", *found, "make it anew: deploy/lock.py make"]))


if __name__ == "__main__":
    main()
