"""What every store promises, for each store of the registry."""

import base64
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.request import url2pathname

import httpx
import pytest
from pydantic import SecretStr

from support.fake_s3 import FakeS3
from support.fake_supabase import FakeSupabase
from talkhead import registry
from talkhead.errors import TalkheadError
from talkhead.settings import S3, Inline, Local, Supabase
from talkhead.stores import Store
from talkhead.stores.keys import safe_part


def _settings(kind: str, folder: Path, stack: ExitStack) -> Local | S3 | Supabase | Inline:
    if kind == "s3":
        s3 = stack.enter_context(FakeS3())
        keys = {"access_key": SecretStr(s3.access_key), "secret_key": SecretStr(s3.secret_key)}
        return S3(kind="s3", bucket=s3.bucket, endpoint=s3.url, **keys)
    if kind == "supabase":
        it = stack.enter_context(FakeSupabase())
        return Supabase(kind="supabase", url=it.url, key=SecretStr(it.key), bucket=it.bucket)
    if kind == "inline":
        return Inline(kind="inline", root=folder / "store", limit_mb=14)
    return Local(root=folder / "store")


@pytest.fixture(params=sorted(registry.STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with ExitStack() as stack:
        settings = _settings(request.param, tmp_path, stack)
        made = registry.resolve("store", request.param, registry.STORES).open(settings)
        yield made
        if hasattr(made, "close"):
            made.close()


def put(store: Store, folder: Path, key: str, content: bytes, *, create: bool = False) -> bool:
    file = folder / f"source-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return store.put(file, key, mime="video/mp4", sha256=sha256, create=create)


def test_round_trip(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b.mp4") is None
    assert put(store, tmp_path, "a/b.mp4", b"first")
    assert put(store, tmp_path, "a/b.mp4", b"second")
    assert store.read("a/b.mp4") == b"second"
    assert not put(store, tmp_path, "a/b.mp4", b"third", create=True)
    assert put(store, tmp_path, "a/c.mp4", b"third", create=True)
    assert store.read("a/b.mp4") == b"second"
    store.delete("a/b.mp4")
    store.delete("a/b.mp4")
    assert store.read("a/b.mp4") is None


def test_get(store: Store, tmp_path: Path) -> None:
    into, content = tmp_path / "into", b"0123456789" * 300_000
    put(store, tmp_path, "big.mp4", content)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    assert not store.get("none.mp4", into, 9, print)
    with pytest.raises(TalkheadError, match="limit"):
        store.get("big.mp4", into, 1000, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        store.get("big.mp4", into, 10**8, stop)
    assert not into.exists()
    assert store.get("big.mp4", into, 10**8, lambda *_: None)
    assert into.read_bytes() == content


def test_links_lead_to_the_bytes(store: Store, tmp_path: Path) -> None:
    key = f"a b/{safe_part('Äpfel été/日本')}.mp4"
    put(store, tmp_path, key, b"video")
    url = store.link(key, "signed", 60).url
    if url.startswith("data:video/mp4;base64,"):
        assert base64.b64decode(url.partition(",")[2]) == b"video"
    elif url.startswith("file:"):
        assert Path(url2pathname(url.removeprefix("file://"))).read_bytes() == b"video"
    else:
        assert httpx.get(url).content == b"video"


@pytest.mark.parametrize("key", ["", "/x", "../x", "a/../x", "a//b", "a\\b", "a\0b", "x" * 1025])
def test_bad_keys(store: Store, tmp_path: Path, key: str) -> None:
    with pytest.raises(TalkheadError, match="not a key"):
        put(store, tmp_path, key, b"x")


def test_two_threads(store: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: put(store, tmp_path, f"{n}.mp4", b"%d" % n), range(8)))
    assert [store.read(f"{n}.mp4") for n in range(8)] == [b"%d" % n for n in range(8)]
