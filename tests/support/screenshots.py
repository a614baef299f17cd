"""Screenshots of the page: `PYTHONPATH=src:tests python -m support.screenshots FOLDER [--docs]`.

Every state in light and dark, desktop and phone, as PNG into FOLDER. With --docs the few that
docs/ui.md shows become JPEGs in docs/images. The video is a real one, made by the draft engine.
"""

import argparse
import io
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from support.browser import (
    ASSETS,
    PORTRAIT,
    SPEECH,
    TESTS,
    chromium,
    fill,
    known,
    made,
    opened,
    process,
    tell,
)
from support.fake_server import two_people
from support.harness import TALKHEAD

VIEWS = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
IMAGES = TESTS.parent / "docs" / "images"
SHOWN = ("light-plan", "dark-running", "light-two", "phone-start")
LARGEST = 48_000  # bytes of a JPEG in the repository
ERROR = {
    "code": "E_OOM",
    "message": "the GPU ran out of memory at 1280x720",
    "hint": "choose a smaller size, or try again: a fresh process starts",
    "retryable": True,
    "stage": "render",
    "fields": ["size"],
}


def walk(page: Any, base: str, shot: Any, pair: Path) -> None:
    """Go through every state of the page, and take a picture of each."""
    known(opened(page, base))
    shot("start")
    _create(page, base, shot)
    _history(page, shot)
    _two(page, shot, pair)
    _text(page, shot)


def _create(page: Any, base: str, shot: Any) -> None:
    page.get_by_label("Engine", exact=True).click()
    page.get_by_role("option", name="infinitetalk", exact=True).click()
    fill(page)
    page.locator("#th-plan dl").wait_for()
    page.get_by_label("GPU price per hour").fill("2.5")
    page.locator("#th-plan").get_by_text("Cost").wait_for()
    shot("plan")
    tell(base, "/fake/script", run_s=9, video_engine=True)
    page.click("#th-make")
    page.locator("#th-screen video").wait_for()
    page.wait_for_timeout(2500)
    shot("running")
    made(page)
    shot("done")
    page.locator("#th-sheet").get_by_text("Time by stage").click()
    page.locator("#th-sheet").get_by_text("Settings").click()
    page.click("#th-preview")
    page.locator("#th-draft video").wait_for()
    shot("details")
    tell(base, "/fake/script", run_s=0.2, fail=ERROR, video_engine=True)
    page.click("#th-make")
    page.locator("#th-board .th-trouble").wait_for()
    shot("error")


def _history(page: Any, shot: Any) -> None:
    page.get_by_role("tab", name="History").click()
    page.locator(".th-job").first.wait_for()
    shot("history")
    page.get_by_role("button", name="Open").last.click()
    page.locator("#th-opened video").wait_for()
    shot("opened")


def _two(page: Any, shot: Any, pair: Path) -> None:
    page.get_by_role("tab", name="Create").click()
    page.get_by_role("button", name="Remove Image").click()
    page.get_by_label("Two people in the picture").check()
    page.set_input_files("#th-portrait input[type=file]", str(pair))
    page.set_input_files("#th-audio-2 input[type=file]", str(SPEECH))
    for at in (1, 0):
        page.locator("#th-faces button.th-face").nth(at).click()
        page.wait_for_timeout(1500)
    shot("two")


def _text(page: Any, shot: Any) -> None:
    page.get_by_label("Two people in the picture").uncheck()
    page.get_by_role("tab", name="Text").first.click()
    page.get_by_label("What to say").first.fill("Good morning! This is how I sound.")
    page.click("#th-hear-1")
    page.locator("audio.th-audio").wait_for()
    page.locator("#th-advanced").get_by_text("Advanced").click()
    page.wait_for_timeout(1000)
    shot("advanced")


def small(picture: bytes) -> bytes:
    """Return a screenshot as a JPEG that the repository can hold."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.crop((0, 0, image.width, min(image.height, round(image.width * 2.2))))
    image.thumbnail((560, 860))
    for quality in range(66, 30, -6):
        image.save(out := io.BytesIO(), "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= LARGEST:
            break
    return out.getvalue()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("--docs", action="store_true")
    words.add_argument("--view", choices=VIEWS, action="append")
    asked = words.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temp:
        video = Path(temp) / "video.mp4"
        subprocess.run(
            [
                *(TALKHEAD, "talk", PORTRAIT, SPEECH, "--transcript", ASSETS / "librivox.txt"),
                *("--engine", "draft", "--size", "512x512", "--seed", "7", "-o", video, "--json"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        video.with_name("video.thumbnail.jpg").rename(video.with_name("thumbnail.jpg"))
        pair = two_people(Path(temp) / "pair.png", PORTRAIT)
        with process("--page", "--video", str(video)) as base, chromium() as browser:
            for view in asked.view or VIEWS:
                _take(browser, base, view, pair, asked)


def _take(browser: Any, base: str, view: str, pair: Path, asked: Any) -> None:
    tell(base, "/fake/forget")
    tell(base, "/fake/script", video_engine=True)
    context = browser.new_context(**VIEWS[view])
    context.set_default_timeout(20_000)
    page = context.new_page()

    def shot(name: str) -> None:
        page.evaluate("scrollTo(0, 0)")  # Chromium mixes up where it was, after a tall picture
        page.wait_for_timeout(700)
        full = f"{view}-{name}"
        picture = page.screenshot(path=asked.folder / f"{full}.png", full_page=True)
        if asked.docs and full in SHOWN:
            (IMAGES / f"ui-{full}.jpg").write_bytes(small(picture))

    walk(page, base, shot, pair)
    context.close()


if __name__ == "__main__":
    main()
