"""Commands for an endpoint elsewhere: RunPod Serverless, or any server with the same paths."""

from pathlib import Path
from typing import Annotated

import typer

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
    Seed,
    Sets,
    Size,
    Speeches,
    Text,
    Transcript,
    Verbose,
    VoiceName,
)

endpoint_app = typer.Typer()

Url = Annotated[
    str | None,
    typer.Option(
        "--endpoint", help="https://api.runpod.ai/v2/ID, or a server; TALKHEAD_ENDPOINT__URL."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(help="What is shown there; better in TALKHEAD_ENDPOINT__KEY or RUNPOD_API_KEY."),
]


@endpoint_app.command(
    epilog="Examples:\n\n"
    "talkhead submit me.jpg hello.wav --endpoint https://api.runpod.ai/v2/ID -o hello.mp4\n\n"
    "talkhead submit --request job.json --detach\n\n"
    "talkhead submit --watch 1f0c-e1 -o hello.mp4"
)
def submit(
    portrait: Portrait = None,
    speech: Speeches = None,
    url: Url = None,
    key: Key = None,
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
    thumbnail: Annotated[bool | None, typer.Option(help="Save a JPG beside the video.")] = None,
    score: Annotated[bool | None, typer.Option(help="Measure lip sync when done.")] = None,
    watch: Annotated[
        str | None, typer.Option(metavar="JOB_ID", help="Watch a job that was sent before.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Print the job's id and leave at once.")
    ] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Ctrl-C also ends the job.")
    ] = False,
    force: Force = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Have an endpoint do the work: send a request, watch it, fetch the video."""
    from talkhead.serve import endpoint, local, submitting, travel, words  # noqa: PLC0415
    from talkhead.settings import load  # noqa: PLC0415

    with local.failures(json, verbose=verbose):
        found = load()
        where = endpoint.chosen(url, key, found)
        wish = submitting.Wish(out, force, thumbnail is True, detach, cancel, json)
        if watch is not None:
            words.alone("--watch", watch, portrait, base, text)
            submitting.watch(watch, where, wish)
            return
        said = words.Said(speech or [], text, voice, transcript, language, box or [])
        payload, extras = words.load_body(base)
        if base is None or portrait is not None or said.given:
            words.talk(payload, portrait, said)
        words.merge(payload, {"engine": engine, "size": size, "fit": fit})
        words.merge(payload, {"sampling": {"seed": seed}})
        words.merge(payload, {"output": {"thumbnail": thumbnail, "score": score}})
        words.assign(payload, settings or [])
        submitting.submit(travel.Body(payload, extras), where, found, wish)


@endpoint_app.command(
    epilog="Examples:\n\n"
    "talkhead deploy --dry-run --image registry.example/talkhead:20261128-0b3e065\n\n"
    "RUNPOD_API_KEY=… talkhead deploy --apply --engine infinitetalk"
)
def deploy(
    file: Annotated[Path, typer.Argument(help="What RunPod is to have.")] = Path(
        "deploy/endpoint.toml"
    ),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the calls; ask nobody, need no key.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Create what is missing, change what differs.")
    ] = False,
    engine: Annotated[str | None, typer.Option(help="In place of the file's own.")] = None,
    image: Annotated[str | None, typer.Option(help="In place of the file's own.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --apply: send also what is the same.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Make a RunPod endpoint what deploy/endpoint.toml says, by RunPod's REST API."""
    from talkhead.errors import Code, TalkheadError  # noqa: PLC0415 (keeps --help fast)
    from talkhead.serve import local  # noqa: PLC0415

    with local.failures(json):
        if dry_run == apply:
            raise TalkheadError(
                Code.INPUT, "say what to do", "--dry-run prints the calls, --apply makes them"
            )
        from talkhead.serve.deploying import showing  # noqa: PLC0415

        if dry_run:
            showing.dry_run(file, engine, image, json)
        else:
            showing.applied(file, engine, image, again=again, as_json=json)
