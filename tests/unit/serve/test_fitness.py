"""A machine that cannot work says so in one line, in time."""

import asyncio
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve import fitness
from talkhead.settings import Settings


def settings(folder: Path, **more: Any) -> Settings:
    store = {"root": folder / "store"}
    return Settings(**{"jobs": folder / "jobs", "store": store, "engine": "draft", **more})


def check(found: Settings) -> None:
    for one in fitness.checks(found):
        asyncio.run(one())  # type: ignore[arg-type]


def test_a_fit_machine_passes_and_nothing_stays(tmp_path: Path) -> None:
    check(settings(tmp_path))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_checks_have_names_for_the_log(tmp_path: Path) -> None:
    names = [getattr(one, "__name__", "") for one in fitness.checks(settings(tmp_path))]
    assert names == ["jobs_folder", "store"]


@pytest.mark.parametrize(
    ("where", "code", "says"),
    [("jobs", Code.CAPACITY, "TALKHEAD_JOBS"), ("store", Code.STORE, "file")],
)
def test_an_unwritable_place_is_named(tmp_path: Path, where: str, code: Code, says: str) -> None:
    (tmp_path / "file").touch()
    bad = tmp_path / "file" / "inside"
    found = settings(tmp_path, **{where: {"root": bad} if where == "store" else bad})
    with pytest.raises(TalkheadError, match=says) as caught:
        check(found)
    assert caught.value.code is code


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(free=999_000_000))
    with pytest.raises(TalkheadError, match=r"1\.0 GB free .* 1 GB needed") as caught:
        check(settings(tmp_path))
    assert caught.value.code is Code.CAPACITY


def test_a_store_that_forgets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("talkhead.stores.local.LocalStore.read", lambda *_: None)
    with pytest.raises(TalkheadError, match="does not give back") as caught:
        check(settings(tmp_path))
    assert caught.value.code is Code.STORE


def test_a_check_that_hangs_ends_in_time(tmp_path: Path) -> None:
    import threading

    over = threading.Event()
    found = settings(tmp_path, worker={"check_s": 0.1})

    async def hung() -> None:
        try:
            await fitness.within(found, "store", lambda: over.wait(20) and None)
        finally:
            over.set()

    began = time.monotonic()
    with pytest.raises(TalkheadError, match=r"within 0\.1 s") as caught:
        asyncio.run(hung())
    assert caught.value.code is Code.TIMEOUT
    assert time.monotonic() - began < 5


def test_results_have_to_leave_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TalkheadError, match="no store is set"):
        fitness.refuse_unfinished_settings(Settings(engine="draft"))
    with pytest.raises(TalkheadError, match="no default engine"):
        fitness.refuse_unfinished_settings(settings(tmp_path, engine="auto"))
    fitness.refuse_unfinished_settings(settings(tmp_path))
    monkeypatch.setenv("TALKHEAD_STORE__KIND", "local")
    fitness.refuse_unfinished_settings(Settings(engine="draft"))


def test_a_misspelt_family_is_named(tmp_path: Path) -> None:
    found = settings(tmp_path, compat_engines={"infinitetlk": "draft"})
    with pytest.raises(TalkheadError, match="did you mean 'infinitetalk'") as caught:
        fitness.refuse_unknown_families(found)
    assert caught.value.code is Code.INPUT
    fitness.refuse_unknown_families(settings(tmp_path, compat_engines={"sonic": "draft"}))
