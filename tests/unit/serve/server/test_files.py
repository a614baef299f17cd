"""What the server gives back: uploads by their reference, and the library."""

import os
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from support.cards import card_settings
from talkhead.media.fetch import bundle
from talkhead.serve.server import application, library, prepared
from talkhead.settings import Settings
from talkhead.settings.groups import Server

PICTURE = (bundle() / "astronaut.png").read_bytes()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Return an operator's library with what is to be offered, and what is not."""
    folder = tmp_path / "library"
    (folder / "team").mkdir(parents=True)
    (folder / ".trash").mkdir()
    (folder / "team" / "Anna B.PNG").write_bytes(PICTURE)
    shutil.copy(bundle() / "librivox.flac", folder / "hello.flac")
    for name in ("notes.txt", "page.html", "drawing.svg", ".hidden.png", ".trash/old.png"):
        (folder / name).write_bytes(b"x")
    return folder


@pytest.fixture
def caller(tmp_path: Path, shelf: Path) -> TestClient:
    server = Server(folder=tmp_path / "server")
    settings = Settings(**card_settings(tmp_path), server=server, library=shelf)
    return TestClient(application(prepared(settings)), base_url="http://localhost")


def test_an_upload_is_given_back_until_it_is_swept(caller: TestClient, tmp_path: Path) -> None:
    sent = caller.put("/uploads/me.png", content=PICTURE).json()["reference"]
    path = f"/uploads/{sent.partition(':')[2]}"
    found = caller.get(path)
    assert (found.content, found.headers["content-type"]) == (PICTURE, "image/png")
    assert found.headers["x-content-type-options"] == "nosniff"
    kept = tmp_path / path[1:].replace("uploads", "server/uploads")
    os.utime(kept, (0, 0))
    caller.put("/uploads/other.png", content=(bundle() / "librivox.flac").read_bytes())
    assert caller.get(path).status_code == 404


def test_only_uploads_are_given(caller: TestClient, tmp_path: Path) -> None:
    (tmp_path / "server" / "uploads" / ".0.partial").write_bytes(b"x")
    for name in (".0.partial", "..%2Fqueue.sqlite", "queue.sqlite", "x" * 300, "%00"):
        assert caller.get(f"/uploads/{name}").status_code == 404, name


def test_the_library_is_offered_by_name(caller: TestClient, shelf: Path) -> None:
    found = library.offered(Settings(library=shelf))
    assert found == {
        "pictures": ["team/Anna B.PNG", "astronaut.png"],
        "sounds": ["hello.flac", "librivox.flac"],
        "bundle": ["astronaut.png", "librivox.flac"],
    }
    assert library.offered(Settings())["pictures"] == ["astronaut.png"]
    for name in (*found["pictures"], *found["sounds"]):
        assert caller.get(f"/library/{name}").status_code == 200, name
    assert caller.get("/library/team/Anna B.PNG").content == PICTURE


def test_a_library_of_the_same_name_comes_before_the_bundle(shelf: Path) -> None:
    (shelf / "astronaut.png").write_bytes(b"x")
    found = library.offered(Settings(library=shelf))
    assert found["pictures"] == ["astronaut.png", "team/Anna B.PNG"]
    assert found["bundle"] == ["librivox.flac"]


def test_nothing_else_of_the_library_is_given(caller: TestClient, shelf: Path) -> None:
    (shelf / "way.png").symlink_to("/etc/hostname")
    for name in ("notes.txt", "page.html", "drawing.svg", "nobody.png", "way.png", "team",
                 "..%2Fserver%2Fqueue.sqlite", "__init__.py", "%00.png", "a" * 999):  # fmt: skip
        found = caller.get(f"/library/{name}")
        assert found.status_code == 404, name
        assert found.json()["error"]["hint"], name
