"""A folder of its own for each end-to-end test."""

from pathlib import Path

import pytest

from support.harness import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return the real command line in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Cli(folder)
