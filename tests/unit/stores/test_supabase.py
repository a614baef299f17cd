"""Errors by the body, not by the HTTP status."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from support.fake_supabase import FakeSupabase
from talkhead.errors import TalkheadError
from talkhead.settings import Supabase
from talkhead.stores.supabase import SupabaseStore


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [(413, "Payload too large", "limit"), (415, "invalid_mime_type", "MIME"), (403, "RLS", "role")],
)
def test_refusals(tmp_path: Path, status: int, error: str, hint: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"video")
    with FakeSupabase() as it:
        key = SecretStr(it.key)
        store = SupabaseStore(Supabase(kind="supabase", url=it.url, key=key, bucket=it.bucket))
        it.fail(1, 503)
        assert store.put(file, "a", mime="video/mp4", sha256="")
        it.refuse = (status, error)
        with pytest.raises(TalkheadError) as caught:
            store.put(file, "a", mime="video/mp4", sha256="")
        store.close()
    assert hint in caught.value.hint
    assert "canary" not in str(caught.value.to_dict())
