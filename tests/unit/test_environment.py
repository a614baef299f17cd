"""The names of the older systems."""

import pytest
from pydantic import TypeAdapter

from talkhead.environment import store_of
from talkhead.errors import Code, TalkheadError
from talkhead.settings import StoreSettings

KEYS = {"access_key": "a", "secret_key": "s"}
R2 = {"R2_ACCESS_KEY_ID": "a", "R2_SECRET_ACCESS_KEY": "s", "R2_BUCKET_NAME": "b"}
MINIO = {"MINIO_ENDPOINT": "h:9", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "s"}
S3 = {"S3_ENDPOINT": "https://e", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s", "S3_BUCKET": "b"}
BUCKET = {"BUCKET_ACCESS_KEY_ID": "a", "BUCKET_SECRET_ACCESS_KEY": "s"}
AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
SUPABASE = {"SUPABASE_URL": "https://p.supabase.co", "SUPABASE_BUCKET": "b"}


@pytest.mark.parametrize(
    ("env", "endpoint", "bucket", "region"),
    [
        (R2 | {"R2_ACCOUNT_ID": "x"}, "https://x.r2.cloudflarestorage.com", "b", "auto"),
        (R2 | {"R2_ENDPOINT_URL": "https://r"}, "https://r", "b", "auto"),
        (MINIO | {"MINIO_BUCKET": "b"}, "http://h:9", "b", "us-east-1"),
        (MINIO | {"MINIO_BUCKET": "b", "MINIO_USE_SSL": "True"}, "https://h:9", "b", "us-east-1"),
        (S3 | AWS, "https://e", "b", None),
        (AWS | {"S3_BUCKET": "b"}, None, "b", "eu-west-1"),
        (BUCKET | {"BUCKET_ENDPOINT_URL": "https://e/b"}, "https://e", "b", None),
        (
            BUCKET | {"BUCKET_ENDPOINT_URL": "https://b.s3.eu-west-1.amazonaws.com"},
            "https://s3.eu-west-1.amazonaws.com",
            "b",
            "eu-west-1",
        ),
    ],
)
def test_s3_families(
    env: dict[str, str], endpoint: str | None, bucket: str, region: str | None
) -> None:
    found = store_of(env)
    assert found is not None
    assert found.items() >= ({"kind": "s3", "bucket": bucket} | KEYS).items()
    assert (found.get("endpoint"), found.get("region")) == (endpoint, region)
    TypeAdapter(StoreSettings).validate_python(found)


@pytest.mark.parametrize(
    "name", ["SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_KEY"]
)
def test_supabase(name: str) -> None:
    found = store_of(SUPABASE | {name: "k"})
    assert found == {
        "kind": "supabase", "url": "https://p.supabase.co", "key": "k", "bucket": "b"
    }  # fmt: skip


@pytest.mark.parametrize("env", [{}, AWS, {"PATH": "/bin", "MINIO_BUCKET": " "}])
def test_nothing_meant(env: dict[str, str]) -> None:
    assert store_of(env) is None


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (S3 | MINIO | {"MINIO_BUCKET": "b"}, "MINIO_\\*, S3_\\*"),
        (MINIO, "MINIO_BUCKET"),
        (SUPABASE, "SUPABASE_SERVICE_KEY"),
        (MINIO | {"MINIO_BUCKET": "b", "MINIO_USE_SSL": "maybe"}, "MINIO_USE_SSL"),
        (BUCKET | {"BUCKET_ENDPOINT_URL": "https://e"}, "no bucket"),
    ],
)
def test_unclear(env: dict[str, str], said: str) -> None:
    with pytest.raises(TalkheadError, match=said) as caught:
        store_of(env)
    assert caught.value.code is Code.INPUT
