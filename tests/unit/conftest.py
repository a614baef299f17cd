"""Fixtures of tests that run whole jobs on the test card."""

from pathlib import Path

import pytest

from support import testcard
from support.cards import card_runtime, plain_portrait, seven_seconds
from talkhead.runtime import Runtime


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return seven_seconds(tmp_path)


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return plain_portrait(tmp_path)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    testcard.CALLS.clear()
    return card_runtime(tmp_path)
