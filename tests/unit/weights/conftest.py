"""A hub on loopback, and pulls from it into a folder of the test's own."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from support.fake_hub import Hub, fake_hub
from support.weights import BIG, SMALL, Puller, known
from talkhead.weights.pull import Terms


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with fake_hub() as running:
        # what HF_ENDPOINT sets when the library is imported
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(
            "https://huggingface.co", running.url
        )
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        running.put("org/model", "deep/big.bin", BIG)
        running.put("org/model", "google/tok/a.json", SMALL)
        running.put("org/model", "google/tok/deeper/b.json", SMALL)
        running.put("org/model", "part-00001-of-00002.bin", BIG[1:])
        running.put("org/model", "part-00002-of-00002.bin", BIG[2:])
        running.put("org/unstated", "config.json", SMALL)
        running.put("org/closed", "closed.bin", SMALL)
        yield running


@pytest.fixture
def pull(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Puller:
    monkeypatch.setattr("talkhead.weights.transfer.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("talkhead.weights.hub.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("talkhead.weights.lock.LOOK_S", 0.01)
    terms = Terms(known=known(), report_s=0.05, cancel=threading.Event())
    return Puller(hub, tmp_path / "root", terms)
