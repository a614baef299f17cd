"""What every store promises, for each store of the registry."""

from collections.abc import Callable
from pathlib import Path

import pytest

from talkhead import registry
from talkhead.stores import Store

MAKERS: dict[str, Callable[[Path], Store]] = {
    "local": lambda folder: registry.resolve("store", "local", registry.STORES)(folder / "store"),
}


@pytest.fixture(params=sorted(registry.STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MAKERS[request.param](tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(b"first")
    return path


def test_what_is_put_is_read(store: Store, file: Path) -> None:
    assert store.read("a/b/result.json") is None
    store.put(file, "a/b/result.json")
    assert store.read("a/b/result.json") == b"first"
    file.write_bytes(b"second")
    store.put(file, "a/b/result.json")
    assert store.read("a/b/result.json") == b"second"


def test_urls_name_the_key(store: Store, file: Path) -> None:
    store.put(file, "p/name with space é.mp4")
    assert "://" in store.url("p/name with space é.mp4", 3600)
