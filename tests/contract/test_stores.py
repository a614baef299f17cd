"""What every store promises, for each store of the registry."""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from support.fake_s3 import FakeS3
from support.fake_supabase import FakeSupabase
from talkhead import registry
from talkhead.errors import Code, TalkheadError
from talkhead.settings import S3, Inline, Local, StoreSettings, Supabase
from talkhead.stores import MAX_READ, Receives, Store
from talkhead.stores.keys import safe_part

Maker = Callable[[Path, ExitStack], StoreSettings]
BIG = 17 * 2**20  # bytes: two parts of a multipart upload


def _local(folder: Path, stack: ExitStack) -> StoreSettings:
    return Local(root=folder / "store")


def _inline(folder: Path, stack: ExitStack) -> StoreSettings:
    return Inline(kind="inline", root=folder / "store", limit_mb=14)


def _supabase(folder: Path, stack: ExitStack) -> StoreSettings:
    it = stack.enter_context(FakeSupabase())
    return Supabase(kind="supabase", url=it.url, key=SecretStr(it.key), bucket=it.bucket)


def _s3(folder: Path, stack: ExitStack) -> StoreSettings:
    return _described(stack.enter_context(FakeS3()))


def _like_supabase(folder: Path, stack: ExitStack) -> StoreSettings:
    """Supabase's S3: a path in the endpoint, ASCII keys, no conditions."""
    fake = FakeS3(path="/storage/v1/s3", conditional=False, ascii_keys=True)
    return _described(stack.enter_context(fake))


def _moto(folder: Path, stack: ExitStack) -> StoreSettings:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    stack.callback(server.stop)
    host, port = server.get_host_and_port()
    keys: dict[str, Any] = {"access_key": SecretStr("a"), "secret_key": SecretStr("s")}
    found = S3(kind="s3", bucket="bucket", endpoint=f"http://{host}:{port}", **keys)
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=found.endpoint,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="s",
    )
    client.create_bucket(Bucket=found.bucket)
    client.close()
    return found


def _described(fake: FakeS3) -> StoreSettings:
    keys: dict[str, Any] = {
        "access_key": SecretStr(fake.access_key),
        "secret_key": SecretStr(fake.secret_key),
    }
    return S3(kind="s3", bucket=fake.bucket, endpoint=fake.url, **keys)


MAKERS: dict[str, Maker] = {
    "inline": _inline,
    "local": _local,
    "s3": _s3,
    "s3 like supabase": _like_supabase,
    "s3 of moto": _moto,
    "supabase": _supabase,
}


def test_none_is_left_out() -> None:
    assert {name.partition(" ")[0] for name in MAKERS} == set(registry.STORES)


@pytest.fixture(params=MAKERS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Open one store for all tests; each has keys of its own."""
    with ExitStack() as stack:
        settings = MAKERS[kind](tmp_path_factory.mktemp("folder"), stack)
        made: Store = registry.resolve("store", settings.kind, registry.STORES).open(settings)
        yield made
        made.close()


def put(store: Store, folder: Path, key: str, content: bytes, *, create: bool = False) -> bool:
    file = folder / f"source-{hashlib.sha256(content).hexdigest()[:8]}"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return store.put(file, key, mime="video/mp4", sha256=sha256, create=create)


def ignore(done: int, total: int) -> None:
    pass


def test_round_trip(store: Store, tmp_path: Path) -> None:
    assert store.read("a/b.mp4") is None
    assert put(store, tmp_path, "a/b.mp4", b"first")
    assert put(store, tmp_path, "a/b.mp4", b"second")
    assert store.read("a/b.mp4") == b"second"
    assert put(store, tmp_path, "a/empty", b"")
    assert store.read("a/empty") == b""
    store.delete("a/b.mp4")
    store.delete("a/b.mp4")
    assert store.read("a/b.mp4") is None
    assert store.read("a/empty") == b""
    store.close()
    assert store.read("a/empty") == b""


def test_names_that_a_disk_could_not_hold(store: Store, tmp_path: Path) -> None:
    key = "x" * 400
    assert store.read(key) is None
    assert not store.get(key, tmp_path / "into", 9, ignore)
    store.delete(key)


def test_create_leaves_what_is_there(store: Store, tmp_path: Path) -> None:
    assert put(store, tmp_path, "result.json", b"first", create=True)
    assert not put(store, tmp_path, "result.json", b"second", create=True)
    assert store.read("result.json") == b"first"
    store.delete("result.json")
    assert put(store, tmp_path, "result.json", b"second", create=True)


def test_get(store: Store, tmp_path: Path) -> None:
    into, content, seen = tmp_path / "into", b"0123456789" * 300_000, []
    put(store, tmp_path, "some.mp4", content)
    assert store.get("some.mp4", into, len(content), lambda *now: seen.append(now))
    assert into.read_bytes() == content
    assert seen == sorted(seen)
    assert seen[-1] == (len(content), len(content))
    into.unlink()
    assert not store.get("none.mp4", into, 9, ignore)
    with pytest.raises(TalkheadError, match="limit") as caught:
        store.get("some.mp4", into, len(content) - 1, ignore)
    assert caught.value.code is Code.INPUT
    assert not into.exists()


def test_get_can_be_stopped(store: Store, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    put(store, tmp_path, "some.mp4", b"0123456789" * 300_000)
    with pytest.raises(KeyboardInterrupt):
        store.get("some.mp4", tmp_path / "into", 10**8, stop)
    assert not (tmp_path / "into").exists()
    assert store.get("some.mp4", tmp_path / "into", 10**8, ignore)


def test_large_files(kind: str, store: Store, tmp_path: Path) -> None:
    content = hashlib.sha256(b"seed").digest() * (BIG // 32)
    if kind == "inline":
        with pytest.raises(TalkheadError, match="over the 14 MB") as caught:
            put(store, tmp_path, "big.mp4", content)
        assert caught.value.code is Code.STORE
        return
    assert put(store, tmp_path, "big.mp4", content)
    assert store.get("big.mp4", tmp_path / "into", BIG, ignore)
    assert (tmp_path / "into").read_bytes() == content
    assert len(content) > MAX_READ
    with pytest.raises(TalkheadError) as caught:
        store.read("big.mp4")
    assert caught.value.code is Code.INPUT


def test_links_lead_to_the_bytes(store: Store, tmp_path: Path) -> None:
    key = f"a b/{safe_part('Äpfel été/日本')}+(1)&'=.mp4"
    put(store, tmp_path, key, b"video")
    before = datetime.now(UTC)
    assert "signed" in store.offers
    link = store.link(key, "signed", 60)
    if link.url.startswith("data:video/mp4;base64,"):
        assert base64.b64decode(link.url.partition(",")[2]) == b"video"
        assert link.expires_at is None
    elif link.url.startswith("file:"):
        assert Path(url2pathname(link.url.removeprefix("file://"))).read_bytes() == b"video"
        assert link.expires_at is None
    else:
        found = httpx.get(link.url)
        assert (found.content, found.headers["content-type"]) == (b"video", "video/mp4")
        assert link.expires_at is not None
        assert abs(link.expires_at - before - timedelta(seconds=60)) < timedelta(seconds=10)


def test_many_links(store: Store, tmp_path: Path) -> None:
    keys = [f"many/{number} of (3).mp4" for number in range(3)]
    for key in keys:
        put(store, tmp_path, key, key.encode())
    links = store.links(keys, "signed", 60)
    for key, link in zip(keys, links, strict=True):
        alone = store.link(key, "signed", 60)
        assert (link.expires_at is None) == (alone.expires_at is None)
        assert link.url.partition("?")[0] == alone.url.partition("?")[0]
        if link.expires_at is not None:
            assert store.serves
            assert httpx.get(link.url).content == key.encode()
    assert store.links([], "signed", 60) == []


def test_bad_keys(store: Store, tmp_path: Path) -> None:
    calls: tuple[Callable[[str], object], ...] = (
        lambda key: put(store, tmp_path, key, b"x"),
        store.read,
        lambda key: store.get(key, tmp_path / "into", 9, ignore),
        store.delete,
        lambda key: store.link(key, "signed", 60),
    )
    for key in ("", "/x", "../x", "a/../x", "a/./x", "a//b", "a/", "a\\b", "a\0b", "x" * 1025):
        for call in calls:
            with pytest.raises(TalkheadError, match="not a key") as caught:
                call(key)
            assert caught.value.code is Code.INPUT


def test_threads_do_not_meet(store: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda n: put(store, tmp_path, f"{n}.mp4", b"%d" % n), range(8)))
    assert [store.read(f"{n}.mp4") for n in range(8)] == [b"%d" % n for n in range(8)]


def test_threads_may_write_the_same_key(kind: str, store: Store, tmp_path: Path) -> None:
    gate = threading.Barrier(4)

    def write(number: int, *, create: bool) -> bool:
        gate.wait(10)
        return put(store, tmp_path, f"{create}.json", b"%d" % number, create=create)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: write(n, create=True), range(4)))
    assert store.read("True.json") in {b"%d" % number for number in range(4)}
    if kind != "s3 like supabase":  # where the service cannot tell; see S3Store.put
        assert sum(made) == 1
        assert store.read("True.json") == b"%d" % made.index(True)


def test_sizes_are_told(store: Store, tmp_path: Path) -> None:
    assert store.size("sizes/none.bin") is None
    put(store, tmp_path, "sizes/some.bin", b"seven..")
    assert store.size("sizes/some.bin") == 7


def test_others_may_put_where_the_store_says(kind: str, store: Store) -> None:
    if not isinstance(store, Receives):
        assert kind in ("inline", "local")
        return
    key = "team/uploads/abc/clip-(1).mp4"
    slot = store.slot(key, 5, 60)
    assert slot.expires_at > datetime.now(UTC)
    assert httpx.put(slot.url, content=b"video", headers=dict(slot.headers)).is_success
    assert store.read(key) == b"video"
    elsewhere = slot.url.replace("clip-", "clap-")
    if kind != "s3 of moto":  # which checks no signature
        assert httpx.put(elsewhere, content=b"video", headers=dict(slot.headers)).is_error
        assert store.read(key.replace("clip-", "clap-")) is None
    if kind in ("s3", "s3 like supabase"):  # the size is signed
        longer = httpx.put(slot.url, content=b"longer", headers=dict(slot.headers))
        assert longer.status_code == 403
        assert store.read(key) == b"video"
    with pytest.raises(TalkheadError, match="not a key"):
        store.slot("../x", 5, 60)


def test_what_is_too_large_for_one_put(kind: str, store: Store) -> None:
    if kind.startswith("s3") and isinstance(store, Receives):
        with pytest.raises(TalkheadError, match="by one PUT") as caught:
            store.slot("a.mp4", 5 * 10**9 + 1, 60)
        assert caught.value.code is Code.INPUT
