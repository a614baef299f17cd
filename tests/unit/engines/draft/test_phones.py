import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from talkhead.engines import Phone
from talkhead.engines.draft import motion, visemes
from talkhead.engines.draft.phones import (
    LONGEST_UTTERANCE,
    SAMPLE_RATE,
    PhoneTrack,
    cut_utterances,
    find_phones,
    is_english,
    measure_levels,
)
from talkhead.errors import Code, TalkheadError
from talkhead.quality.sync import SyncScore, score_sync

SPEECH = Path(__file__).parents[3] / "media" / "speech"
READ_ALOUD = ("librivox_0870", "librivox_0890", "librivox_0920")
FPS = Fraction(25)
WRONG = "the quick brown fox jumps over a lazy dog while nobody in the whole village cares at all"


def ignore(done: int, total: int) -> None:
    """Take no notice of progress."""


def read(name: str) -> NDArray[np.float32]:
    """Return a clip of the test media as 16 kHz floats."""
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    with av.open(str(SPEECH / f"{name}.flac")) as file:
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames], dtype=np.float32)


def text_of(name: str) -> str:
    return (SPEECH / f"{name}.txt").read_text()


def truth(name: str) -> tuple[Phone, ...]:
    return tuple(
        Phone(*entry) for entry in json.loads((SPEECH / f"{name}.phones.json").read_text())
    )


def score(track: PhoneTrack, speech: NDArray[np.float32], name: str) -> SyncScore:
    """Score the mouth that the track makes against the clip's true phones."""
    frames = int(np.ceil(speech.size * FPS / SAMPLE_RATE))
    loudness = motion.loudness(speech, frames, FPS)
    got = visemes.mouth_tracks(track, loudness, frames, FPS)["aperture"]
    wanted = visemes.expected_aperture(truth(name), loudness, frames, FPS)
    times = motion.frame_times(frames, FPS)
    return score_sync(times, got.astype(np.float64), wanted.astype(np.float64), truth(name))


@pytest.mark.parametrize("name", [*READ_ALOUD, "espeak_en-us"])
def test_a_transcript_gives_exact_lips(name: str) -> None:
    speech = read(name)
    track = find_phones(speech, text_of(name), "auto", ignore)
    assert (track.source, track.warnings, track.energy) == ("aligned", (), 0.0)
    result = score(track, speech, name)
    assert result.auc is not None
    assert result.r_best is not None
    assert result.auc >= 0.99
    assert result.closed == 1.0
    assert result.dip is not None
    assert result.dip >= 0.95
    assert abs(result.lag_ms or 0) <= 12
    assert result.r_best >= (0.98 if name in READ_ALOUD else 0.92)


@pytest.mark.parametrize(("language", "bar"), [("en", 0.86), ("auto", 0.84)])
def test_without_a_transcript_the_shape_is_still_right(language: str, bar: float) -> None:
    scores = []
    for name in READ_ALOUD:
        speech = read(name)
        track = find_phones(speech, None, language, ignore)
        assert (track.source, track.warnings) == ("allphone", ())
        scores.append(score(track, speech, name))
    assert np.mean([s.r_best for s in scores if s.r_best is not None]) >= bar
    assert np.mean([s.auc for s in scores if s.auc is not None]) >= 0.96
    closed = sum((s.closed or 0) * s.bilabials for s in scores)
    assert closed >= 0.85 * sum(s.bilabials for s in scores)


def test_french_without_a_transcript_is_better_than_either_way_alone() -> None:
    speech = read("espeak_fr")
    mixed = find_phones(speech, None, "fr", ignore)
    spoken = tuple(p._replace(name="AA") if p.name != "SIL" else p for p in mixed.phones)
    loud = PhoneTrack(spoken, "allphone", (), energy=1.0)
    heard = PhoneTrack(mixed.phones, "allphone", ())
    r, r_loud, r_heard = (score(t, speech, "espeak_fr").r0 or 0 for t in (mixed, loud, heard))
    assert r > r_loud + 0.05
    assert r > r_heard + 0.05


def test_a_wrong_transcript_is_noticed_and_harms_nothing() -> None:
    speech = read("librivox_0920")
    track = find_phones(speech, WRONG, "en", ignore)
    assert track.source == "allphone"
    assert "does not fit" in track.warnings[0]
    assert track.phones == find_phones(speech, None, "en", ignore).phones


@pytest.mark.parametrize("language", ["auto", "fr"])
def test_a_french_transcript_is_not_aligned(language: str) -> None:
    track = find_phones(read("espeak_fr"), text_of("espeak_fr"), language, ignore)
    assert track.source == "allphone"
    assert "English" in track.warnings[0]
    assert track.energy == 0.5


@pytest.mark.parametrize("change", ["missing", "extra", "misspelt"])
def test_a_nearly_right_transcript_is_used(change: str) -> None:
    words = text_of("librivox_0920").split()
    if change == "missing":
        del words[9], words[4]
    elif change == "extra":
        words[6:6] = ["banana"]
        words[12:12] = ["perhaps", "indeed"]
    else:
        words[words.index("respectable")] = "respektible"
    speech = read("librivox_0920")
    track = find_phones(speech, " ".join(words), "en", ignore)
    assert track.source == "aligned"
    result = score(track, speech, "librivox_0920")
    assert result.r_best is not None
    assert result.r_best >= 0.88
    assert result.auc is not None
    assert result.auc >= 0.98


def test_a_long_text_falls_on_its_utterances() -> None:
    order = [READ_ALOUD[i] for i in (0, 1, 2, 1, 0, 2)]
    gap = np.random.default_rng(0).normal(0, 3e-4, 4000).astype(np.float32)
    speech = np.concatenate([piece for name in order for piece in (read(name), gap)])
    track = find_phones(speech, "\n\n".join(map(text_of, order)), "auto", ignore)
    assert (track.source, track.warnings) == ("aligned", ())
    start = 0.0
    right: list[bool] = []
    for name in order:
        for phone in truth(name):
            middle = start + (phone.start + phone.end) / 2
            right += [p.name == phone.name for p in track.phones if p.start <= middle < p.end]
        start += (read(name).size + gap.size) / SAMPLE_RATE
    assert np.mean(right) >= 0.95


def test_a_text_with_a_part_that_is_not_said_is_found_again() -> None:
    order = ("librivox_0870", "librivox_0920", "librivox_0890")
    pause = np.zeros(3 * SAMPLE_RATE, np.float32)
    speech = np.concatenate([piece for name in order for piece in (read(name), pause)])
    texts = [text_of(order[0]), WRONG, text_of(order[2])]
    track = find_phones(speech, " ".join(texts), "en", ignore)
    assert track.source == "mixed"
    assert "does not fit 1 of 3" in track.warnings[0]
    offset = (read(order[0]).size + read(order[1]).size + 2 * pause.size) / SAMPLE_RATE
    found = [(p.name, p.start - offset) for p in track.phones if p.start > offset]
    wanted = [(p.name, p.start) for p in truth(order[2]) if p.start > 1]  # past the first word
    starts = {name: [t for n, t in found if n == name] for name, _ in wanted}
    near = [any(abs(t - start) < 0.04 for t in starts[name]) for name, start in wanted]
    assert np.mean(near) > 0.95


@pytest.mark.parametrize("seconds", [1.95, 3.3])
def test_speech_cut_off_within_a_word_is_aligned(seconds: float) -> None:
    speech = read("librivox_0890")[: round(seconds * SAMPLE_RATE)]
    track = find_phones(speech, text_of("librivox_0890"), "en", ignore)
    assert track.source == "aligned"
    assert track.warnings[0].endswith("words of the transcript were not heard")
    assert track.phones[-1].end <= seconds


@pytest.mark.parametrize("level", [0.0, 1e-5, 1e-3, 0.03])
def test_silence_and_noise_are_silent(level: float) -> None:
    noise = np.random.default_rng(1).normal(0, 1, 3 * SAMPLE_RATE)
    track = find_phones((level * noise).astype(np.float32), None, "fr", ignore)
    assert {phone.name for phone in track.phones} == {"SIL"}


@pytest.mark.parametrize("samples", [0, 1, 2, 159, 161, 1600, 4800])
@pytest.mark.parametrize("text", [None, "had he"])
def test_short_speech_works(samples: int, text: str | None) -> None:
    speech = read("librivox_0920")[8000 : 8000 + samples]
    track = find_phones(speech, text, "en", ignore)
    assert all(phone.start <= phone.end <= samples / SAMPLE_RATE + 1e-9 for phone in track.phones)
    if samples < 1600:
        assert {phone.name for phone in track.phones} <= {"SIL"}


def test_digital_silence_is_known_as_such() -> None:
    track = find_phones(np.zeros(SAMPLE_RATE, np.float32), "hello there", "en", ignore)
    assert (track.source, track.phones) == ("silent", (Phone("SIL", 0.0, 1.0),))
    assert track.warnings == ()  # the job says it, for every engine


def test_phones_are_in_order_and_within_the_speech() -> None:
    speech = read("librivox_0870")
    for text in (None, text_of("librivox_0870")):
        phones = find_phones(speech, text, "en", ignore).phones
        times = [time for phone in phones for time in (phone.start, phone.end)]
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] <= speech.size / SAMPLE_RATE
        assert {phone.name for phone in phones} <= {*visemes.TARGETS, "SIL"}


def test_loudness_of_the_recording_does_not_matter_much() -> None:
    speech = read("librivox_0920")
    quiet = find_phones(speech * np.float32(0.02), text_of("librivox_0920"), "en", ignore)
    assert quiet.source == "aligned"
    assert score(quiet, speech, "librivox_0920").r_best >= 0.98


def test_the_same_speech_gives_the_same_phones() -> None:
    speech = read("librivox_0890")
    first, again = (find_phones(speech, None, "auto", ignore) for _ in range(2))
    assert first == again


def test_a_memory_map_will_do(tmp_path: Path) -> None:
    speech = read("librivox_0890")
    np.save(tmp_path / "speech.npy", speech)
    mapped = np.load(tmp_path / "speech.npy", mmap_mode="r")
    assert find_phones(mapped, None, "en", ignore) == find_phones(speech, None, "en", ignore)


def test_progress_is_told_in_samples_and_cancel_is_heard() -> None:
    speech = np.concatenate([read(name) for name in READ_ALOUD])
    seen: list[tuple[int, int]] = []
    find_phones(speech, None, "en", lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (speech.size, speech.size)
    assert len(seen) >= 3

    def cancel(done: int, total: int) -> None:
        raise TalkheadError(Code.CANCELLED, "enough")

    with pytest.raises(TalkheadError, match="enough"):
        find_phones(speech, "had he", "en", cancel)


def test_long_speech_is_cut_in_its_pauses() -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.1, 40 * SAMPLE_RATE).astype(np.float32)
    pauses = (7.0, 15.5, 24.0, 33.0)
    for pause in pauses:
        at = round(pause * SAMPLE_RATE)
        speech[at - 2400 : at + 2400] *= 0.05
    spans = cut_utterances(measure_levels(speech))
    assert [first for first, _ in spans[1:]] == [last for _, last in spans[:-1]]
    assert all(last - first <= LONGEST_UTTERANCE * 100 for first, last in spans)
    cuts = np.array([first / 100 for first, _ in spans[1:]])
    assert all(np.abs(cuts - pause).min() < 0.1 for pause in pauses)


def test_long_pauses_are_left_out() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    quiet = np.zeros(5 * SAMPLE_RATE, np.float32)
    spans = cut_utterances(measure_levels(np.concatenate([quiet, sound, quiet, sound, quiet])))
    assert spans == [(475, 625), (1075, 1225)]


def test_languages() -> None:
    assert all(map(is_english, ("en", "en-GB", "EN_us", "eng", "auto")))
    assert not any(map(is_english, ("fr", "de", "enm", "cmn")))
