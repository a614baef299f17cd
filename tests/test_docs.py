"""What the documents say is so: code runs, commands and fields exist, links lead somewhere."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from talkhead.errors import Code
from talkhead.request import ACTIONS
from talkhead.serve import document
from talkhead.serve.cli import app
from talkhead.settings import Settings
from talkhead.validation import parse

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


def test_the_contract_is_what_the_models_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HOME", raising=False)
    fresh = document.rewritten(CONTRACT)
    changed = [line for line in fresh.splitlines() if line not in CONTRACT.splitlines()]
    assert fresh == CONTRACT, f"run: talkhead schema --docs docs/contract.md; new: {changed}"
    assert set(re.findall(r"<!-- generated: ([\w.-]+) -->", CONTRACT)) == set(document.BLOCKS)


def test_every_field_says_what_it_is() -> None:
    """A row without a meaning helps nobody."""
    for name, block in document.BLOCKS.items():
        for row in block().splitlines():
            if row.startswith("|"):
                assert not row.endswith("| |"), (name, row)


def test_the_contract_names_every_setting() -> None:
    for name in Settings.model_fields:
        assert f"TALKHEAD_{name.upper()}" in CONTRACT, name


def test_the_contract_names_every_code() -> None:
    for code in Code:
        assert f"| {code} |" in CONTRACT


def test_the_contracts_requests_are_valid() -> None:
    examples = [json.loads(block) for block in blocks(ROOT / "docs" / "contract.md", "json")]
    assert {parse(example).action for example in examples} == set(ACTIONS)


def test_the_security_page_names_files_that_exist() -> None:
    """A claim that points nowhere is no claim."""
    page = (ROOT / "docs" / "security.md").read_text()
    named = re.findall(r"`((?:src|tests|docs)/[\w./]+)`", page)
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists(), name
