"""The command line. Commands only turn words into a request; heavy imports wait inside them."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from talkhead import __version__
from talkhead.serve.acceptance_cli import acceptance_app
from talkhead.serve.batch_cli import batch_app
from talkhead.serve.endpoint_cli import endpoint_app
from talkhead.serve.hosting_cli import hosting_app
from talkhead.serve.options_cli import (
    Base,
    Boxes,
    EngineName,
    Fit,
    Force,
    Json,
    Language,
    Out,
    Portrait,
    Resume,
    Seed,
    Sets,
    Size,
    Speeches,
    Text,
    Transcript,
    Verbose,
    VoiceName,
)
from talkhead.serve.weights_cli import weights_app

app = typer.Typer(
    name="talkhead",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    help="Turn a portrait and speech into a talking-avatar video.",
    epilog="Example: talkhead talk me.jpg hello.wav -o hello.mp4",
)
jobs_app = typer.Typer(no_args_is_help=True, help="Show and clean unfinished jobs.")
app.add_typer(jobs_app, name="jobs")
app.add_typer(weights_app, name="weights")


def main() -> None:
    """Run the command line and leave with its exit status."""
    app(prog_name="talkhead")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"talkhead {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


@app.command(
    epilog="Examples:\n\n"
    "talkhead talk me.jpg hello.wav -o hello.mp4\n\n"
    'talkhead talk me.jpg --text "Hello there" -o hello.mp4\n\n'
    "talkhead talk two.png anna.wav ben.wav --set turns=in_turn --size 720p\n\n"
    "talkhead talk --resume 3f2a90c1d4b5e687 -o hello.mp4"
)
def talk(
    portrait: Portrait = None,
    speech: Speeches = None,
    text: Text = None,
    out: Out = None,
    engine: EngineName = None,
    size: Size = None,
    fit: Fit = None,
    seed: Seed = None,
    transcript: Transcript = None,
    language: Language = None,
    voice: VoiceName = None,
    box: Boxes = None,
    settings: Sets = None,
    base: Base = None,
    resume: Resume = None,
    thumbnail: Annotated[bool | None, typer.Option(help="Write a JPG beside the video.")] = None,
    score: Annotated[bool | None, typer.Option(help="Measure lip sync when done.")] = None,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a portrait, or the person in a video, speak."""
    from talkhead.serve import console, local, words  # noqa: PLC0415 (keeps --help fast)

    with local.failures(json, verbose=verbose):
        said = words.Said(speech or [], text, voice, transcript, language, box or [])
        payload = local.start(base, resume if portrait is None else None)
        words.talk(payload, portrait, said)
        words.merge(payload, {"engine": engine, "size": size, "fit": fit})
        words.merge(payload, {"sampling": {"seed": seed}})
        words.merge(payload, {"output": {"thumbnail": thumbnail, "score": score}})
        words.assign(payload, settings or [])
        named_after = payload.get("portrait") or payload.get("video")
        file = words.output(out, named_after, ".mp4", force)
        words.keep_inputs(file, payload)
    again = f"talkhead talk --resume {{job_id}} -o {shlex.quote(str(file))}"
    with local.failures(json, again, verbose):
        result = local.run(payload, file, resume=resume, quiet=json)
        console.job_done(result, file, json)


@app.command(
    epilog="Examples:\n\n"
    "talkhead plan me.jpg hello.wav --size 1280x720\n\n"
    "talkhead plan group.jpg hello.wav --faces faces.png"
)
def plan(
    portrait: Portrait = None,
    speech: Speeches = None,
    text: Text = None,
    engine: EngineName = None,
    size: Size = None,
    fit: Fit = None,
    box: Boxes = None,
    settings: Sets = None,
    base: Base = None,
    faces: Annotated[
        Path | None, typer.Option(help="Write a PNG of the portrait with its faces numbered.")
    ] = None,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what `talk` would do: length, size, work, memory, faces. Renders nothing."""
    from talkhead.serve import console, local, words  # noqa: PLC0415

    with local.failures(json, verbose=verbose):
        said = words.Said(speech or [], text, None, None, None, box or [])
        payload = local.start(base, None)
        words.talk(payload, portrait, said)
        words.merge(payload, {"engine": engine, "size": size, "fit": fit, "dry_run": True})
        words.assign(payload, settings or [])
        file = None
        if faces is not None:
            words.merge(payload, {"output": {"faces": True}})
            file = words.output(faces, None, ".png", force)
            words.keep_inputs(file, payload)
        result = local.run(payload, file, quiet=True)
        console.planned(result, file, json)


@app.command(
    epilog="Examples:\n\n"
    'talkhead speak "Good morning" -o morning.wav\n\n'
    'talkhead speak "Bonjour" --voice espeak:fr -o bonjour.wav'
)
def speak(
    text: Annotated[str, typer.Argument(help="The text, or a file that holds it.")],
    out: Out = None,
    voice: VoiceName = None,
    language: Language = None,
    speed: Annotated[float | None, typer.Option(help="1 is the voice's own pace.")] = None,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Turn text into speech."""
    from talkhead.serve import console, local, words  # noqa: PLC0415

    with local.failures(json, verbose=verbose):
        payload: words.Payload = {"action": "speak", "text": words.text_or_file(text)}
        words.merge(payload, {"voice": voice, "language": language, "speed": speed})
        file = words.output(out, "speech", ".wav", force)
        result = local.run(payload, file, quiet=json)
        console.job_done(result, file, json)


@app.command(
    epilog="Examples:\n\n"
    "talkhead check hello.mp4 --transcript hello.txt\n\n"
    "talkhead check hello.mp4 --min r=0.6,auc=0.85 --json"
)
def check(
    video: Annotated[Path, typer.Argument(help="A video of any origin.")],
    speech: Annotated[
        Path | None, typer.Option(help="The speech, where the video's sound holds more.")
    ] = None,
    transcript: Transcript = None,
    phones: Annotated[Path | None, typer.Option(help="JSON list of [phone, start, end].")] = None,
    bars: Annotated[
        str | None, typer.Option("--min", help="Fail below: r=0.6,auc=0.85,dip=0.5,…")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure a video: file facts and lip-sync score."""
    from talkhead.serve import checking, local  # noqa: PLC0415

    with local.failures(json, verbose=verbose):
        passed = checking.check(video, speech, transcript, phones, bars=bars, json=json)
    if not passed:
        raise typer.Exit(1)


@app.command()
def doctor(json: Json = False) -> None:
    """Show what is installed, what is missing and the command that fixes it."""
    from talkhead.serve import doctoring, local  # noqa: PLC0415

    with local.failures(json):
        sound = doctoring.doctor(json)
    if not sound:
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\ntalkhead schema --out talkhead.schema.json\n\n"
    "talkhead schema --openapi --out openapi.json"
)
def schema(
    openapi: Annotated[
        bool, typer.Option("--openapi", help="The HTTP interface, as an OpenAPI document.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None,
    docs: Annotated[
        Path | None, typer.Option(help="Make the tables of this page anew, and print nothing.")
    ] = None,
    force: Force = False,
) -> None:
    """Print the contract for machines: the JSON Schema of requests, results and errors."""
    from talkhead.serve import document, local, schema, words  # noqa: PLC0415

    with local.failures(json=False):
        if docs is not None:
            document.rewrite(docs)
            return
        made = schema.text(schema.openapi() if openapi else schema.json_schema())
        if out is None:
            typer.echo(made, nl=False)
        else:
            words.output(out, None, ".json", force).write_text(made, encoding="utf-8")


@jobs_app.command("list")
def jobs_list(json: Json = False) -> None:
    """Show unfinished jobs, newest first."""
    from talkhead.serve import console, local  # noqa: PLC0415

    with local.failures(json):
        console.jobs(local.unfinished(), json)


@jobs_app.command("clean")
def jobs_clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Whatever their age, except those that run.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete unfinished jobs that are too old or too large; with --all, every one."""
    from talkhead.serve import console, local  # noqa: PLC0415

    with local.failures(json):
        console.cleaned(local.clean(everything), json)


app.add_typer(batch_app)
app.add_typer(hosting_app)
app.add_typer(endpoint_app)
app.add_typer(acceptance_app)
