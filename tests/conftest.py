"""Shared by all tests: media, and a home of their own for job folders."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "talkhead", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("talkhead")

# Tiny networks: threads would wait for each other longer than they work. torch reads it on import.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MEDIA = Path(__file__).parent / "media"


@pytest.fixture(autouse=True)
def _own_jobs(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what tests write away from the user's."""
    monkeypatch.setenv("TALKHEAD_PROMPTS", str(tmp_path_factory.mktemp("prompts")))
    monkeypatch.setenv("TALKHEAD_JOBS", str(tmp_path_factory.mktemp("jobs")))
