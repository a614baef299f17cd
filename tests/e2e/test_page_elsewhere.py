"""The page in front of a plain RunPod endpoint, chosen with its key under Settings."""

from collections.abc import Iterator
from typing import Any

import pytest

from support import browser
from support.browser import WAIT, Watch, fill, known, made, opened, plays, process, tell

LACKING = browser.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
KEY = "rpa_SECRET0123456789"


@pytest.fixture
def endpoint() -> Iterator[str]:
    with process() as at:
        tell(at, "/fake/script", plain=True, key=KEY, run_s=1.0)
        yield at


@pytest.fixture
def page(endpoint: str) -> Iterator[Any]:
    with process("--only-page", "http://127.0.0.1:9") as base, browser.chromium() as started:
        watch = Watch(base)
        found = watch.over(started.new_context().new_page())
        found.set_default_timeout(WAIT)
        opened(found, base)
        yield found
        assert watch.wrong == []
        assert watch.foreign == []


@pytest.mark.soak  # for the time that CI has
def test_an_endpoint_and_its_key(page: Any, endpoint: str) -> None:
    page.get_by_text("cannot be reached").wait_for()
    page.get_by_role("tab", name="Settings").click()
    page.get_by_label("Server or endpoint").fill(endpoint)
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Connect").click()
    page.locator("#th-connected").get_by_text("does not accept the key").wait_for()
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Connect").click()
    page.get_by_text("Connected.").wait_for()
    page.get_by_role("tab", name="Create").click()
    known(page)
    fill(page)
    page.wait_for_timeout(1500)
    assert page.locator("#th-plan dl").count() == 0  # a dry run would wake a GPU
    page.get_by_role("button", name="Show the plan").click()
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))

    page.reload()  # the key is still there, in this tab alone
    plays(made(page))
    page.get_by_role("tab", name="History").click()
    page.locator("#th-history .th-job").get_by_role("button", name="Open").click()
    plays(page.locator("#th-opened video"))
    held = page.evaluate("JSON.stringify(localStorage) + document.cookie")
    assert KEY not in held
