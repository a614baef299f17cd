"""`talkhead check`: measure a video and print a table, JSON, and the bars it misses."""

import tempfile
from pathlib import Path

from talkhead import quality
from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import Kind, Places, Wanted, fetch_all
from talkhead.serve import console, words


def check(
    video: Path,
    speech: Path | None,
    transcript: str | None,
    phones: Path | None,
    *,
    bars: str | None,
    json: bool,
) -> bool:
    """Print the measures of a video; return whether it passes all bars."""
    wanted = parse_bars(bars)
    quality.check_names(wanted)  # before minutes of measuring
    given: dict[str, tuple[Path | None, Kind]] = {
        "video": (video, "video"),
        "speech": (speech, "audio"),
        "phones": (phones, "media"),
    }
    refs = {name: Wanted(str(path), kind) for name, (path, kind) in given.items() if path}
    with tempfile.TemporaryDirectory(prefix="talkhead-") as scratch:
        files = fetch_all(refs, Path(scratch), Places(local_paths=True), lambda *_: None)
        report = quality.check_video(
            files["video"],
            files.get("speech"),
            words.text_or_file(transcript) if transcript else None,
            quality.read_phones(files["phones"]) if phones else None,
        )
    missed = quality.check_bars(report, wanted)
    if json:
        console.as_json({**report.as_dict(), "missed": missed})
        return not missed
    console.table(str(video), ("measure", "value", ""), quality.rows(report))
    for message in (*report.warnings, *missed):
        console.out(message)
    return not missed


def parse_bars(text: str | None) -> dict[str, float]:
    """Return bars from words such as r=0.6,auc=0.85."""
    bars = {}
    for word in (text or "").split(","):
        if not word.strip():
            continue
        name, _, value = word.partition("=")
        try:
            bars[name.strip()] = float(value)
        except ValueError as error:
            raise TalkheadError(
                Code.INPUT, f"--min {word.strip()!r} is not a bar", "write r=0.6,auc=0.85"
            ) from error
    return bars
