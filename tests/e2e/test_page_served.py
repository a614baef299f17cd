"""The page on the real server: through the login to a played video."""

from pathlib import Path
from typing import Any

import pytest

from support import browser
from support.browser import Watch, fill, made, plays
from support.self_hosted import Served, served
from support.serving import Ground

LACKING = browser.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
TOKEN = "a-token-of-this-test"


def logged_in(page: Any, server: Served) -> Any:
    page.goto(server.base, timeout=60_000)
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.locator("#th-portrait").wait_for(timeout=60_000)
    return page


def test_from_login_to_a_played_video(tmp_path: Path) -> None:
    ground = Ground(tmp_path, TALKHEAD_ENGINE="testcard")
    token = {"TALKHEAD_SERVER__TOKEN": TOKEN}
    with browser.chromium() as chromium, served(ground, **token) as server:
        context = chromium.new_context(viewport={"width": 1280, "height": 1000})
        context.set_default_timeout(browser.WAIT)
        watch = Watch(server.base)
        page = watch.over(logged_in(context.new_page(), server))
        fill(page)
        page.locator("#th-plan").get_by_text("Length").wait_for()
        page.get_by_role("button", name="Make the video").click()
        plays(made(page))
        page.get_by_role("tab", name="History").click()
        page.locator("#th-history .th-job").get_by_text("testcard").wait_for()  # the one: no plans
        assert watch.wrong == []
        assert watch.foreign == []
        for path in ("/gradio_api/info", "/config", "/gradio_api/heartbeat/x", "/assets/x.js"):
            stranger = chromium.new_context()
            assert stranger.request.get(server.base + path).status == 401, path
            stranger.close()
