"""The shape of the code: imports point down, nothing heavy loads early, nothing is too long."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "talkhead"

# Higher may import lower or equal, never the other way round.
RANK = {
    "serve": 7,
    "job": 6,
    "batch": 5,
    "deliver": 5,
    "prepare": 5,
    "rendering": 5,
    "streaming": 5,
    "survey": 5,
    "uploads": 5,
    "view": 5,
    "intake": 5,
    "warming": 5,
    "quality": 4,
    "runtime": 4,
    "folder": 4,
    "arrays": 4,
    "mirror": 4,
    "playlists": 4,
    "weights": 3,
    "jobs": 4,
    "lease": 4,
    "report": 4,
    "media": 3,
    "voices": 3,
    "stores": 3,
    "aliases": 2,
    "engines": 2,
    "models": 1,
    "registry": 1,
    "validation": 1,
    "settings": 1,
    "environment": 1,
    "result": 1,
    "request": 1,
    "redaction": 1,
    "assets": 0,
    "errors": 0,
}


def module_name(file: Path) -> str:
    parts = file.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "talkhead":
                found |= {f"talkhead.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def part(module: str) -> str:
    return module.split(".")[1]


FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_point_down(file: Path) -> None:
    name = module_name(file)
    if name in ("talkhead", "talkhead.__main__"):
        return
    ours = {m for m in imports(file) if m.startswith("talkhead.") and part(m) != "__version__"}
    for module in ours:
        assert RANK[part(module)] <= RANK[part(name)], f"{name} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_nothing_is_too_long(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


def test_engines_know_no_files() -> None:
    for file in (SRC / "engines").rglob("*.py"):
        heavy = {"av", "PIL", "httpx", "typer", "rich"}
        assert not {module.split(".")[0] for module in imports(file)} & heavy, file


def loaded_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(m.split('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    heavy = {
        "av",
        "cv2",
        "numpy",
        "PIL",
        "pydantic",
        "pocketsphinx",
        "typer",
        "rich",
        "httpx",
        "h11",
    }
    assert not loaded_by("import talkhead") & heavy


def test_help_loads_nothing_heavy() -> None:
    heavy = {"av", "cv2", "numpy", "PIL", "pydantic", "pocketsphinx", "httpx", "h11"}
    assert not loaded_by("import talkhead.serve.cli") & heavy


def test_a_server_listens_before_anything_heavy_loads() -> None:
    heavy = {"av", "cv2", "numpy", "PIL", "pocketsphinx", "httpx", "gradio", "psycopg", "torch"}
    assert not loaded_by("from talkhead.serve import cli, local, serving") & heavy


def test_only_settings_reads_the_environment() -> None:
    readers = [file for file in FILES if "os.environ" in file.read_text()]
    assert {part(module_name(file)) for file in readers} == {"settings"}
