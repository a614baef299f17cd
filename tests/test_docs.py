"""What the documents say is so: code runs, commands and fields exist, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from talkhead.errors import EXIT_CODES, RETRYABLE, Code
from talkhead.request import Output, Sampling, Speak, Speaker, Talk
from talkhead.result import Made, Result
from talkhead.serve.cli import app
from talkhead.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTRACT = (ROOT / "docs" / "contract.md").read_text()


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return every talkhead command line of the documents, as words."""
    lines = [line for page in PAGES for block in blocks(page, "") for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("talkhead ")]
    return [words[1:] for words in found]


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks(ROOT / "README.md", "python")
    shown: list[str] = []
    exec(snippet, {"print": shown.append})
    assert shown[0].startswith("file://")
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_exist_with_their_options(words: list[str]) -> None:
    depth = 2 if words[0] in ("jobs", "weights") else 1
    shown = CliRunner().invoke(app, [*words[:depth], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for word in words[depth:]:
        if word.startswith("-"):
            assert re.search(rf"{re.escape(word)}\b", shown.output), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("model", [Talk, Speak, Speaker, Sampling, Output, Result, Made])
def test_the_contract_names_every_field(model: type) -> None:
    silent = {"healthy", "ability", "action"}  # told in words
    for name in set(model.model_fields) - silent:  # type: ignore[attr-defined]
        assert re.search(rf"`{name}(\[\])?`", CONTRACT), name


def test_the_contract_names_every_setting() -> None:
    for name in Settings.model_fields:
        assert f"TALKHEAD_{name.upper()}" in CONTRACT, name


@pytest.mark.parametrize("code", Code)
def test_the_contract_names_every_code(code: Code) -> None:
    table = CONTRACT.partition("| code | exit |")[2]
    row = next(line for line in table.splitlines() if code in line)
    _, _, status, retryable, _, _ = row.split("|")
    assert int(status) == EXIT_CODES[code]
    assert (retryable.strip() == "yes") == (code in RETRYABLE)
