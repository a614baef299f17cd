"""How files get to a server and back."""

import base64
import json
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from talkhead.errors import TalkheadError
from talkhead.media.fetch import bundle
from talkhead.serve.client import Client
from talkhead.serve.ui import Site

BASE = "http://server.example"
PICTURE = (bundle() / "astronaut.png").read_bytes()


class Server:
    """Uploads and a library, in memory."""

    def __init__(self, **files: bytes) -> None:
        self.files = {name.replace("__", "/"): data for name, data in files.items()}
        self.sent: list[str] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = unquote(request.url.path)
        if request.method == "PUT":
            self.sent.append(path)
            return httpx.Response(201, text=json.dumps({"reference": "volume:new.png"}))
        data = self.files.get(path.lstrip("/"))
        return httpx.Response(404) if data is None else httpx.Response(200, content=data)


def client(server: Server) -> Client:
    return Client(BASE, transport=httpx.MockTransport(server.answer))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(BASE, folder=tmp_path / "fetched")


@pytest.mark.parametrize(
    ("reference", "held"),
    [("volume:a.png", "uploads__a.png"), ("library:team/a b.png", "library__team__a b.png")],
)
def test_a_file_that_was_had_back_is_not_sent_again(
    site: Site, tmp_path: Path, reference: str, held: str
) -> None:
    server = Server(**{held: b"one"})
    file = site.brought(client(server), reference)
    assert file is not None
    assert file.read_bytes() == b"one"
    copy = tmp_path / "gradio.png"  # as Gradio keeps it: another place, the same bytes
    copy.write_bytes(b"one")
    assert site.refer(client(server), {"path": str(copy)}) == reference
    assert server.sent == []
    copy.write_bytes(b"two")  # drawn over, and dropped again
    assert site.refer(client(server), {"path": str(copy)}) == "volume:new.png"
    assert server.sent == ["/uploads/gradio.png"]


def test_what_is_gone_or_elsewhere_is_not_had_back(site: Site) -> None:
    cut = "data:image/png;base64," + base64.b64encode(PICTURE).decode()[:150] + "…"
    for reference in ("volume:a.png", "library:a.png", "https://a.example/a.png", "store:a", cut,
                      "data:image/png;base64,AAAA"):  # fmt: skip
        assert site.brought(client(Server()), reference) is None, reference
    assert list(site.folder.iterdir()) == []


def test_a_server_that_is_away_is_no_lost_file(site: Site) -> None:
    broken = httpx.MockTransport(lambda _: httpx.Response(502))
    away = Client(BASE, transport=broken, repeats=False)  # as the page's own
    with pytest.raises(TalkheadError) as caught:
        site.brought(away, "volume:a.png")
    assert caught.value.retryable


def test_a_file_inside_a_request_is_had_back(site: Site) -> None:
    coded = base64.b64encode(PICTURE).decode()
    file = site.brought(client(Server()), f"data:application/octet-stream;base64,{coded}")
    assert file is not None
    assert (file.suffix, file.read_bytes()) == (".png", PICTURE)
