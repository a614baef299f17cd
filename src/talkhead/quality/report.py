"""What a check found, as numbers, as a table and against bars."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

from talkhead.errors import Code, TalkheadError
from talkhead.media.facts import VideoFacts
from talkhead.quality.sync import SEARCH, SyncScore

Status = Literal["scored", "insufficient", "static", "no_face", "no_speech"]
Grade = Literal["good", "fair", "poor"]

LOST = 0.1  # share of frames without the face that is worth a warning
APART = 0.12  # eye distances between the lips at their closest that are worth a warning

MEANING: dict[Status, str] = {
    "scored": "measured",
    "insufficient": "too little speech for a grade",
    "static": "the mouth does not move while there is speech",
    "no_face": "no face was found",
    "no_speech": "there is no speech to follow",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to a check. `sync` is None where no face or no sound could be measured."""

    status: Status
    grade: Grade | None  # None where there is nothing to judge
    video: VideoFacts
    sync: SyncScore | None
    phones: str | None  # where the phone times came from: given, aligned, allphone, ...
    faces: int  # in the first frame that shows one
    lost: float  # share of the measured frames without the face, 0 to 1
    blinks: int | None  # None where the eyes are never clearly open
    measured_s: float  # seconds of the video that were looked at
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, numbers rounded to four digits."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def grade(sync: SyncScore) -> Grade | None:
    """Grade a score; None where it lacks what a grade needs.

    The bars are set from 12 clips of the draft engine: right, all good; late by 200 ms, all poor;
    with 300 shuffles of their phones, 97 % poor and none good; moved by loudness alone, all fair.
    Other engines move differently; these bars are not calibrated on them.
    """
    if sync.r0 is None or sync.auc is None or sync.lag_ms is None or sync.dip is None:
        return None
    late = abs(sync.lag_ms)
    if sync.r0 < 0.35 or sync.auc < 0.75 or late > 120:
        return "poor"
    # A mouth that only follows loudness reaches r .76 and AUC .95, but dips by .4 for P, B and M.
    good = sync.r0 >= 0.6 and sync.auc >= 0.85 and sync.dip >= 0.75 and late <= 60
    return "good" if good else "fair"


def concerns(report: Report) -> tuple[str, ...]:
    """Return what a reader of the numbers should know before trusting them."""
    video, sync = report.video, report.sync
    gap = av_gap_ms(video)
    frame_ms = 1000 / float(video.fps)
    lag = abs(sync.lag_ms) if sync and sync.lag_ms is not None else 0.0
    found = (
        (
            report.measured_s < video.seconds - 0.5 * frame_ms / 1000 - 1e-3,
            f"only the first {report.measured_s:.1f} of {video.seconds:.1f} s were measured",
        ),
        (
            gap is not None and abs(gap) > frame_ms,
            f"sound and picture differ in length by {gap or 0:+.0f} ms, more than one frame",
        ),
        (report.faces > 1, f"{report.faces} faces were seen and one was measured"),
        (LOST < report.lost < 1, f"the face was lost in {100 * report.lost:.0f} % of the frames"),
        (
            bool(sync and sync.rest > APART),
            "the lips never come together, so that closure is relative to their closest",
        ),
        (lag > 1000 * SEARCH - 10, "the best lag lies at the edge of the search: no lag is right"),
    )
    return tuple(message for holds, message in found if holds)


LEAST = ("r", "r_best", "auc", "dip", "closed", "open_hits", "range")
MOST = ("lag_ms", "lost", "av_gap_ms", "av_offset_ms")  # their sizes, whatever the sign


def check_bars(report: Report, bars: Mapping[str, float]) -> list[str]:
    """Return a sentence for each bar that a report misses: least values, or most for lag and loss.

    What could not be measured misses its bar.
    """
    check_names(bars)
    values = measures(report)
    misses = (_miss(name, values[name], bar, report.status) for name, bar in bars.items())
    return [sentence for sentence in misses if sentence]


def measures(report: Report) -> dict[str, float | None]:
    """Return what can be held against a bar, by the bar's name."""
    sync = report.sync or SyncScore(speech_s=0, range=0, rest=0)
    return {
        "r": sync.r0,
        "r_best": sync.r_best,
        "auc": sync.auc,
        "dip": sync.dip,
        "closed": sync.closed,
        "open_hits": sync.open_hits,
        "range": sync.range if report.sync else None,
        "lag_ms": None if sync.lag_ms is None else abs(sync.lag_ms),
        "lost": report.lost,
        "av_gap_ms": None if (gap := av_gap_ms(report.video)) is None else abs(gap),
        "av_offset_ms": None if (late := report.video.audio_start) is None else 1000 * abs(late),
    }


def check_names(bars: Iterable[str]) -> None:
    """Raise E_INPUT_VALIDATION where the name of a bar is not a measure."""
    unknown = sorted(set(bars) - set(LEAST) - set(MOST))
    if unknown:
        raise TalkheadError(
            Code.INPUT,
            f"there is no measure called {unknown[0]}",
            f"At least: {', '.join(LEAST)}. At most: {', '.join(MOST)}.",
            fields=("min",),
        )


def rows(report: Report) -> list[tuple[str, str, str]]:
    """Return the table of a report: measure, value, remark."""
    return [*_file_rows(report.video), *_face_rows(report), *_sync_rows(report)]


def av_gap_ms(video: VideoFacts) -> float | None:
    """Return by how much the sound outlasts the picture, in ms; None without sound."""
    if video.audio_seconds is None:
        return None
    return 1000 * float(video.audio_seconds - video.seconds)


def _miss(name: str, value: float | None, bar: float, status: Status) -> str | None:
    if value is None:
        return f"{name} could not be measured: {MEANING[status]}"
    least = name in LEAST
    if (value >= bar) if least else (value <= bar):
        return None
    return f"{name} is {value:.3g}, {'below' if least else 'above'} {bar:g}"


def _file_rows(video: VideoFacts) -> list[tuple[str, str, str]]:
    sound, against = "none", ""
    if (gap := av_gap_ms(video)) is not None:
        sound = f"{video.audio_codec}, {video.audio_seconds:.3f} s"
        offset = 1000 * (video.audio_start or 0.0)
        against = f"starts {offset:+.0f} ms and lasts {gap:+.0f} ms against the picture"
    picture = f"{video.codec}, {video.width}x{video.height}, {video.pixel_format}"
    return [
        ("video", picture, f"{video.matrix}, {video.color_range}"),
        ("length", f"{video.seconds:.3f} s, {video.frames} frames", f"{float(video.fps):g} fps"),
        ("sound", sound, against),
        ("faststart", "yes" if video.faststart else "no", "plays while it loads, if yes"),
    ]


def _face_rows(report: Report) -> list[tuple[str, str, str]]:
    blinks = "-" if report.blinks is None else str(report.blinks)
    rate = ""
    if report.blinks is not None and report.measured_s >= 10:
        rate = f"{60 * report.blinks / report.measured_s:.0f} a minute"
    return [
        ("faces", str(report.faces), f"lost in {100 * report.lost:.0f} % of the frames"),
        ("blinks", blinks, rate),
    ]


def _sync_rows(report: Report) -> list[tuple[str, str, str]]:
    sync = report.sync
    verdict = ("lip sync", str(report.grade or "-"), MEANING[report.status])
    if sync is None:
        return [verdict]
    chance = f"{_shown(sync.closed_chance)} by chance"
    table = [
        ("lip range", _shown(sync.range), "p95 - p5, in eye distances"),
        ("r", _shown(sync.r0), f"{_shown(sync.r_best)} at the best lag"),
        ("lag", _shown(sync.lag_ms, ".0f"), "ms; positive: the video is late"),
        ("AUC", _shown(sync.auc), "open vowels wider than bilabials; .5 is blind"),
        ("dip", _shown(sync.dip), "how far the mouth closes for P, B, M"),
        ("closed", _shown(sync.closed), f"of {sync.bilabials} P, B, M; {chance}"),
        ("open", _shown(sync.open_hits), f"of {sync.open_vowels} open vowels"),
        ("phones", report.phones or "-", f"{sync.speech_s:.1f} s of speech"),
    ]
    return [verdict, *(row for row in table if row[1] != "-")]


def _shown(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, f"z{form}")  # z: no minus before a zero


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Fraction):
        return str(value)
    return round(value, 4) if isinstance(value, float) else value
