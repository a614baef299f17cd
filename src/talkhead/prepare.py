"""From files to what an engine takes: voices speak, speech is decoded, the engine prepares."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talkhead.deliver import Ready, main_name
from talkhead.engines import Fitting, Inputs, Phone, Speaker
from talkhead.errors import Code, TalkheadError
from talkhead.folder import Folder, digest
from talkhead.intake import Context
from talkhead.media import clip, isolation, speech
from talkhead.request import Job, Portrait, Speak
from talkhead.result import Notice
from talkhead.stores.local import put_file
from talkhead.survey import Work
from talkhead.voices import Line

QUIET = 1e-3  # of full scale; a recording whose peak is below counts as silent


def speak_texts(work: Work, folder: Folder, context: Context) -> tuple[Path, ...]:
    """Return a sound file for each speaker; texts are spoken into the job folder, once."""
    sounds = []
    for index, speaker in enumerate(work.request.speakers):
        sound = work.files.audio[index]
        if sound is None:
            sound = folder.path / f"voice-{index}.wav"
            line = Line(
                text=speaker.text or "",
                language=speaker.language,
                speed=speaker.speed,
                sample=work.files.samples[index],
                sample_text=speaker.sample_text,
            )
            _speak(line, speaker.voice, sound, context)
        sounds.append(sound)
    return tuple(sounds)


def prepared(
    work: Work, sounds: Sequence[Path], seed: int, folder: Folder, context: Context
) -> dict[str, NDArray[Any]]:
    """Return what the engine prepared: from the folder, or made now and saved there."""
    plan = work.plan
    binding = [plan.width, plan.height, plan.fps, plan.segments, work.view.size, plan.moments]
    folder.agree_plan(digest(binding), len(plan.segments))
    saved = folder.load("prepared")
    if saved is None:
        voices = _isolated(work, sounds, folder, context)
        inputs, heard = _inputs(work, voices, seed, folder)
        inputs, seen = _with_pictures(inputs, work, folder, context)
        arrays = work.engine.prepare(inputs, plan, context.reporter.tick)
        told = {"heard": np.asarray(heard, np.str_), "seen": np.asarray(seen, np.str_)}
        saved = {**told, **arrays}
        folder.save("prepared", saved)
        folder.clear_scratch()
        saved = folder.load("prepared") or saved  # large arrays from their files, not from memory
    return saved


def notices(arrays: Mapping[str, NDArray[Any]]) -> list[Notice]:
    """Return what decoding had to say about speech and source, and the engine about both."""
    return [
        Notice(code=code, message=str(text))
        for name, code in (("heard", "W_SPEECH"), ("seen", "W_SOURCE"), ("warnings", "W_SPEECH"))
        for text in arrays.get(name, ())
    ]


def speak_alone(
    request: Speak, files: Mapping[str, Path], folder: Folder, context: Context
) -> list[Ready]:
    """Speak the text of a `speak` request."""
    line = Line(
        text=request.text,
        language=request.language,
        speed=request.speed,
        sample=files.get("sample"),
        sample_text=request.sample_text,
    )
    out = folder.path / "voice-0.wav"
    _speak(line, request.voice, out, context)
    facts = speech.probe_audio(out, "text")
    return [
        Ready(
            "audio",
            out,
            main_name(request.output, "speech", ".wav"),
            {"seconds": round(facts.seconds, 3), "rate": facts.rate},
        )
    ]


def library_place(request: Portrait, context: Context) -> Path | None:
    """Return where a portrait is kept under its name in the operator's library, if asked for."""
    if request.save_as is None:
        return None
    library = context.runtime.settings.library
    if library is None:
        raise TalkheadError(
            Code.UNSUPPORTED,
            "save_as: this installation keeps no portraits",
            "leave it out, or set TALKHEAD_LIBRARY to a folder",
            fields=["save_as"],
        )
    return library / "avatars" / f"{request.save_as.removesuffix('.png')}.png"


def draw(
    kept: Path | None,
    request: Portrait,
    files: Mapping[str, Path],
    folder: Folder,
    context: Context,
) -> list[Ready]:
    """Draw a portrait, and keep it in the library too where `kept` says so."""
    if kept is not None and kept.exists():
        raise TalkheadError(
            Code.INPUT,
            f"save_as: the name {kept.stem!r} is taken",
            "choose another name",
            fields=["save_as"],
        )
    ready = make("portrait", request, files, folder, context)
    if kept is not None:
        put_file(ready[0].file, kept, create=True)
    return ready


def make(
    kind: str, request: Job, files: Mapping[str, Path], folder: Folder, context: Context
) -> list[Ready]:
    """Let the registered maker of that kind make its files in the job folder."""
    maker = context.runtime.maker(kind, getattr(request, "engine", "default"))
    ready: list[Ready] = maker.make(request, files, folder.path, context.reporter.tick)
    return ready


def _speak(line: Line, name: str | None, out: Path, context: Context) -> None:
    if out.exists():
        return
    voice, variant = context.runtime.voice(name)
    partial = out.with_name(f".{out.stem}.partial.wav")
    phones = voice.speak(replace(line, variant=variant), partial, context.reporter.tick)
    out.with_suffix(".json").write_text(json.dumps(phones))
    partial.replace(out)  # the sound comes last: where it is, its phones are too


def _isolated(
    work: Work, sounds: Sequence[Path], folder: Folder, context: Context
) -> tuple[Path, ...]:
    """Return what the engine hears of each speaker: the sound, or its voice alone if asked for.

    Voices are taken out once and kept; the soundtrack stays the caller's own sound.
    """
    heard = []
    for index, (speaker, sound) in enumerate(zip(work.request.speakers, sounds, strict=True)):
        isolator = context.runtime.isolator() if speaker.isolate_vocals else None
        out = folder.path / f"vocals-{index}.wav"
        if isolator is not None and not out.exists():
            isolation.write_voice(isolator, sound, out, context.reporter.tick)
        heard.append(sound if isolator is None else out)
    return tuple(heard)


def _inputs(
    work: Work, sounds: Sequence[Path], seed: int, folder: Folder
) -> tuple[Inputs, list[str]]:
    """Return the engine's inputs; speech lies in the job folder, memory-mapped."""
    request, view = work.request, work.view
    speakers, heard = [], []
    for index, (speaker, sound) in enumerate(zip(request.speakers, sounds, strict=True)):
        part = work.timeline.parts[index]
        out = folder.path / f".speech-{index}.npy"
        seconds = float(work.plan.frames / work.plan.fps)
        decoded = speech.decode_speech(sound, out, work.engine.spec.sample_rate, part, seconds)
        messages = list(decoded.warnings)
        if part.offset >= seconds:
            messages.append("the video ends before this voice begins")
        elif decoded.peak < QUIET:
            messages.append("the recording is silent, so the mouth stays closed")
        heard += [f"speaker {index + 1}: {message}" for message in messages]
        speakers.append(
            Speaker(
                speech=decoded.samples,
                face=view.faces[index] if view.faces else None,
                transcript=speaker.text or speaker.transcript,
                language=speaker.language,
                phones=known_phones(folder, index, part),
                box=view.boxes[index] if view.boxes else None,
            )
        )
    inputs = Inputs(
        picture=view.picture,
        speakers=tuple(speakers),
        seed=seed,
        bystanders=view.bystanders,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        sampling=request.sampling.model_dump(exclude_none=True),
        options=work.options,
        quality=request.quality,
        memory=Fitting(**request.memory.model_dump()),
        room=folder.room,
    )
    return inputs, heard


def _with_pictures(
    inputs: Inputs, work: Work, folder: Folder, context: Context
) -> tuple[Inputs, list[str]]:
    """Return the inputs with a source video's pictures, which lie in the folder; else as given."""
    view, moments, told = work.view, work.plan.moments, list[str]()
    if view.clip is None:
        return inputs, told
    field, _ = work.request.face_source
    found = clip.read_moments(work.files.picture, moments, field, context.reporter.tick, told)
    with closing(found):
        out = folder.path / ".pictures.npy"
        pictures = clip.write_pictures(found, len(moments), view.fitted, out)
    return replace(inputs, picture=pictures[0], pictures=pictures), told


def known_phones(folder: Folder, index: int, part: speech.Part) -> tuple[Phone, ...] | None:
    """Return the exact phones of a spoken text on the job's timeline, or None."""
    file = folder.path / f"voice-{index}.json"
    known = json.loads(file.read_text()) if file.exists() else None
    if known is None:
        return None
    moved = [Phone(name, start + part.offset, end + part.offset) for name, start, end in known]
    stop = part.offset + part.length
    return tuple(Phone(p.name, p.start, min(p.end, stop)) for p in moved if p.start < stop)
