"""What goes over the wire, and what comes back wrong."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from support.fake_s3 import FakeS3
from support.web import certified
from talkhead.errors import Code, TalkheadError
from talkhead.settings import S3
from talkhead.stores.s3 import S3Store, from_request


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with FakeS3(path="/storage/v1/s3") as fake:
        yield fake


def opened(fake: FakeS3, **more: Any) -> S3Store:
    keys = {"access_key": SecretStr(fake.access_key), "secret_key": SecretStr(fake.secret_key)}
    return S3Store(S3(kind="s3", bucket=fake.bucket, endpoint=fake.url, **{**keys, **more}))


def put(store: S3Store, folder: Path, content: bytes = b"video", **more: Any) -> bool:
    file = folder / "source"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return store.put(file, "a/b c.mp4", mime="video/mp4", sha256=sha256, **more)
    finally:
        store.close()


def test_https_carries_a_plain_body(tmp_path: Path) -> None:
    tls, ca = certified(tmp_path, "127.0.0.1")
    with FakeS3(tls=tls) as fake:
        assert put(opened(fake, ca_bundle=ca), tmp_path)
        headers = next(asked.headers for asked in fake.requests if asked.method == "PUT")
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"video").hexdigest()
    assert not {"content-encoding", "x-amz-trailer", "x-amz-checksum-crc32"} & headers.keys()
    assert headers["content-type"] == "video/mp4"


def test_parts_and_abort(s3: FakeS3, tmp_path: Path) -> None:
    content = b"0123456789abcdef" * (17 * 2**16)
    assert put(opened(s3), tmp_path, content)
    assert s3.objects.pop("a/b c.mp4") == content
    s3.fail(20, 500, "part")
    with pytest.raises(TalkheadError) as caught:
        put(opened(s3), tmp_path, content)
    assert caught.value.code is Code.STORE
    assert not s3.objects
    assert not s3.uploads


@pytest.mark.parametrize("conditional", [True, False])
def test_create_only(tmp_path: Path, conditional: bool) -> None:
    with FakeS3(conditional=conditional) as fake:
        assert put(opened(fake), tmp_path, b"1", create=True)
        assert not put(opened(fake), tmp_path, b"2", create=True)
        assert fake.objects["a/b c.mp4"] == b"1"


def test_wrong_secret_is_named_and_not_told(s3: FakeS3, tmp_path: Path) -> None:
    store = opened(s3, secret_key=SecretStr("other-canary"))
    with pytest.raises(TalkheadError, match=r"SignatureDoesNotMatch") as caught:
        put(store, tmp_path)
    assert "secret_key" in caught.value.hint
    assert "canary" not in str(caught.value.to_dict())


def test_links(s3: FakeS3, tmp_path: Path) -> None:
    store = opened(s3, public_base="https://cdn.example/x/")
    put(store, tmp_path)
    url = store.link("a/b c.mp4", "signed", 60).url
    assert httpx.get(url).content == b"video"
    assert httpx.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=90")).status_code == 403
    assert store.link("a/b c.mp4", "public", 60).url == "https://cdn.example/x/a/b%20c.mp4"
    with pytest.raises(TalkheadError):
        store.link("a", "signed", 8 * 86_400)
    store.close()


def test_get_leaves_nothing(s3: FakeS3, tmp_path: Path) -> None:
    store, into = opened(s3), tmp_path / "into"
    put(store, tmp_path)
    with pytest.raises(TalkheadError, match="over the limit"):
        store.get("a/b c.mp4", into, 4, lambda *_: None)
    s3.objects["a/b c.mp4"] = b"vidEo"
    with pytest.raises(TalkheadError, match="other ones"):
        store.get("a/b c.mp4", into, 9, lambda *_: None)
    assert not into.exists()
    assert not store.get("none", into, 9, lambda *_: None)
    store.close()


@pytest.mark.parametrize(
    "endpoint", ["http://1.1.1.1", "https://127.0.0.1", "https://169.254.169.254", "ftp://x", "x"]
)
def test_a_requests_own_bucket_is_public(endpoint: str) -> None:
    given = {"accessId": "a", "accessSecret": "s", "bucketName": "bucket"}
    assert from_request({**given, "endpointUrl": "https://1.1.1.1"}).bucket == "bucket"
    for bad in ({**given, "endpointUrl": endpoint}, given, [], {**given, "accessSecret": ""}):
        with pytest.raises(TalkheadError) as caught:
            from_request(bad)
        assert caught.value.code is Code.INPUT
