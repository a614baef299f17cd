"""What goes over the wire to an S3, and what comes back wrong."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from support.fake_s3 import FakeS3
from support.web import certified
from talkhead.errors import Code, TalkheadError
from talkhead.stores.s3 import S3Store

KEY = "a/b c.mp4"
BIG = b"0123456789abcdef" * (17 * 2**16)  # two parts
Open = Callable[..., S3Store]


def put(store: S3Store, folder: Path, content: bytes = b"video", *, create: bool = False) -> bool:
    file = folder / "source"
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return store.put(file, KEY, mime="video/mp4", sha256=sha256, create=create)


def ignore(done: int, total: int) -> None:
    pass


# What goes out


def test_https_carries_a_plain_body(opened: Open, tmp_path: Path) -> None:
    tls, ca = certified(tmp_path, "127.0.0.1")
    with FakeS3(tls=tls) as s3:
        assert put(opened(s3, ca_bundle=ca), tmp_path)
        assert put(opened(s3, ca_bundle=ca), tmp_path, BIG)
        assert put(opened(s3, ca_bundle=ca), tmp_path, b"1", create=True) is False
    sent = [asked.headers for asked in s3.requests if asked.method == "PUT"]
    parts = (b"video", BIG[: 2**24], BIG[2**24 :])
    assert {headers["x-amz-content-sha256"] for headers in sent} == {
        hashlib.sha256(part).hexdigest() for part in parts
    }
    for headers in sent:
        assert "content-encoding" not in headers
        assert not [
            name for name in headers if name.startswith(("x-amz-checksum", "x-amz-trailer"))
        ]


def test_what_boto3_does_by_itself_is_refused(tmp_path: Path) -> None:
    """The check above can fail: this is what R2 answers to boto3's own form over https."""
    tls, ca = certified(tmp_path, "127.0.0.1")
    with FakeS3(tls=tls) as s3:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=s3.url,
            region_name="auto",
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
            verify=str(ca),
        )
        with pytest.raises(ClientError, match="NotImplemented"):
            client.put_object(Bucket=s3.bucket, Key=KEY, Body=b"video")
        client.close()
    sent = s3.requests[-1].headers
    assert (sent["content-encoding"], sent["x-amz-trailer"]) == (
        "aws-chunked",
        "x-amz-checksum-crc32",
    )


def test_an_object_says_what_it_is(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    put(opened(s3), tmp_path)
    assert s3.headers[KEY] == {
        "content-type": "video/mp4",
        "content-disposition": "inline; filename*=UTF-8''b%20c.mp4",
        "cache-control": "private, max-age=86400",
        "x-amz-meta-talkhead-sha256": hashlib.sha256(b"video").hexdigest(),
    }
    put(opened(s3, public_base="https://cdn.example"), tmp_path)
    assert s3.headers[KEY]["cache-control"] == "public, max-age=86400"


@pytest.mark.usefixtures("at_once")
def test_an_unknown_authority_is_named(opened: Open, tmp_path: Path) -> None:
    tls, _ = certified(tmp_path, "127.0.0.1")
    with FakeS3(tls=tls) as s3, pytest.raises(TalkheadError, match="SSLError") as caught:
        opened(s3).read(KEY)
    assert "ca_bundle" in caught.value.hint


# Uploads


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("status", "code"), [(403, ""), (500, ""), (0, ""), (404, "NoSuchUpload")])
def test_a_failing_part_aborts(
    s3: FakeS3, opened: Open, tmp_path: Path, status: int, code: str
) -> None:
    s3.fail(20, status, "part", code)
    with pytest.raises(TalkheadError) as caught:
        put(opened(s3), tmp_path, BIG)
    assert caught.value.code is Code.STORE
    assert s3.methods().count("DELETE") == 1
    assert not s3.objects
    assert not s3.uploads


@pytest.mark.usefixtures("at_once")
def test_a_passing_failure_is_passed_over(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    for status in (503, 500, 0):
        s3.fail(1, status, "part")
    s3.fail(2, 503, "HEAD")
    assert put(opened(s3), tmp_path, BIG)
    assert s3.objects[KEY] == BIG
    s3.outage = True
    with pytest.raises(TalkheadError, match="ServiceUnavailable") as caught:
        put(opened(s3), tmp_path)
    assert caught.value.retryable
    s3.outage = False
    assert put(opened(s3), tmp_path)


@pytest.mark.parametrize("change", ["content", "headers", "objects"])
def test_what_arrived_is_looked_at(
    s3: FakeS3, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def keep(key: str, found: Any) -> None:
        s3.objects[key] = b"other!" if change == "content" else found
        if change == "headers":
            s3.headers[key]["x-amz-meta-talkhead-sha256"] = "0" * 64

    store = opened(s3)
    upload = store._upload

    def and_then(*parts: Any) -> None:
        upload(*parts)
        keep(KEY, s3.objects.pop(KEY))
        if change == "objects":
            s3.objects.clear()

    monkeypatch.setattr(store, "_upload", and_then)
    with pytest.raises(TalkheadError, match="holds something else") as caught:
        put(store, tmp_path)
    assert caught.value.retryable


# Creation


@pytest.mark.parametrize("conditional", [True, False])
def test_create_leaves_what_is_there(opened: Open, tmp_path: Path, conditional: bool) -> None:
    with FakeS3(conditional=conditional) as s3:
        assert put(opened(s3), tmp_path, b"1", create=True)
        assert not put(opened(s3), tmp_path, b"2", create=True)
        assert s3.objects[KEY] == b"1"


@pytest.mark.parametrize("status", [412, 409])
def test_another_creator_was_quicker(s3: FakeS3, opened: Open, tmp_path: Path, status: int) -> None:
    put(opened(s3), tmp_path, b"1")
    s3.fail(1, 404, "HEAD")  # it was not there yet
    if status == 409:
        s3.fail(1, 409, "PUT")
    assert not put(opened(s3), tmp_path, b"2", create=True)
    assert s3.objects[KEY] == b"1"


def test_a_race_that_nobody_won_is_told(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    s3.fail(1, 409, "PUT")
    with pytest.raises(TalkheadError, match="ConditionalRequestConflict") as caught:
        put(opened(s3), tmp_path, create=True)
    assert caught.value.retryable


def test_a_service_without_conditions_is_asked_plainly(
    s3: FakeS3, opened: Open, tmp_path: Path
) -> None:
    s3.fail(1, 501, "PUT")
    assert put(opened(s3), tmp_path, create=True)
    assert s3.objects[KEY] == b"video"
    asked = [asked.headers for asked in s3.requests if asked.method == "PUT"]
    assert ["if-none-match" in headers for headers in asked] == [True, False]


def test_a_later_creator_is_seen_where_conditions_are_ignored(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeS3(conditional=False) as s3:
        first, second = opened(s3), opened(s3)
        create = first._create

        def and_another(*parts: Any) -> bool:
            made = create(*parts)
            put(second, tmp_path, b"theirs")
            return made

        monkeypatch.setattr(first, "_create", and_another)
        assert not put(first, tmp_path, b"ours", create=True)


# Failures


@pytest.mark.parametrize(
    ("status", "code", "setting"),
    [
        (403, "AccessDenied", "get, put, list and delete"),
        (403, "SignatureDoesNotMatch", "secret_key"),
        (403, "InvalidAccessKeyId", "access_key"),
        (400, "ExpiredToken", "session_token"),
        (404, "NoSuchBucket", "bucket"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (400, "InvalidKey", "ASCII"),
    ],
)
def test_refusals_name_the_setting(
    s3: FakeS3, opened: Open, tmp_path: Path, status: int, code: str, setting: str
) -> None:
    for what in ("PUT", "GET", "GET", "DELETE"):
        s3.fail(1, status, what, code)
    store = opened(s3)
    calls: list[tuple[Code, Callable[[], object]]] = [
        (Code.STORE, lambda: put(store, tmp_path)),
        (Code.STORE, lambda: store.read(KEY)),
        (Code.DOWNLOAD, lambda: store.get(KEY, tmp_path / "into", 9, ignore)),
        (Code.STORE, lambda: store.delete(KEY)),
    ]
    for expected, call in calls:
        with pytest.raises(TalkheadError, match=code) as caught:
            call()
        assert (caught.value.code, caught.value.retryable) == (expected, True)
        assert setting in caught.value.hint


def test_sizes_that_the_service_refuses(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    s3.fail(1, 413, "PUT")
    with pytest.raises(TalkheadError, match="EntityTooLarge") as caught:
        put(opened(s3), tmp_path)
    assert "limit of sizes" in caught.value.hint


def test_a_wrong_secret_is_named_and_not_told(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    store = opened(s3, secret_key=SecretStr("other-canary"))
    with pytest.raises(TalkheadError, match="SignatureDoesNotMatch") as caught:
        put(store, tmp_path)
    assert "secret_key" in caught.value.hint
    with pytest.raises(TalkheadError, match="NoSuchBucket"):
        opened(s3, bucket="another").read(KEY)
    told = str(caught.value.to_dict())
    assert not [secret for secret in ("canary", s3.access_key, s3.url) if secret in told]


@pytest.mark.usefixtures("at_once")
def test_an_endpoint_that_is_not_there(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    store = opened(s3, endpoint="http://127.0.0.1:9")
    with pytest.raises(TalkheadError, match="EndpointConnectionError") as caught:
        put(store, tmp_path)
    assert (caught.value.code, caught.value.retryable) == (Code.STORE, True)
    assert "endpoint" in caught.value.hint
    with pytest.raises(TalkheadError, match="endpoint is not a URL") as caught:
        opened(s3, endpoint="nonsense").read(KEY)
    assert caught.value.code is Code.INPUT


# Reading


@pytest.mark.usefixtures("at_once")
def test_get_leaves_nothing_behind(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    store, into = opened(s3), tmp_path / "into"
    put(store, tmp_path, b"0123456789")
    with pytest.raises(TalkheadError, match="over the limit") as caught:
        store.get(KEY, into, 4, ignore)
    assert caught.value.code is Code.INPUT
    s3.cuts = 1
    with pytest.raises(TalkheadError) as caught:
        store.get(KEY, into, 99, ignore)
    assert caught.value.code is Code.DOWNLOAD
    s3.objects[KEY] = b"01234X6789"
    with pytest.raises(TalkheadError, match="other ones") as caught:
        store.get(KEY, into, 99, ignore)
    assert caught.value.code is Code.DOWNLOAD
    assert not into.exists()


def test_a_strangers_object_needs_no_digest(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    s3.objects[KEY], s3.headers[KEY] = b"video", {"x-amz-meta-sha256": "of something else"}
    assert opened(s3).get(KEY, tmp_path / "into", 99, ignore)


def test_read_is_for_small_objects(s3: FakeS3, opened: Open, tmp_path: Path) -> None:
    put(opened(s3), tmp_path, BIG)
    with pytest.raises(TalkheadError, match="over the limit"):
        opened(s3).read(KEY)


# Clients


def test_keys_of_the_machine(
    s3: FakeS3, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    none: dict[str, Any] = {"access_key": None, "secret_key": None}
    with pytest.raises(TalkheadError, match="NoCredentialsError") as caught:
        put(opened(s3, **none), tmp_path)
    assert "access_key" in caught.value.hint
    with pytest.raises(TalkheadError, match="PartialCredentialsError"):
        put(opened(s3, secret_key=None), tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    assert put(opened(s3, **none), tmp_path)


def test_threads_share_one_client(
    s3: FakeS3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    plain = boto3.session.Session.client

    def client(self: Any, *args: Any, **more: Any) -> Any:
        made.append(threading.get_ident())
        return plain(self, *args, **more)

    monkeypatch.setattr(boto3.session.Session, "client", client)
    store, gate = opened(s3), threading.Barrier(8)
    assert not made

    def ask(_: int) -> bytes | None:
        gate.wait(10)
        return store.read(KEY)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [None] * 8
    assert len(made) == 1
    store.close()
    assert store.read(KEY) is None
    assert len(made) == 2
