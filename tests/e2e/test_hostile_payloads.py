"""Hostile payloads, as a worker takes them: the right code, no connection, nothing left behind."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.web import Network, recorded
from talkhead import aliases, job
from talkhead.errors import TalkheadError
from talkhead.report import naming
from talkhead.result import Result
from talkhead.runtime import Runtime
from talkhead.serve import logs
from talkhead.settings import Local, Settings
from talkhead.validation import parse

INPUT, UNSUPPORTED = "E_INPUT_VALIDATION", "E_UNSUPPORTED"
PICTURE, SOUND = "library:astronaut.png", "library:librivox.flac"
GOOD: dict[str, Any] = {"portrait": PICTURE, "speakers": [{"audio": SOUND}]}
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\n"


def nested(levels: int, kind: str) -> Any:
    inner: Any = 1
    for _ in range(levels):
        inner = {"a": inner} if kind == "object" else [inner]
    return inner


def talk(**more: Any) -> dict[str, Any]:
    return copy.copy(GOOD) | more


def keyed(key: str, value: Any) -> dict[str, Any]:
    return GOOD | {key: value}


def speaker(**more: Any) -> dict[str, Any]:
    return talk(speakers=[{"audio": SOUND} | more])


def text(**more: Any) -> dict[str, Any]:
    return talk(speakers=[{"text": "Hi"} | more])


def output(**more: Any) -> dict[str, Any]:
    return talk(output=more)


# name: payload, code, field that the error names ("" for none)
SHAPES: dict[str, tuple[Any, str, str]] = {
    "null": (None, INPUT, ""),
    "a number": (7, INPUT, ""),
    "a text": ("talk", INPUT, ""),
    "a list": ([GOOD], INPUT, ""),
    "a true": (True, INPUT, ""),
    "empty": ({}, INPUT, "speakers"),
    "action null": (talk(action=None), INPUT, "action"),
    "action a number": (talk(action=5), INPUT, "action"),
    "action a list": (talk(action=["talk"]), INPUT, "action"),
    "action an object": (talk(action={"talk": 1}), INPUT, "action"),
    "action of a megabyte": (talk(action="talk" * 250_000), INPUT, "action"),
    "action in capitals": (talk(action="TALK"), INPUT, "action"),
    "action with a NUL": (talk(action="talk\0"), INPUT, "action"),
    "action with a Cyrillic a": (talk(action="t\u0430lk"), INPUT, "action"),
    "portrait a number": (talk(portrait=5), INPUT, "portrait"),
    "portrait a list": (talk(portrait=[PICTURE]), INPUT, "portrait"),
    "portrait an object": (talk(portrait={"url": PICTURE}), INPUT, "portrait"),
    "portrait bytes": (talk(portrait=b"\xff\xfe"), INPUT, "portrait"),
    "portrait empty": (talk(portrait=""), INPUT, "portrait"),
    "speakers an object": (talk(speakers={"0": {"audio": SOUND}}), INPUT, "speakers"),
    "speakers a text": (talk(speakers=SOUND), INPUT, "speakers"),
    "speakers empty": (talk(speakers=[]), INPUT, "speakers"),
    "a speaker null": (talk(speakers=[None]), INPUT, "speakers.0"),
    "a thousand speakers": (talk(speakers=[{"audio": SOUND}] * 1000), INPUT, "speakers"),
    "options a list": (talk(engine="draft", options=[1]), INPUT, "options"),
    "output a text": (talk(output="/etc"), INPUT, "output"),
    "sampling a list": (talk(sampling=[]), INPUT, "sampling"),
}
NUMBERS: dict[str, tuple[Any, str, str]] = {
    "duration NaN": (talk(duration=math.nan), INPUT, "duration"),
    "duration infinite": (talk(duration=math.inf), INPUT, "duration"),
    "duration minus infinite": (talk(duration=-math.inf), INPUT, "duration"),
    "duration 1e308": (talk(duration=1e308), INPUT, "duration"),
    "duration zero": (talk(duration=0), INPUT, "duration"),
    "duration NaN as text": (talk(duration="NaN"), INPUT, "duration"),
    "duration a list": (talk(duration=[5]), INPUT, "duration"),
    "frames of 5000 digits": (talk(max_frames=10**5000), INPUT, ""),
    "frames negative": (talk(max_frames=-1), INPUT, "max_frames"),
    "seed of 5000 digits": (talk(sampling={"seed": 10**5000}), INPUT, ""),
    "seed too large": (talk(sampling={"seed": 2**63}), INPUT, "sampling.seed"),
    "seed a fraction": (talk(sampling={"seed": 1.5}), INPUT, "sampling.seed"),
    "fps zero": (talk(fps=0), INPUT, "fps"),
    "fps NaN": (talk(fps=math.nan), INPUT, "fps"),
    "fps true": (talk(fps=True), INPUT, "fps"),
    "fps by zero": (talk(fps="30/0"), INPUT, "fps"),
    "fps of a power": (talk(fps="1e999999999"), INPUT, "fps"),
    "fps of a small power": (talk(fps="1e-999999999"), INPUT, "fps"),
    "fps a megabyte of digits": (talk(fps="9" * 1_000_000), INPUT, "fps"),
    "size negative": (talk(size=-512), INPUT, "size.long"),
    "size true": (talk(size=True), INPUT, "size"),
    "size of a power": (talk(size="10e9x10e9"), INPUT, "size"),
    "size huge": (talk(size="999999999x999999999"), INPUT, "size.width"),
    "size a megabyte of digits": (talk(size="9" * 1_000_000), INPUT, "size"),
    "size in Arabic digits": (talk(size="\u0669x\u0669"), INPUT, "size"),
    "size superscript": (talk(size="\u00b2x\u00b2"), INPUT, "size"),
    "size thrice": (talk(size="512x512x512"), INPUT, "size"),
    "size NaN": (talk(size={"width": math.nan, "height": 512}), INPUT, "size.width"),
    "priority of a power": (talk(priority=10**100), INPUT, "priority"),
    "deadline negative": (talk(deadline_s=-1), INPUT, "deadline_s"),
    "speed NaN": (text(speed=math.nan), INPUT, "speakers.0.speed"),
    "box NaN": (speaker(box=[math.nan] * 4), INPUT, "speakers.0.box.3"),
    "box inside out": (speaker(box=[9, 9, 1, 1]), INPUT, "speakers.0"),
    "box of five": (speaker(box=[0, 0, 1, 1, 1]), INPUT, "speakers.0.box"),
    "start infinite": (speaker(start=math.inf), INPUT, "speakers.0.start"),
    "expires for ever": (output(expires_s=10**12), INPUT, "output.expires_s"),
}
TEXTS: dict[str, tuple[Any, str, str]] = {
    "a megabyte of text": (text(text="a" * 1_000_000), INPUT, "speakers.0.text"),
    "a megabyte of transcript": (
        speaker(transcript="a " * 500_000),
        INPUT,
        "speakers.0.transcript",
    ),
    "a megabyte of prompt": (talk(prompt="a" * 1_000_000), INPUT, "prompt"),
    "a megabyte of reference": (talk(portrait="library:" + "a" * 1_000_000), INPUT, "portrait"),
    "blank text": (text(text=" \t\n\u3000"), INPUT, "speakers.0"),
    "lone surrogate in a reference": (talk(portrait="library:\ud800.png"), INPUT, "portrait"),
    "lone surrogate in a text": (text(text="\udc00 hello"), INPUT, ""),
    "lone surrogate in the prompt": (talk(prompt="\ud800", portrait="library:no"), INPUT, ""),
    "lone surrogate in a key": (talk(**{"\ud800": 1}), INPUT, ""),
    "NUL in a reference": (talk(portrait="library:a\0.png"), INPUT, "portrait"),
    "NUL in the name": (output(name="a\0"), INPUT, "output.name"),
    "NUL in the prefix": (output(prefix="a\0"), INPUT, "output.prefix"),
    "escapes in the action": (talk(action=ESCAPES), INPUT, "action"),
    "escapes in a field": (talk(**{ESCAPES: 1}), INPUT, ""),
    "escapes in a reference": (talk(portrait="library:" + ESCAPES), INPUT, "portrait"),
    "escapes in an engine": (talk(engine=ESCAPES), INPUT, "engine"),
    "escapes in a voice": (text(voice=ESCAPES), "*", ""),
    "format in the action": (talk(action="{0.__class__}%s%n${7*7}{{7*7}}"), INPUT, "action"),
    "format in an engine": (talk(engine="{x.__init__}%(a)s"), INPUT, "engine"),
    "module as an engine": (talk(engine="os:system"), INPUT, "engine"),
    "module as a voice": (text(voice="subprocess:Popen"), "*", ""),
    "shell as a voice": (text(voice="espeak:en;touch /tmp/owned"), "*", ""),
    "option as a language": (text(language="--version"), "*", ""),
    "path as a language": (text(language="../../../etc/passwd"), "*", ""),
}
KEYS: dict[str, tuple[Any, str, str]] = {
    "__proto__": (keyed("__proto__", {"admin": True}), INPUT, "__proto__"),
    "constructor": (talk(constructor={"prototype": {}}), INPUT, "constructor"),
    "__class__": (keyed("__class__", "os"), INPUT, "__class__"),
    "model_config": (talk(model_config={"extra": "allow"}), INPUT, "model_config"),
    "model_fields": (speaker(model_fields={}), INPUT, "speakers.0.model_fields"),
    "Cyrillic key": (keyed("p\u043ertrait", PICTURE), INPUT, "p\u043ertrait"),
    "key with a joiner": (keyed("portrait\u200d", PICTURE), INPUT, ""),
    "key in capitals": (talk(PORTRAIT=PICTURE), INPUT, "PORTRAIT"),
    "number as a key": ({**GOOD, 5: 5}, INPUT, ""),
    "empty key": (talk(**{"": 1}), INPUT, ""),
    "key of a megabyte": (talk(**{"k" * 1_000_000: 1}), INPUT, ""),
    "ten thousand keys": (talk(**{f"k{n}": n for n in range(10_000)}), INPUT, ""),
    "settings": (talk(store={"kind": "local", "root": "/"}), INPUT, "store"),
    "local_paths": (talk(local_paths=True), INPUT, "local_paths"),
}
DEPTHS: dict[str, tuple[Any, str, str]] = {
    "deep objects": (talk(options=nested(10_000, "object"), engine="draft"), INPUT, ""),
    "deep lists": (talk(options={"a": nested(10_000, "list")}, engine="draft"), INPUT, ""),
    "deep speakers": (talk(speakers=nested(10_000, "list")), INPUT, ""),
    "deep portrait": (talk(portrait=nested(10_000, "object")), INPUT, ""),
    "deep action": (talk(action=nested(10_000, "list")), INPUT, ""),
    "deep JSON text": (talk(portrait="[" * 10_000), INPUT, "portrait"),
    "deep path": (talk(portrait="library:" + "a/" * 10_000), INPUT, "portrait"),
}
PATHS: dict[str, tuple[Any, str, str]] = {
    "prefix up": (output(prefix="../../etc"), INPUT, "output.prefix"),
    "prefix up inside": (output(prefix="a/../../b"), INPUT, "output.prefix"),
    "prefix absolute": (output(prefix="/etc"), INPUT, "output.prefix"),
    "prefix of Windows": (output(prefix="..\\..\\etc"), INPUT, "output.prefix"),
    "name up": (output(name="../x"), INPUT, "output.name"),
    "name of dots": (output(name=".."), INPUT, "output.name"),
    "key up": (talk(idempotency_key="../../x"), INPUT, "idempotency_key"),
    "key absolute": (talk(idempotency_key="/etc/passwd"), INPUT, "idempotency_key"),
    "key of dots": (talk(idempotency_key=".."), INPUT, "idempotency_key"),
    "key with a line end": (talk(idempotency_key="a\n"), INPUT, "idempotency_key"),
    "store by URL": (output(store="https://127.0.0.1/"), UNSUPPORTED, "output.store"),
    "store by path": (output(store="../default"), UNSUPPORTED, "output.store"),
    "library up": (talk(portrait="library:../../../etc/passwd"), INPUT, "portrait"),
    "library absolute": (talk(portrait="library:/etc/passwd"), INPUT, "portrait"),
    "library encoded": (talk(portrait="library:..%2f..%2fetc%2fpasswd"), INPUT, "portrait"),
    "volume up": (talk(portrait="volume:../../etc/passwd"), INPUT, "portrait"),
    "volume absolute": (talk(portrait="volume:/etc/passwd"), INPUT, "portrait"),
    "store up": (talk(portrait="store:../../etc/passwd"), INPUT, "portrait"),
    "a path": (talk(portrait="/etc/passwd"), INPUT, "portrait"),
    "a file URL": (talk(portrait="file:///etc/passwd"), INPUT, "portrait"),
    "a home": (talk(portrait="~/.ssh/id_rsa"), INPUT, "portrait"),
    "a device": (speaker(audio="/dev/zero"), INPUT, "speakers.0.audio"),
    "an environment": (talk(portrait="/proc/self/environ"), INPUT, "portrait"),
    "a pipe of libav": (speaker(audio="pipe:0"), INPUT, "speakers.0.audio"),
    "a list of libav": (speaker(audio="concat:/etc/passwd|/etc/hosts"), INPUT, ""),
    "a subfile of libav": (speaker(audio="subfile,,start,0,,:/etc/passwd"), INPUT, ""),
    "save_as up": ({"action": "portrait", "prompt": "a", "save_as": "../x"}, INPUT, "save_as"),
}
PLACES: dict[str, Any] = {
    "portrait": lambda ref: talk(portrait=ref),
    "video": lambda ref: {"video": ref, "speakers": [{"audio": SOUND}]},
    "source": lambda ref: {"source": ref, "speakers": [{"audio": SOUND}]},
    "speakers.0.audio": lambda ref: speaker(audio=ref),
    "speakers.0.sample": lambda ref: text(sample=ref),
    "sample": lambda ref: {"action": "speak", "text": "Hi", "sample": ref},
}
REFS = ("http://127.0.0.1:6379/", "https://169.254.169.254/latest/meta-data/", "gopher://[::1]/x")
REACHING = {
    f"{ref} as {place}": (make(ref), "*", "") for place, make in PLACES.items() for ref in REFS
}
CONTRADICTIONS: dict[str, tuple[Any, str, str]] = {
    "three sources": (talk(video=PICTURE, source=PICTURE), INPUT, ""),
    "audio and text": (speaker(text="Hi"), INPUT, "speakers.0"),
    "neither": (talk(speakers=[{}]), INPUT, "speakers.0"),
    "two lengths": (talk(duration=1, max_frames=1), INPUT, ""),
    "two sizes": (talk(size={"width": 512, "height": 512, "long": 512}), INPUT, "size"),
    "end before start": (speaker(start=5, end=1), INPUT, "speakers.0"),
    "options for nobody": (talk(options={"blinks": True}), INPUT, ""),
    "options of another engine": (
        talk(engine="draft", options={"motion_frames": 9}),
        INPUT,
        "options.motion_frames",
    ),
    "an option out of range": (talk(engine="draft", options={"mouth": 99}), INPUT, "options.mouth"),
    "an action of later": ({"action": "workflow", "graph": {}}, UNSUPPORTED, "action"),
    "a health with a portrait": ({"action": "health", "portrait": PICTURE}, INPUT, "portrait"),
}
CORPUS = {
    f"{group}: {name}": case
    for group, cases in {
        "shape": SHAPES,
        "number": NUMBERS,
        "text": TEXTS,
        "key": KEYS,
        "depth": DEPTHS,
        "path": PATHS,
        "reach": REACHING,
        "contradiction": CONTRADICTIONS,
    }.items()
    for name, case in cases.items()
}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with recorded(monkeypatch) as seen:
        yield seen


def run(payload: Any, folder: Path) -> Result:
    """Do what a worker does with a payload, in this process."""
    settings = Settings(engine="draft", jobs=folder / "jobs", store=Local(root=folder / "out"))
    with naming(None):
        reading = aliases.read(payload, settings.compat_engines)
        return job.run(parse(reading.payload), Runtime(settings, serving=True))


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 150


@pytest.mark.parametrize("case", CORPUS)
def test_it_is_refused(case: str, tmp_path: Path, network: Network) -> None:
    payload, code, field = CORPUS[case]
    with pytest.raises(TalkheadError) as caught:
        run(payload, tmp_path)
    error = caught.value
    wire = json.dumps(logs.wire(error))
    if code == "*":
        assert error.code in {INPUT, UNSUPPORTED}, wire
    else:
        assert error.code == code, wire[:2000]
    assert not error.retryable
    if field:
        assert field in error.fields, (error.fields[:5], error.message[:500])
    assert error.hint
    assert len(wire) < 20_000
    shown = error.message + error.hint
    assert all(char.isprintable() for char in shown), ascii(shown)[:500]
    assert "root:" not in shown
    assert network.connected == []
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []
