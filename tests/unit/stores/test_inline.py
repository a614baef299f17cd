"""Small files travel in the answer; a large one is refused and not lost."""

import base64
from pathlib import Path

import pytest

from support import testcard
from support.cards import asked, card_settings, plain_portrait, seven_seconds
from talkhead import job
from talkhead.errors import Code, TalkheadError
from talkhead.runtime import Runtime
from talkhead.settings import Inline, Settings
from talkhead.stores.inline import InlineStore
from talkhead.stores.mimes import MIMES, mime_of


def served(folder: Path, store: dict[str, object]) -> Runtime:
    """Return a runtime as servers have it, its inputs on a volume."""
    testcard.CALLS.clear()
    volume = folder / "volume"
    if not volume.exists():
        volume.mkdir()
        seven_seconds(volume)
        plain_portrait(volume)
    return Runtime(Settings(**card_settings(folder, store=store, volumes=(volume,))), serving=True)


def request(**more: object):
    return asked(
        "volume:portrait.png", "volume:speech.wav", max_frames=20, idempotency_key="k", **more
    )


def content(url: str | None, mime: str) -> bytes:
    head, _, body = (url or "").partition(",")
    assert head == f"data:{mime};base64"
    return base64.b64decode(body, validate=True)


def test_a_job_is_answered_with_its_bytes_twice(tmp_path: Path) -> None:
    runtime = served(tmp_path, {"kind": "inline", "root": tmp_path / "store", "prefix": "p"})
    first = job.run(request(), runtime)
    video, thumbnail = first.outputs
    assert content(video.url, "video/mp4") == (tmp_path / "store/p/k/video.mp4").read_bytes()
    assert content(thumbnail.url, "image/jpeg")[:2] == b"\xff\xd8"
    assert video.expires_at is None
    record = (tmp_path / "store/p/k/result.json").read_text()
    assert "base64" not in record
    testcard.CALLS.clear()
    again = job.run(request(), runtime)
    assert testcard.CALLS == []
    assert (again.repeated, again.outputs) == (True, first.outputs)


def test_a_refused_render_goes_on_with_a_real_store(tmp_path: Path) -> None:
    inline = {"kind": "inline", "root": tmp_path / "inline", "limit_mb": 0.0001}
    with pytest.raises(TalkheadError, match=r"over the 0\.0001 MB") as caught:
        job.run(request(), served(tmp_path, inline))
    assert caught.value.code is Code.STORE
    assert "TALKHEAD_STORE__KIND=s3" in caught.value.hint
    assert [file.name for file in (tmp_path / "inline").rglob("*.*")] == ["job.json"]
    runtime = served(tmp_path, {"kind": "local", "root": tmp_path / "local"})
    assert job.run(request(), runtime).video is not None
    assert testcard.CALLS == []  # every frame came from the job folder


def test_what_has_gone_or_grown_is_no_link(tmp_path: Path) -> None:
    store = InlineStore.open(Inline(kind="inline", root=tmp_path, limit_mb=0.001))
    with pytest.raises(TalkheadError, match="no longer") as caught:
        store.link("a/b.mp4", "signed", 60)
    assert caught.value.code is Code.STORE
    (tmp_path / "b.mp4").write_bytes(bytes(1001))
    with pytest.raises(TalkheadError, match=r"over the 0\.001 MB"):
        store.link("b.mp4", "signed", 60)


@pytest.mark.parametrize("suffix", [*MIMES, ".MP4", ".bin", ""])
def test_types_do_not_depend_on_the_machine(tmp_path: Path, suffix: str) -> None:
    store = InlineStore.open(Inline(kind="inline", root=tmp_path))
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    mime = MIMES.get(suffix.lower(), "application/octet-stream")
    assert store.link(f"a{suffix}", "signed", 60).url == f"data:{mime};base64,eA=="
    assert mime_of(f"x/y{suffix}") == mime
