"""From the words of a command line to the payload of a request. Pure, apart from reading files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talkhead.errors import Code, TalkheadError
from talkhead.media.fetch import SCHEMES

Payload = dict[str, Any]
BESIDE = {"policy", "s3Config", "webhook"}  # what RunPod takes besides `input`


@dataclass(frozen=True, slots=True)
class Said:
    """What the speakers of one command line say."""

    recordings: Sequence[str]
    text: str | None
    voice: str | None
    transcript: str | None
    language: str | None
    boxes: Sequence[str]

    @property
    def given(self) -> bool:
        """Return whether anything was said."""
        words = (self.text, self.voice, self.transcript, self.language)
        return bool(self.recordings or self.boxes or any(word is not None for word in words))


def load(file: Path | None) -> Payload:
    """Return the request in a JSON file, or an empty one."""
    if file is None:
        return {}
    found = unwrapped(_object(file))
    if found.get("action") == "batch":
        hint = f"talkhead batch {file} -o FOLDER"
        raise _wrong(f"{file} holds a batch, of which several files come", hint, ["action"])
    return found


def load_body(file: Path | None) -> tuple[Payload, Payload]:
    """Return the request in a JSON file, and what lies beside it for the platform: policy, …"""
    payload = {} if file is None else _object(file)
    wrapped = payload.get("input")
    if not isinstance(wrapped, dict):
        return payload, {}
    extras = {name: value for name, value in payload.items() if name != "input"}
    if unknown := sorted(extras.keys() - BESIDE):
        raise _wrong(
            f"{file}: {unknown[0]!r} beside `input`", f"only {', '.join(sorted(BESIDE))} go there"
        )
    return wrapped, extras


def alone(option: str, *given: object) -> None:
    """Raise where more was given than the option's own value, which is the first."""
    if any(value is not None for value in given[1:]):
        raise _wrong(f"{option} goes without a request", "leave portrait, --text and --request out")


def loaded(file: Path) -> Any:
    """Return what a JSON file holds."""
    try:
        return json.loads(file.read_text())
    except OSError as error:
        raise _wrong(f"cannot read {file}: {error.strerror}", "check the path") from error
    except ValueError as error:
        raise _wrong(f"{file} is not JSON: {error}", "write one JSON object") from error


def unwrapped(payload: Payload) -> Payload:
    """Return the request inside `{"input": {…}}`, or one that stands alone."""
    wrapped = payload.get("input")
    return wrapped if isinstance(wrapped, dict) and len(payload) == 1 else payload


def _object(file: Path) -> Payload:
    payload = loaded(file)
    if not isinstance(payload, dict):
        raise _wrong(f"{file} does not hold a JSON object", "write one JSON object")
    return payload


def talk(payload: Payload, portrait: str | None, said: Said) -> None:
    """Put portrait and speakers into the payload; what is not given stays as it was."""
    if portrait is not None:
        payload["video" if _is_video(portrait) else "portrait"] = reference(portrait)
    speakers = _speakers(said) or _given(payload)
    if not speakers:
        raise _wrong("no speech was given", 'give a recording, or --text "Hello"', ["speakers"])
    if len(said.boxes) > len(speakers):
        raise _wrong("more boxes than speakers", "give one --box for each speaker at most")
    for speaker, box in zip(speakers, said.boxes, strict=False):
        speaker["box"] = _box(box)
    for speaker in speakers if said.language is not None else ():
        speaker["language"] = said.language
    if said.transcript is not None:
        speakers[0]["transcript"] = text_or_file(said.transcript)
    payload["speakers"] = speakers


def _given(payload: Payload) -> list[Payload]:
    """Return the speakers of a request file, checked as far as words are put into them."""
    speakers = payload.get("speakers", [])
    if not isinstance(speakers, list | tuple) or not all(isinstance(s, dict) for s in speakers):
        raise _wrong("speakers: not a list of objects", 'write [{"audio": "a.wav"}]', ["speakers"])
    return list(speakers)


def _speakers(said: Said) -> list[Payload]:
    if said.recordings and said.text is not None:
        raise _wrong("both a recording and --text were given", "give one of them")
    if said.voice is not None and said.text is None:
        raise _wrong("--voice goes with --text", "leave --voice out, or give --text")
    if said.text is not None:
        return [_without_none({"text": text_or_file(said.text), "voice": said.voice})]
    return [{"audio": reference(recording)} for recording in said.recordings]


def merge(payload: Payload, values: Mapping[str, Any]) -> None:
    """Put the values that are set into the payload; mappings are merged."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            if all(part is None for part in value.values()):
                continue
            inner = payload.setdefault(name, {})
            if not isinstance(inner, dict):
                raise _wrong(f"{name}: not an object", "see docs/contract.md", [name])
            merge(inner, value)
        elif value is not None:
            payload[name] = value


def assign(payload: Payload, settings: Sequence[str]) -> None:
    """Apply `a.b=value` words; values are JSON where they can be, else text."""
    for word in settings:
        path, equals, value = word.partition("=")
        if not equals or not path:
            raise _wrong(f"--set {word!r} has no value", "write it as field=value")
        place: Any = payload
        *parents, last = path.split(".")
        for parent in parents:
            place = _inside(place, parent, path)
        _put(place, last, _value(value), path)


def reference(word: str) -> str:
    """Return a media reference; a path becomes absolute, so that a job can be resumed elsewhere."""
    return word if word.startswith(SCHEMES) else str(Path(word).expanduser().absolute())


def _is_video(word: str) -> bool:
    """Return whether a word is the path of a video; what is neither is told of by the job."""
    from talkhead.media.sniff import sniff  # noqa: PLC0415 (keeps --help fast)

    path = Path(word).expanduser()
    try:
        return path.is_file() and sniff(path).family == "video"
    except (TalkheadError, OSError, ValueError):  # a data: URI is no possible path
        return False


def text_or_file(word: str) -> str:
    """Return the text itself, or the text in the file of that name."""
    try:
        is_file = Path(word).is_file()
    except (OSError, ValueError):  # a long text is no possible path
        return word
    if not is_file:
        return word
    try:
        return Path(word).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"cannot read the text in {word}", "save it as UTF-8 text") from error


def output(out: Path | None, named_after: object, suffix: str, force: bool) -> Path:
    """Return the file to write, or raise before any work where it cannot be."""
    file = (out or Path(f"{_stem(named_after)}{suffix}")).expanduser()
    if file.suffix.lower() != suffix:
        raise _wrong(f"{file}: this command writes {suffix} files", f"name it {file.stem}{suffix}")
    if file.is_dir():
        raise _wrong(f"{file} is a folder", f"give a file name: {file / f'out{suffix}'}")
    for target in targets(file):
        if target.exists() and not force:
            raise _wrong(
                f"{target} exists already", "choose another -o, or add --force to replace it"
            )
    _check_writable(file)
    return file


def targets(file: Path) -> list[Path]:
    """Return every file that a job may write for `-o file`: a picture of faces comes alone."""
    beside = () if file.suffix.lower() == ".png" else ("thumbnail.jpg", "result.json")
    return [file, *(file.with_name(f"{file.stem}.{name}") for name in beside)]


def _stem(named_after: object) -> str:
    """Return a name for the output from the portrait's, where that is a plain one."""
    name = named_after if isinstance(named_after, str) else ""
    plain = name.removeprefix("library:")
    return Path(plain).stem if plain and not plain.startswith(SCHEMES) else "talkhead"


def keep_inputs(file: Path, payload: Payload) -> None:
    """Raise where the output would replace one of the inputs, even by force."""
    fields = [payload.get(name) for name in ("portrait", "video", "source")]
    for speaker in _given(payload):
        fields += [speaker.get("audio"), speaker.get("sample")]
    paths = [Path(ref) for ref in fields if isinstance(ref, str) and not ref.startswith(SCHEMES)]
    for target in targets(file):
        if any(_is_same(target, path) for path in paths):
            raise _wrong(f"{target} is an input of this job", "choose another -o")


def _is_same(file: Path, other: Path) -> bool:
    return file.exists() and other.exists() and file.samefile(other)


def _check_writable(file: Path) -> None:
    probe = file.with_name(f".{file.name}.probe")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TalkheadError(
            Code.STORE,
            f"cannot write {file}: {error.strerror}",
            "choose an -o in an existing folder that you may write to",
        ) from error


def _box(word: str) -> list[float]:
    try:
        values = [float(part) for part in word.split(",")]
    except ValueError:
        values = []
    if len(values) != 4:
        raise _wrong(f"--box {word!r} is not a box", "write x0,y0,x1,y1 in pixels")
    return values


def _inside(place: Any, part: str, path: str) -> Any:
    if isinstance(place, list) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, dict):
        return place.setdefault(part, {})
    raise _wrong(f"--set {path}: there is no {part!r}", "see docs/contract.md for the fields")


def _put(place: Any, last: str, value: object, path: str) -> None:
    if not isinstance(place, dict):
        raise _wrong(f"--set {path}: there is no such field", "see docs/contract.md")
    place[last] = value


def _value(word: str) -> object:
    try:
        return json.loads(word)
    except ValueError:
        return word


def _without_none(values: Mapping[str, Any]) -> Payload:
    return {name: value for name, value in values.items() if value is not None}


def _wrong(message: str, hint: str, fields: Sequence[str] = ()) -> TalkheadError:
    return TalkheadError(Code.INPUT, message, hint, fields=fields)
