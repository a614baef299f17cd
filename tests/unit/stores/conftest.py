"""Stores opened on a fake S3, and closed again."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.loaders import create_loader
from pydantic import SecretStr

from support.fake_s3 import FakeS3
from talkhead.settings import S3
from talkhead.stores.s3 import S3Store

Open = Callable[..., S3Store]


@pytest.fixture(scope="session")
def models_read_once() -> Iterator[None]:
    """Read boto3's description of S3 once, not for each client: 0.15 s."""
    loader = create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        yield


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with FakeS3(path="/storage/v1/s3") as fake:
        yield fake


@pytest.fixture
def opened(models_read_once: None) -> Iterator[Open]:
    """Open stores on a fake; they are closed at the end."""
    stores = []

    def make(fake: FakeS3, **more: Any) -> S3Store:
        keys = {"access_key": SecretStr(fake.access_key), "secret_key": SecretStr(fake.secret_key)}
        given = {"kind": "s3", "bucket": fake.bucket, "endpoint": fake.url, **keys, **more}
        stores.append(S3Store.open(S3(**given)))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let boto3 try again without waiting."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
