"""The settings that docs/stores.md shows are settings."""

import re
import shlex
from pathlib import Path

import pytest

from talkhead import registry
from talkhead.settings import load
from talkhead.stores.mimes import MIMES

PAGE = (Path(__file__).parents[3] / "docs" / "stores.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_examples_open_a_store(block: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = dict(word.split("=", 1) for word in shlex.split(block))
    for name, value in shown.items():
        monkeypatch.setenv(name, value)
    found = load()
    assert found.store.kind == shown["TALKHEAD_STORE__KIND"]
    for store in (found.store, *found.stores.values()):
        opened = registry.resolve("store", store.kind, registry.STORES).open(store)
        opened.close()


def test_every_kind_has_an_example() -> None:
    assert {re.findall("KIND=(.+)", block)[0] for block in BLOCKS} == set(registry.STORES)


def test_every_type_that_a_bucket_must_take_is_named() -> None:
    assert all(mime in PAGE for mime in MIMES.values())
