"""Links into a bucket, and the form of the URLs of each service."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support.fake_s3 import FakeS3
from talkhead.errors import Code, TalkheadError
from talkhead.stores.s3 import S3Store

KEY = "a/b c.mp4"
Open = Callable[..., S3Store]


def test_signed_links(s3: FakeS3, opened: Open) -> None:
    store = opened(s3)
    assert store.offers == {"signed"}
    s3.objects[KEY], s3.headers[KEY] = b"video", {}
    url = store.link(KEY, "signed", 60).url
    assert httpx.get(url).content == b"video"
    assert httpx.get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=90")).status_code == 403
    assert httpx.get(url.replace("b%20c", "b%20d")).status_code == 403
    assert httpx.put(url, content=b"theirs").status_code == 403
    s3.ahead_s = 45
    assert httpx.get(url).status_code == 200
    s3.ahead_s = 61
    assert httpx.get(url).status_code == 403


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1])
def test_links_live_seven_days_at_most(s3: FakeS3, opened: Open, seconds: int) -> None:
    assert opened(s3).link(KEY, "signed", 7 * 86_400).url
    with pytest.raises(TalkheadError, match="cannot live") as caught:
        opened(s3).link(KEY, "signed", seconds)
    assert caught.value.code is Code.INPUT


def test_links_are_made_for_the_endpoint_that_callers_reach(s3: FakeS3, opened: Open) -> None:
    outside = s3.url.replace("127.0.0.1", "localhost")
    store = opened(s3, public_endpoint=outside)
    s3.objects[KEY], s3.headers[KEY] = b"video", {}
    url = store.link(KEY, "signed", 60).url
    assert url.startswith(f"{outside}/bucket/")
    assert httpx.get(url).content == b"video"
    assert httpx.get(url.replace("localhost", "127.0.0.1")).status_code == 403


def test_public_links(s3: FakeS3, opened: Open) -> None:
    store = opened(s3, public_base="https://cdn.example/x/")
    assert store.offers == {"signed", "public"}
    assert store.link(KEY, "public", 60).url == "https://cdn.example/x/a/b%20c.mp4"
    assert store.link(KEY, "public", 60).expires_at is None
    with pytest.raises(TalkheadError, match="public") as caught:
        opened(s3).link(KEY, "public", 60)
    assert caught.value.code is Code.UNSUPPORTED


@pytest.mark.parametrize(
    ("more", "start", "region"),
    [
        ({"region": "eu-west-1"}, "https://bucket.s3.eu-west-1.amazonaws.com/a/", "eu-west-1"),
        (
            {"endpoint": "https://s3.us-west-2.amazonaws.com"},
            "https://bucket.s3.us-west-2.amazonaws.com/a/",
            "us-west-2",
        ),
        (
            {"endpoint": "https://s3.us-west-004.backblazeb2.com"},
            "https://s3.us-west-004.backblazeb2.com/bucket/a/",
            "us-west-004",
        ),
        (
            {"endpoint": "https://x.r2.cloudflarestorage.com"},
            "https://x.r2.cloudflarestorage.com/bucket/a/",
            "auto",
        ),
        ({"endpoint": "https://evilamazonaws.com"}, "https://evilamazonaws.com/bucket/a/", "auto"),
        (
            {"endpoint": "https://minio.example:9000", "region": "us-east-1"},
            "https://minio.example:9000/bucket/a/",
            "us-east-1",
        ),
        (
            {"endpoint": "https://minio.example", "addressing": "virtual"},
            "https://bucket.minio.example/a/",
            "auto",
        ),
    ],
)
def test_each_service_has_its_form(
    opened: Open, s3: FakeS3, more: dict[str, Any], start: str, region: str
) -> None:
    url = opened(s3, **{"endpoint": None, **more}).link(KEY, "signed", 60).url
    assert url.startswith(start)
    assert f"%2F{region}%2Fs3%2F" in url


def test_aws_needs_a_region(s3: FakeS3, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    with pytest.raises(TalkheadError, match="no region"):
        opened(s3, endpoint=None).link(KEY, "signed", 60)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    assert "eu-north-1" in opened(s3, endpoint=None).link(KEY, "signed", 60).url
