"""The action `uploads`: where callers may put files, and where not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fake_s3 import FakeS3
from talkhead import job
from talkhead.errors import Code, TalkheadError
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.settings import Settings
from talkhead.validation import parse


@pytest.fixture(scope="module")
def bucket() -> Iterator[FakeS3]:
    with FakeS3() as fake:
        yield fake


def asked(bucket: FakeS3, names: list[str], size: int = 5, **settings: Any) -> Result:
    store = {
        "kind": "s3", "bucket": bucket.bucket, "endpoint": bucket.url, "prefix": "team/",
        "access_key": bucket.access_key, "secret_key": bucket.secret_key,
    }  # fmt: skip
    files = [{"name": name, "bytes": size} for name in names]
    runtime = Runtime(Settings(store=store, **settings), serving=True)
    return job.run(parse({"action": "uploads", "files": files}), runtime)


def test_every_file_has_a_place_of_its_own(bucket: FakeS3) -> None:
    names = ["clip.mp4", "clip.mp4", "../../etc/pass wd", "Äpfel\n日本.png"]
    found = asked(bucket, names).uploads
    assert [place.name for place in found] == names
    keys = [place.reference.removeprefix("store:") for place in found]
    assert len(set(keys)) == 4
    for key in keys:
        team, uploads, secret, name = key.split("/")
        assert (team, uploads, len(secret)) == ("team", "uploads", 32)
        assert name.isascii()
        assert not name.startswith(".")
    assert httpx.put(found[0].url, content=b"video", headers=found[0].headers).is_success
    assert bucket.objects == {keys[0]: b"video"}


def refusal(bucket: FakeS3, **settings: Any) -> TalkheadError:
    size = settings.pop("size", 5)
    with pytest.raises(TalkheadError) as caught:
        asked(bucket, ["a.png", "b.mp4"], size, **settings)
    return caught.value


def test_requests_have_to_be_able_to_read_them(bucket: FakeS3) -> None:
    error = refusal(bucket, readable=("inputs/",))
    assert (error.code, error.fields) == (Code.UNSUPPORTED, ("action",))
    assert "team/uploads/" in error.hint
    assert asked(bucket, ["a.png"], readable=("inputs/", "team/")).uploads


def test_files_over_every_limit_are_refused(bucket: FakeS3) -> None:
    fetch = {"image_mb": 1, "audio_mb": 2, "video_mb": 3}
    assert asked(bucket, ["a.mp4"], 3_000_000, fetch=fetch).uploads
    error = refusal(bucket, size=3_000_001, fetch=fetch)
    assert (error.code, error.fields) == (Code.INPUT, ("files.0.bytes",))


@pytest.mark.parametrize("kind", ["local", "inline"])
def test_other_stores_take_no_files(kind: str, tmp_path: Path) -> None:
    runtime = Runtime(Settings(store={"kind": kind, "root": tmp_path}), serving=True)
    request = parse({"action": "uploads", "files": [{"name": "a", "bytes": 1}]})
    with pytest.raises(TalkheadError, match="takes no files") as caught:
        job.run(request, runtime)
    assert caught.value.code is Code.UNSUPPORTED
    ability = runtime.ability().ability
    assert ability is not None
    assert "uploads" not in ability.actions


def test_it_is_listed_where_it_works(bucket: FakeS3) -> None:
    settings = Settings(store={"kind": "s3", "bucket": "b", "endpoint": bucket.url})
    ability = Runtime(settings, serving=True).ability().ability
    assert ability is not None
    assert "uploads" in ability.actions


@pytest.mark.parametrize("files", [
    [], [{"name": "a"}], [{"name": "", "bytes": 1}], [{"name": "a", "bytes": 0}],
    [{"name": "a", "bytes": 1}] * 33,
])  # fmt: skip
def test_bad_lists(files: list[Any]) -> None:
    with pytest.raises(TalkheadError) as caught:
        parse({"action": "uploads", "files": files})
    assert caught.value.code is Code.INPUT
