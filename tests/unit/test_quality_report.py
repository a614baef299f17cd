import json
from dataclasses import replace
from fractions import Fraction

import pytest

from talkhead.engines import Phone
from talkhead.errors import Code, TalkheadError
from talkhead.media.facts import VideoFacts
from talkhead.quality import Report, check_bars, read_phones, rows
from talkhead.quality.report import concerns
from talkhead.quality.sync import SyncScore

SYNC = SyncScore(
    speech_s=5.5,
    range=0.15812345,
    rest=0.01,
    r0=0.9,
    r_best=0.92,
    lag_ms=-30.0,
    bilabials=11,
    open_vowels=13,
    auc=0.98,
    dip=0.95,
    closed=1.0,
    closed_chance=0.5,
    open_hits=0.9,
)


@pytest.fixture
def video():
    return VideoFacts(
        codec="h264",
        width=512,
        height=512,
        fps=Fraction(25),
        frames=152,
        seconds=6.08,
        start=0.0,
        pixel_format="yuv420p",
        matrix="bt709",
        primaries="bt709",
        transfer="bt709",
        color_range="limited",
        audio_codec="aac",
        audio_seconds=6.05,
        audio_rate=48000,
        audio_channels=1,
        audio_start=0.0,
        faststart=True,
        bytes=100_000,
        title="",
        digital_source_type="",
    )


@pytest.fixture
def report(video):
    return Report(
        status="scored",
        grade="good",
        video=video,
        sync=SYNC,
        phones="given",
        faces=1,
        lost=0.02,
        blinks=2,
        measured_s=6.08,
    )


def test_a_report_is_plain_json(report):
    plain = json.loads(json.dumps(report.as_dict()))
    assert plain["sync"]["range"] == 0.1581
    assert plain["video"]["fps"] == "25"
    assert plain["grade"] == "good"
    assert plain["warnings"] == []


def test_bars_that_are_met_are_silent_and_missed_ones_say_by_what(report):
    met = {"r": 0.9, "auc": 0.9, "lag_ms": 30, "lost": 0.02, "av_gap_ms": 31, "av_offset_ms": 0}
    assert check_bars(report, met) == []
    missed = check_bars(report, {"r": 0.95, "lag_ms": 20, "dip": 0.9})
    assert missed == ["r is 0.9, below 0.95", "lag_ms is 30, above 20"]


def test_what_was_not_measured_misses_its_bar(report):
    silent = replace(report, status="no_face", sync=None, grade=None)
    (missed,) = check_bars(silent, {"r": 0})
    assert missed == "r could not be measured: no face was found"


def test_an_unknown_bar_is_refused_with_the_names(report):
    with pytest.raises(TalkheadError, match="no measure called lag") as caught:
        check_bars(report, {"lag": 3})
    assert caught.value.code is Code.INPUT
    assert "lag_ms" in caught.value.hint


def test_the_table_names_each_measure_and_leaves_out_what_is_not_known(report):
    table = {name: (value, remark) for name, value, remark in rows(report)}
    assert table["sound"] == (
        "aac, 6.050 s",
        "starts +0 ms and lasts -30 ms against the picture",
    )
    assert table["AUC"][0] == "0.980"
    assert table["lag"] == ("-30", "ms; positive: the video is late")
    assert table["closed"] == ("1.000", "of 11 P, B, M; 0.500 by chance")
    bare = SyncScore(speech_s=5, range=0.01, rest=0)
    static = replace(report, status="static", grade="poor", sync=bare)
    names = [name for name, _, _ in rows(static)]
    assert "AUC" not in names
    assert "lip range" in names
    faceless = replace(report, status="no_face", grade=None, sync=None, faces=0, lost=1.0)
    assert ("lip sync", "-", "no face was found") in rows(faceless)


def test_concerns_name_what_spoils_the_numbers(report, video):
    assert concerns(report) == ()
    assert concerns(replace(report, measured_s=2.0)) == (
        "only the first 2.0 of 6.1 s were measured",
    )
    longer = replace(video, audio_seconds=6.5)
    assert "+420 ms" in concerns(replace(report, video=longer))[0]
    several = replace(report, faces=3, lost=0.3)
    assert concerns(several) == (
        "3 faces were seen and one was measured",
        "the face was lost in 30 % of the frames",
    )
    edge = replace(report, sync=replace(SYNC, lag_ms=-398.0, rest=0.2))
    assert len(concerns(edge)) == 2


def test_phones_are_read_with_plain_names(tmp_path):
    path = tmp_path / "phones.json"
    path.write_text('[["<sil>", 0, 0.2], ["aa1", 0.2, 0.35], ["M", 0.35, 0.4]]')
    assert read_phones(path) == (
        Phone("SIL", 0, 0.2),
        Phone("AA", 0.2, 0.35),
        Phone("M", 0.35, 0.4),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        '[["AA", 0, Infinity]]',
        '[["AA", 0.5, 0.2]]',
        '[["AA", 0]]',
        "3",
        '[["AA", "x", 1]]',
    ],
)
def test_what_is_no_list_of_phones_is_refused(tmp_path, text):
    path = tmp_path / "phones.json"
    path.write_text(text)
    with pytest.raises(TalkheadError, match=r"phones\.json is no list of phones") as caught:
        read_phones(path)
    assert caught.value.code is Code.INPUT


def test_fps_stays_exact(report, video):
    ntsc = replace(report, video=replace(video, fps=Fraction(24000, 1001)))
    assert ntsc.as_dict()["video"]["fps"] == "24000/1001"
