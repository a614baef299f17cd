"""Commands for an endpoint elsewhere: RunPod Serverless, or any server with the same paths."""

from pathlib import Path
from typing import Annotated

import typer

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
    portrait: Annotated[
        str | None, typer.Argument(help="Picture of a face, or a video to dub; any reference.")
    ] = None,
    speech: Annotated[
        list[str] | None, typer.Argument(metavar="[SPEECH]...", help="Recording, one each.")
    ] = None,
    url: Url = None,
    key: Key = None,
    text: Annotated[str | None, typer.Option("--text", "-t", help="Text to speak.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.")] = None,
    engine: Annotated[str | None, typer.Option(help="Engine, as the endpoint has it.")] = None,
    size: Annotated[str | None, typer.Option(help="512x512, 720 or 480p, as for talk.")] = None,
    fit: Annotated[str | None, typer.Option(help="crop, pad or face.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same frames.")] = None,
    transcript: Annotated[str | None, typer.Option(help="Words of the recording.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of the speech.")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice of --text: espeak, …")] = None,
    box: Annotated[
        list[str] | None, typer.Option("--box", help="x0,y0,x1,y1 of a speaker's face; one each.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any field of the request: duration=5.")
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option("--request", help="A request as a JSON file, of an older system too."),
    ] = None,
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
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an output.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result only, as JSON.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show a failure's traceback.")] = False,
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
