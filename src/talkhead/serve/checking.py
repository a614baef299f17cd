"""`talkhead check`: measure a video and print a table, JSON, and the bars it misses."""

from pathlib import Path

from talkhead import quality
from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import Places, fetch
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
    here = Places(local_paths=True)
    report = quality.check_video(
        fetch(str(video), Path(), "video", here),
        fetch(str(speech), Path(), "speech", here) if speech else None,
        words.text_or_file(transcript) if transcript else None,
        quality.read_phones(fetch(str(phones), Path(), "phones", here)) if phones else None,
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
