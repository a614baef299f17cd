"""The page in a real Chromium, from upload to played video.

With TALKHEAD_TEST_PAGE set to a page's address these tests run against that one; those that script
the fake server are skipped then.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import browser
from support.browser import (
    PORTRAIT,
    SPEECH,
    WAIT,
    Watch,
    fill,
    known,
    made,
    opened,
    plays,
    served,
    tell,
)

LONG = 3600.0  # seconds: a job that ends when the test says so
LACKING = browser.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=LACKING or "-")
in_soak = pytest.mark.soak  # CI has time for one walk, and for two people
scripted = pytest.mark.skipif(browser.HERE in os.environ, reason="scripts the fake server")


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with served() as at:
        yield at


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.chromium() as started:
        yield started


@pytest.fixture(scope="module")
def visitor(chromium: Any) -> Iterator[Any]:
    """Return one browser's profile: the page's own files are loaded once."""
    opened = chromium.new_context(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(WAIT)
    yield opened
    opened.close()


@pytest.fixture
def context(base: str, visitor: Any) -> Iterator[Any]:
    """Return the profile with nothing left of the tests before."""
    if browser.HERE not in os.environ:
        tell(base, "/fake/forget")
    yield visitor
    for page in visitor.pages[1:]:
        page.close()
    for page in visitor.pages:
        page.evaluate("localStorage.clear()")
        page.close()


@pytest.fixture
def page(base: str, context: Any) -> Iterator[Any]:
    watch = Watch(base)
    found = watch.over(context.new_page())
    known(opened(found, base))
    yield found
    assert watch.wrong == []
    assert watch.foreign == []


@scripted
def test_one_walk(page: Any, base: str, tmp_path: Path) -> None:
    """A bad file, the plan, cancelling, trying again, a reload in the middle, the played video.

    In one go, as each visit costs seconds; the tests of `make soak` take the parts apart.
    """
    fill(page, portrait=_no_picture(tmp_path))
    page.get_by_role("alert").get_by_text("Portrait").first.wait_for()
    page.get_by_role("button", name="Remove Image").click()
    page.set_input_files("#th-portrait input[type=file]", str(PORTRAIT))
    page.locator("#th-plan").get_by_text("7.1 s").wait_for()
    assert page.locator("#th-faces .th-face").count() == 1
    tell(base, "/fake/script", run_s=LONG)
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").get_by_role("heading", name="Cancelled").wait_for()
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("progressbar").wait_for()
    page.reload()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Cancel").wait_for()
    tell(base, "/fake/at", share=1)
    plays(made(page))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"


@in_soak
def test_the_whole_way(page: Any) -> None:
    fill(page)
    plan = page.locator("#th-plan")
    plan.get_by_text("Length").wait_for()
    assert "7.1 s" in plan.inner_text()
    assert page.locator("#th-faces .th-face").count() == 1
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))
    assert page.evaluate("document.activeElement.innerText") == "Your video is ready."
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes()[4:8] == b"ftyp"
    page.locator("#th-sheet").get_by_text("Settings").click()
    assert '"speakers"' in page.locator("#th-sheet pre").inner_text()


@scripted
@in_soak
def test_progress_and_the_partial_video(page: Any, base: str) -> None:
    tell(base, "/fake/script", queue_s=LONG, run_s=LONG)
    fill(page)
    page.get_by_role("button", name="Make the video").click()
    board = page.locator("#th-board")
    board.get_by_text("Number 2 in the queue").wait_for()
    tell(base, "/fake/at", share=0.5)
    board.get_by_text("Making the video").wait_for()
    assert re.search(r"Window \d of 4 · about .* left", board.inner_text())
    page.locator("#th-screen").get_by_text("The video so far").wait_for()
    plays(page.locator("#th-screen video"))
    assert page.locator("#th-announce").get_attribute("aria-live") == "polite"
    tell(base, "/fake/at", share=1)
    plays(made(page))


@scripted
@in_soak
def test_cancel(page: Any, base: str) -> None:
    tell(base, "/fake/script", run_s=LONG)
    fill(page)
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("alert").get_by_role("heading", name="Cancelled").wait_for()
    assert page.get_by_role("button", name="Cancel").count() == 0
    page.get_by_role("button", name="Try again").wait_for()


def _no_picture(folder: Path) -> Path:
    (bad := folder / "holiday.png").write_text("this is text")
    return bad


@in_soak
def test_a_file_that_is_no_picture(page: Any, tmp_path: Path) -> None:
    fill(page, portrait=_no_picture(tmp_path))
    alert = page.get_by_role("alert").first
    alert.wait_for()
    assert "Portrait" in alert.inner_text()
    assert "Traceback" not in page.content()


@scripted
@in_soak
def test_a_failure_is_told_in_words_and_tried_again(page: Any, base: str) -> None:
    error = {
        "code": "E_OOM", "message": "the GPU ran out of memory", "hint": "choose a smaller size",
        "retryable": True, "stage": "render", "fields": ["size"],
    }  # fmt: skip
    fill(page)
    page.locator("#th-plan dl").wait_for()
    tell(base, "/fake/script", run_s=0.4, fail=error)
    page.get_by_role("button", name="Make the video").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("Not enough memory").wait_for()
    assert "Choose a smaller size." in alert.inner_text()
    assert "Look at: Size" in alert.inner_text()
    page.get_by_role("button", name="Try again").click()
    plays(made(page))


@scripted
@in_soak
def test_a_busy_server_is_waited_for(page: Any, base: str) -> None:
    fill(page)
    page.locator("#th-plan dl").wait_for()
    tell(base, "/fake/script", refuse=3)
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))


@scripted
@in_soak
def test_a_reload_finds_the_job_again(page: Any, base: str) -> None:
    tell(base, "/fake/script", run_s=LONG)
    fill(page)
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("progressbar").wait_for()
    page.reload()
    page.get_by_role("progressbar").wait_for()
    page.get_by_role("button", name="Cancel").wait_for()
    tell(base, "/fake/at", share=1)
    plays(made(page))
    second = page.context.new_page()  # the same browser's other tab shows it too
    opened(second, base)
    plays(made(second))


def test_two_speakers_by_clicks(page: Any, base: str, tmp_path: Path) -> None:
    from support.fake_server import two_people

    pair = two_people(tmp_path / "pair.png", PORTRAIT)
    page.get_by_label("Two people in the picture").check()
    fill(page, portrait=pair)
    page.set_input_files("#th-audio-2 input[type=file]", str(SPEECH))
    faces = page.locator("#th-faces button.th-face")
    faces.nth(1).wait_for()
    places = [face.bounding_box()["x"] for face in faces.all()]
    faces.nth(places.index(max(places))).click()  # speaker 1 is on the right
    page.locator("#th-faces .th-box-1").wait_for()
    frame = page.locator("#th-faces .th-frame")
    box = frame.bounding_box()
    for x, y in ((0.15, 0.12), (0.30, 0.40)):
        frame.click(position={"x": box["width"] * x, "y": box["height"] * y}, force=True)
        page.wait_for_timeout(700)
    page.locator("#th-faces .th-box-2").wait_for()
    page.get_by_label("One after the other").check()
    page.get_by_role("button", name="Make the video").click()
    made(page)
    if browser.HERE in os.environ:
        return
    payload = _asked(base)[-1]
    first, second = (speaker["box"] for speaker in payload["speakers"])
    assert first == pytest.approx([692, 69.5, 783.4, 178.3])
    assert second == pytest.approx([0.15 * 1024, 0.12 * 512, 0.30 * 1024, 0.40 * 512], abs=4)
    assert payload["turns"] == "in_turn"
    again(page)
    page.locator("#th-returned").get_by_text("Settings and files are back").wait_for()
    page.locator("#th-faces .th-box-2").wait_for()
    make_again(page, base)
    assert _asked(base)[-1] == {**payload, "sampling": {"seed": 4711}}


def again(page: Any) -> None:
    page.get_by_role("button", name="Use these settings again").locator("visible=true").click()


def make(page: Any) -> None:
    """Make a video, its plan seen first."""
    fill(page)
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Make the video").click()
    made(page)


def make_again(page: Any, base: str) -> None:
    """Make a video where one is shown already."""
    tell(base, "/fake/script", run_s=LONG)
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("progressbar").wait_for()
    tell(base, "/fake/at", share=1)
    made(page)


def _asked(base: str) -> list[dict[str, Any]]:
    """Return the requests that were no questions, in order."""
    return [job for job in tell(base, "/fake/jobs") if not job.get("dry_run")]


@scripted
@in_soak
def test_files_that_are_gone_are_asked_for_and_the_library_has_others(page: Any, base: str) -> None:
    make(page)
    tell(base, "/fake/sweep")
    again(page)
    lack = page.locator("#th-returned")
    lack.get_by_text("The portrait is no longer on the server").wait_for()
    lack.get_by_text("The recording is no longer on the server").wait_for()
    page.locator("#th-plan").get_by_text("Add a portrait").wait_for()
    page.get_by_label("A portrait from the library").click()
    assert page.get_by_role("option").all_inner_texts() == ["team/Anna.png"]
    page.get_by_role("option", name="team/Anna.png").click()
    page.locator("#th-portrait img").wait_for()
    page.set_input_files("#th-audio-1 input[type=file]", str(SPEECH))
    page.locator("#th-plan dl").wait_for()
    assert lack.locator("section").count() == 0
    make_again(page, base)
    assert _asked(base)[-1]["portrait"] == "library:team/Anna.png"


@scripted
@in_soak
def test_a_job_that_runs_is_watched_from_the_history(page: Any, base: str) -> None:
    tell(base, "/fake/script", run_s=LONG)
    fill(page)
    page.get_by_role("button", name="Make the video").click()
    page.get_by_role("progressbar").wait_for()
    page.evaluate("localStorage.clear()")  # another browser
    known(opened(page, base))
    assert page.get_by_role("progressbar").count() == 0
    page.get_by_role("tab", name="History").click()
    page.locator("#th-history .th-job").get_by_role("button", name="Watch").click()
    page.get_by_role("progressbar").wait_for()
    tell(base, "/fake/at", share=1)
    plays(made(page))


@scripted
@in_soak
def test_a_text_comes_back_whole_from_the_history(page: Any, base: str) -> None:
    text = "This is a long text, which the server keeps. " * 12
    page.set_input_files("#th-portrait input[type=file]", str(PORTRAIT))
    page.get_by_role("tab", name="Text").click()
    page.get_by_label("What to say").fill(text)
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Make the video").click()
    made(page)
    known(opened(page, base))
    page.get_by_role("tab", name="History").click()
    page.locator("#th-history .th-job").get_by_role("button", name="Open").click()
    page.locator("#th-opened video").wait_for()
    again(page)
    said = page.get_by_label("What to say")
    said.wait_for()  # its tab is chosen
    page.wait_for_function("([e, t]) => e.value === t", arg=[said.element_handle(), text])


@in_soak
def test_text_with_a_voice_that_is_heard_first(page: Any) -> None:
    page.set_input_files("#th-portrait input[type=file]", str(PORTRAIT))
    page.get_by_role("tab", name="Text").click()
    page.get_by_label("What to say").fill("Good morning, this is a test.")
    page.get_by_role("button", name="Hear the voice").click()
    sound = page.locator("audio.th-audio")
    sound.wait_for()
    page.wait_for_function("a => a.currentTime > 0.2 && !a.error", arg=sound.element_handle())
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))


@in_soak
def test_a_draft_preview_first(page: Any, base: str) -> None:
    fill(page)
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Draft preview").click()
    plays(page.locator("#th-draft video"))


@in_soak
def test_by_keyboard_alone(page: Any) -> None:
    """Everything is reached by Tab in the order of reading, and works by Enter and Space."""
    names: list[str] = []

    def until(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            found = page.evaluate(
                "() => { const e = document.activeElement; return e.getAttribute('aria-label')"
                " || (e.labels && e.labels[0] && e.labels[0].innerText) || e.innerText || ''; }"
            )
            names.append(found.strip().splitlines()[0] if found.strip() else "")
            if name in found:
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", f"{name}: the focus is not seen"
                return
        raise AssertionError(f"Tab does not lead to {name!r}: {names}")

    page.locator("body").click(position={"x": 1, "y": 1})
    until("Use the example portrait")
    page.keyboard.press("Enter")
    until("Text")
    page.keyboard.press("Enter")
    until("What to say")
    page.keyboard.type("Hello from the keyboard.")
    until("Make the video")
    page.locator("#th-plan dl").wait_for()
    page.keyboard.press("Enter")
    made(page)


@in_soak
def test_phone_width_has_no_sideways_scroll(context: Any, base: str) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, base)
    make(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@scripted
@in_soak
def test_history_opens_uses_again_and_deletes(page: Any, base: str) -> None:
    fill(page)
    page.locator("#th-advanced").get_by_text("Advanced").click()
    page.get_by_label("Seed").fill("77")
    page.locator("#th-plan dl").wait_for()
    page.get_by_role("button", name="Make the video").click()
    made(page)
    page.get_by_role("tab", name="History").click()
    card = page.locator("#th-history .th-job")
    card.wait_for()
    card.get_by_role("button", name="Open").click()
    plays(page.locator("#th-opened video"))
    page.reload()
    page.get_by_role("tab", name="History").click()
    card.get_by_role("button", name="Open").click()
    again(page)
    page.locator("#th-advanced").get_by_text("Advanced").click()
    seed = page.get_by_label("Seed")
    page.wait_for_function("e => e.value === '77'", arg=seed.element_handle())
    page.get_by_role("tab", name="History").click()
    card.get_by_role("button", name="Delete").click()
    card.get_by_text("Really delete?").click()
    page.get_by_text("Nothing yet").wait_for()


@scripted
@in_soak
def test_the_history_of_a_slow_server(page: Any, base: str) -> None:
    make(page)
    tell(base, "/fake/script", ability_s=3.0)
    opened(page, base)
    page.get_by_role("tab", name="History").click()  # long before the page knows its server
    page.locator("#th-history .th-job").wait_for()


@scripted
@in_soak
def test_an_engine_that_takes_a_video(page: Any, base: str, tmp_path: Path) -> None:
    from support.media import moving, write_video

    assert not page.get_by_label("Video", exact=True).is_visible()
    tell(base, "/fake/script", video_engine=True)
    known(opened(page, base))
    page.get_by_label("Engine", exact=True).click()
    page.get_by_role("option", name="infinitetalk", exact=True).click()
    page.get_by_label("Video", exact=True).check()
    clip = write_video(tmp_path / "clip.mp4", moving(50, 256))
    page.set_input_files("#th-source input[type=file]", str(clip))
    page.set_input_files("#th-audio-1 input[type=file]", str(SPEECH))
    page.locator("#th-plan dl").wait_for()
    price = page.get_by_label("GPU price per hour")
    price.fill("3600")
    page.locator("#th-plan").get_by_text("2.30").wait_for()
    page.get_by_label("Size").click()
    page.get_by_role("option", name="480p").click()
    page.get_by_role("button", name="Make the video").click()
    plays(made(page))
    payload = _asked(base)[-1]
    assert payload["video"].endswith(".mp4")
    assert "portrait" not in payload
    assert (payload["size"], payload["quality"]) == ("480p", "balanced")
    known(opened(page, base))
    page.get_by_label("Engine", exact=True).click()
    page.get_by_role("option", name="infinitetalk", exact=True).click()
    fill(page)
    page.locator("#th-plan").get_by_text("2.30").wait_for()  # the price is kept in the browser


@scripted
@in_soak
def test_a_portrait_from_words(page: Any, base: str) -> None:
    assert page.get_by_text("Describe one").count() == 0
    tell(base, "/fake/script", maker=True)
    known(opened(page, base))
    page.get_by_text("Describe one").click()
    page.get_by_label("What to draw").fill("A sailor, looking at us")
    page.get_by_role("button", name="Draw the portrait").click()
    page.locator("#th-portrait img").wait_for()


@scripted
@in_soak
def test_the_engines_own_options(page: Any, base: str) -> None:
    fill(page)
    page.get_by_label("Engine", exact=True).click()
    page.get_by_role("option", name="draft", exact=True).click()
    page.locator("#th-advanced").get_by_text("Advanced").click()
    motion = page.get_by_label("Head motion")
    motion.fill("0.5")
    motion.press("Tab")
    page.locator("#th-plan dl").wait_for()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Make the video").click()
    made(page)
    payload = _asked(base)[-1]
    assert payload["engine"] == "draft"
    assert payload["options"] == {"head_motion": 0.5}
