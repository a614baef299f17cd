"""From the words of a command line to a payload."""

import json
from pathlib import Path

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve import words
from talkhead.serve.words import Said
from talkhead.validation import parse

NOTHING = Said([], None, None, None, None, [])


def said(**given: object) -> Said:
    values = {name: getattr(NOTHING, name) for name in Said.__slots__}
    return Said(**{**values, **given})  # type: ignore[arg-type]


def test_a_request_may_come_with_what_is_the_platforms(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"input": {"action": "health"}, "policy": {"ttl": 1}}))
    assert words.load_body(file) == ({"action": "health"}, {"policy": {"ttl": 1}})
    file.write_text(json.dumps({"action": "health"}))
    assert words.load_body(file) == ({"action": "health"}, {})
    assert words.load_body(None) == ({}, {})
    file.write_text(json.dumps({"input": {}, "payload": {}}))
    with pytest.raises(TalkheadError, match="'payload' beside `input`"):
        words.load_body(file)


def test_what_is_not_given_leaves_no_trace() -> None:
    payload: words.Payload = {"workflow": {}}
    words.merge(payload, {"engine": None, "sampling": {"seed": None}, "output": {"score": None}})
    assert payload == {"workflow": {}}
    words.merge(payload, {"sampling": {"seed": 0}})
    assert payload["sampling"] == {"seed": 0}
    assert not NOTHING.given
    assert said(text="").given
    assert said(boxes=["1,2,3,4"]).given


def test_recordings_become_speakers_with_absolute_paths() -> None:
    payload: words.Payload = {}
    words.talk(payload, "me.png", said(recordings=["a.wav", "library:b.flac"]))
    assert payload["portrait"] == str(Path("me.png").absolute())
    assert payload["speakers"] == [
        {"audio": str(Path("a.wav").absolute())},
        {"audio": "library:b.flac"},
    ]


def test_text_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Grüezi mitenand\n", encoding="utf-8")
    payload: words.Payload = {}
    words.talk(payload, "me.png", said(text=str(file), voice="espeak:de"))
    assert payload["speakers"] == [{"text": "Grüezi mitenand", "voice": "espeak:de"}]
    assert words.text_or_file("x" * 5000) == "x" * 5000
    assert words.text_or_file("no such file.txt") == "no such file.txt"


def test_boxes_language_and_transcript_go_to_their_speakers() -> None:
    payload: words.Payload = {}
    given = said(recordings=["a", "b"], boxes=["1,2,3,4"], language="fr", transcript="salut")
    words.talk(payload, "me.png", given)
    first, second = payload["speakers"]
    assert (first["box"], first["language"], first["transcript"]) == ([1, 2, 3, 4], "fr", "salut")
    assert (second["language"], "box" in second) == ("fr", False)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"recordings": ["a"], "text": "b"},
        {"recordings": ["a"], "boxes": ["1,2,3"]},
        {"recordings": ["a"], "boxes": ["1,2,3,x"]},
        {"recordings": ["a"], "boxes": ["1,2,3,4", "1,2,3,4"]},
    ],
)
def test_incoherent_words_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(TalkheadError) as caught:
        words.talk({}, "me.png", said(**given))
    assert caught.value.code is Code.INPUT
    assert caught.value.hint


def test_set_reaches_every_field() -> None:
    payload: words.Payload = {"portrait": "p", "speakers": [{"audio": "a"}]}
    words.assign(
        payload,
        ["duration=2.5", "turns=in_turn", "speakers.0.box=[1,2,3,4]", "output.name=x", "fps=12"],
    )
    request = parse(payload)
    assert json.loads(request.model_dump_json())["speakers"][0]["box"] == [1, 2, 3, 4]
    assert payload["output"] == {"name": "x"}
    assert payload["duration"] == 2.5


@pytest.mark.parametrize("word", ["duration", "=5", "speakers.9.box=1", "portrait.x=1"])
def test_bad_settings_are_refused(word: str) -> None:
    with pytest.raises(TalkheadError):
        words.assign({"portrait": "p", "speakers": [{"audio": "a"}]}, [word])


def test_merge_keeps_what_is_not_given() -> None:
    payload = {"size": "512", "output": {"name": "x"}}
    words.merge(payload, {"size": None, "fit": "pad", "output": {"score": True, "name": None}})
    assert payload == {"size": "512", "fit": "pad", "output": {"name": "x", "score": True}}


def test_request_files_may_be_wrapped_as_runpod_sends_them(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"input": {"action": "health"}}')
    assert words.load(file) == {"action": "health"}
    assert words.load(None) == {}
    for content in ("[]", "{"):
        file.write_text(content)
        with pytest.raises(TalkheadError):
            words.load(file)


def test_an_output_never_replaces_an_input(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    (tmp_path / "link.mp4").symlink_to(clip)
    payload = {"portrait": "library:x.png", "speakers": [{"text": "a"}, {"audio": str(clip)}]}
    words.keep_inputs(tmp_path / "other.mp4", payload)
    for name in ("clip.mp4", "link.mp4"):
        with pytest.raises(TalkheadError, match="is an input"):
            words.keep_inputs(tmp_path / name, payload)


def test_the_files_beside_an_output_count_too(tmp_path: Path) -> None:
    (tmp_path / "x.result.json").touch()
    with pytest.raises(TalkheadError, match="exists already"):
        words.output(tmp_path / "x.mp4", None, ".mp4", False)
    thumbnail = tmp_path / "y.thumbnail.jpg"
    thumbnail.touch()
    with pytest.raises(TalkheadError, match="is an input"):
        words.keep_inputs(tmp_path / "y.mp4", {"portrait": str(thumbnail)})


@pytest.mark.parametrize(
    "payload", [{"speakers": 7}, {"speakers": ["a.wav"]}, {"sampling": 3, "speakers": [{}]}]
)
def test_malformed_request_files_get_a_named_error(payload: words.Payload) -> None:
    with pytest.raises(TalkheadError):
        words.talk(payload, "me.png", said(language="fr"))
        words.merge(payload, {"sampling": {"seed": 1}})


def test_outputs_are_checked_before_any_work(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert words.output(None, "/x/me.png", ".mp4", False) == Path("me.mp4")
    assert words.output(None, "library:astronaut.png", ".mp4", False) == Path("astronaut.mp4")
    assert words.output(None, "data:image/png;base64,AAAA", ".mp4", False) == Path("talkhead.mp4")
    assert words.output(None, 5, ".mp4", False) == Path("talkhead.mp4")
    (tmp_path / "me.mp4").touch()
    with pytest.raises(TalkheadError, match="exists already"):
        words.output(None, "/x/me.png", ".mp4", False)
    assert words.output(None, "/x/me.png", ".mp4", True) == Path("me.mp4")
    (tmp_path / "d.mp4").mkdir()
    for bad in ("out.mov", "d.mp4", "missing/out.mp4"):
        with pytest.raises(TalkheadError):
            words.output(Path(bad), None, ".mp4", True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.mp4", "me.mp4"]
