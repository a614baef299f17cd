"""The page under axe-core: every state, light and dark, desktop and phone.

axe-core comes from npm and is no part of the repository; without npm the tests are skipped.
"""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import browser
from support.browser import (
    PORTRAIT,
    SPEECH,
    WAIT,
    fill,
    known,
    made,
    opened,
    process,
    served,
    tell,
)
from support.fake_server import two_people

LACKING = browser.lacking()
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(bool(LACKING), reason=LACKING or "-"),
]
AXE = "axe-core@4.14.1"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
ERROR = {
    "code": "E_OOM", "message": "the GPU ran out of memory", "hint": "choose a smaller size",
    "retryable": True, "stage": "render", "fields": ["size"],
}  # fmt: skip
# Names of Gradio's own buttons that are not the words on them: docs/ui.md.
GRADIO = [
    ("label-content-name-mismatch", 'class="upload-container'),
    ("label-content-name-mismatch", 'class="playback'),
]
LOOKS = [
    pytest.param((scheme, width), id=f"{scheme}-{width}")
    for scheme in ("light", "dark")
    for width in (1280, 390)
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return axe-core's script, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here, which axe-core comes from")
    command = [npm, "pack", AXE]
    done = subprocess.run(command, check=False, cwd=folder, capture_output=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {AXE}: {done.stderr.decode()[-300:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        script = packed.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with served() as at:
        yield at


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as started:
        yield started


class Judge:
    """What axe-core finds wrong with a page, state by state."""

    def __init__(self, page: Any, axe: str) -> None:
        self.page, self.axe = page, axe
        self.found: list[str] = []

    def look(self, state: str) -> None:
        self.found += [f"{state}: {wrong}" for wrong in self.wrong()]

    def wrong(self) -> list[str]:
        self.page.wait_for_timeout(600)  # colours fade in
        self.page.evaluate(self.axe)
        run = "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']})"
        return [
            f"{found['id']} in {node['html'][:200]}"
            for found in self.page.evaluate(run, RULES)["violations"]
            for node in found["nodes"]
            if not any(found["id"] == rule and part in node["html"] for rule, part in GRADIO)
        ]


@pytest.fixture
def judge(request: pytest.FixtureRequest, chromium: Any, axe: str) -> Iterator[Judge]:
    """Return a judge of a new page in the look that the test is given."""
    scheme, width = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(WAIT)
    yield Judge(context.new_page(), axe)
    context.close()


@pytest.mark.parametrize("judge", LOOKS, indirect=True)
def test_the_page(base: str, judge: Judge, tmp_path: Path) -> None:
    tell(base, "/fake/forget")
    page = known(opened(judge.page, base))
    judge.look("empty")
    fill(page)
    page.locator("#th-plan dl").wait_for()
    page.locator("#th-advanced").get_by_text("Advanced").click()
    judge.look("plan")
    tell(base, "/fake/script", run_s=9)
    page.get_by_role("button", name="Make the video").click()
    page.locator("#th-screen video").wait_for()
    judge.look("running")
    made(page)
    assert page.evaluate("document.activeElement.innerText") == "Your video is ready."
    page.locator("#th-sheet").get_by_text("Settings").click()
    judge.look("result")
    tell(base, "/fake/script", run_s=0.2, fail=ERROR)
    page.get_by_role("button", name="Make the video").click()
    page.locator("#th-board .th-trouble").wait_for()
    judge.look("error")
    assert page.evaluate("document.activeElement.innerText") == "Not enough memory"
    _two(page, tmp_path)
    judge.look("two speakers")
    page.get_by_role("tab", name="Text").first.click()
    judge.look("text")
    page.get_by_role("tab", name="History").click()
    page.get_by_role("button", name="Open").first.click()
    page.locator("#th-opened video").wait_for()
    judge.look("history")
    assert not judge.found, "\n".join(judge.found)
    page.locator("#th-opened").evaluate("e => e.insertAdjacentHTML('beforeend', '<img src=x>')")
    assert any("image-alt" in wrong for wrong in judge.wrong())  # it does look


def _two(page: Any, folder: Path) -> None:
    page.get_by_label("Two people in the picture").check()
    page.set_input_files("#th-audio-2 input[type=file]", str(SPEECH))
    page.get_by_role("button", name="Remove Image").click()
    page.set_input_files(
        "#th-portrait input[type=file]", str(two_people(folder / "pair.png", PORTRAIT))
    )
    page.locator("#th-faces button.th-face").nth(1).click()
    page.locator("#th-faces .th-box-1").wait_for()


@pytest.mark.parametrize("judge", LOOKS, indirect=True)
def test_settings_and_a_server_that_is_away(judge: Judge) -> None:
    with process("--only-page", "http://127.0.0.1:9") as base:
        page = opened(judge.page, base)
        page.get_by_text("cannot be reached").wait_for()
        judge.look("no server")
        page.get_by_role("tab", name="Settings").click()
        page.get_by_role("button", name="Connect").click()
        page.locator("#th-connected .th-trouble").wait_for()
        judge.look("settings")
        page.close()  # it listens, which a server that ends would wait for
    assert not judge.found, "\n".join(judge.found)


@pytest.mark.parametrize("judge", LOOKS, indirect=True)
def test_the_login_page(judge: Judge) -> None:
    from talkhead.serve.server import guard

    for problem in ("", "That is not the token of this server."):
        judge.page.set_content(bytes(guard._login_page(problem).body).decode())
        judge.look(f"login {problem}")
    assert not judge.found, "\n".join(judge.found)
