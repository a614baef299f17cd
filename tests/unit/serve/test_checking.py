"""`talkhead check` reads references like a job does, and leaves nothing behind."""

import tempfile
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.checking import check


def test_data_uris_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    here.mkdir()
    scratch.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(TalkheadError) as caught:
        check(Path("data:video/mp4;base64,AAAA"), None, None, None, bars=None, json=True)
    assert caught.value.code is Code.INPUT
    assert list(here.iterdir()) == list(scratch.iterdir()) == []
