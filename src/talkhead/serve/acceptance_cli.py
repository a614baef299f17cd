"""Commands that judge an endpoint: is it right, and how fast is it."""

from pathlib import Path
from typing import Annotated

import typer

from talkhead.serve.endpoint_cli import Key

acceptance_app = typer.Typer()

Url = Annotated[
    str | None,
    typer.Argument(help="https://api.runpod.ai/v2/ID, or a server; TALKHEAD_ENDPOINT__URL."),
]
Base = Annotated[
    Path | None, typer.Option("--request", help="A talk request as a JSON file, for another job.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any field of the request: engine=infinitetalk, size=480p."),
]
Wait = Annotated[float, typer.Option(min=1, help="Seconds that one job may take, queue included.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@acceptance_app.command(
    epilog="Examples:\n\n"
    "talkhead smoke https://api.runpod.ai/v2/ENDPOINT_ID --repeat\n\n"
    "talkhead smoke http://127.0.0.1:8000/v2/local --set engine=draft --min r=0.6,lag_ms=60 --json"
)
def smoke(
    url: Url = None,
    key: Key = None,
    request: Base = None,
    settings: Sets = None,
    size: Annotated[
        str | None, typer.Option(help="Of the video, 256x256; unset: the request's, the plan's.")
    ] = None,
    fps: Annotated[
        str | None, typer.Option(help="Of the video; unset: the request's, the plan's.")
    ] = None,
    bars: Annotated[
        str | None,
        typer.Option("--min", help="Of the lip-sync score; unset: r=0.35,lag_ms=120."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="The operator's prefix, with which every key begins.")
    ] = None,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Send it twice; the second has to come stored.")
    ] = False,
    timeout: Wait = 900,
    json: Json = False,
) -> None:
    """Accept an endpoint or not: run one small job, and check its answer and its video."""
    from talkhead.serve import console, endpoint, following, local, smoke  # noqa: PLC0415
    from talkhead.settings import load  # noqa: PLC0415

    with local.failures(json):
        payload = smoke.asked(request, settings or [])
        wanted = smoke.expected(size, fps, bars, prefix)
        where = endpoint.chosen(url, key, load())
        with (
            where.open() as client,
            console.bar(json) as show,
            local.stop_on_signal() as stop,
        ):
            patience = following.Patience(timeout, stop)
            outcome = smoke.trial(
                client,
                payload,
                wanted,
                patience,
                repeat=repeat,
                told=lambda body: show(*following.moment(body)),
            )
        smoke.show(outcome, where.url, json)
    if not outcome.passed:
        raise typer.Exit(1)


@acceptance_app.command(
    epilog="Examples:\n\n"
    "talkhead bench-endpoint https://api.runpod.ai/v2/ENDPOINT_ID --requests 50 --concurrency 5\n\n"
    "talkhead bench-endpoint http://127.0.0.1:8000 --requests 20 --out bench.json"
)
def bench_endpoint(
    url: Url = None,
    key: Key = None,
    request: Base = None,
    settings: Sets = None,
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="How many to send.")] = 20,
    concurrency: Annotated[
        int, typer.Option(min=1, max=1000, help="How many are under way at a time.")
    ] = 1,
    timeout: Wait = 900,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="JSON file for every row; a plot, .svg, comes beside it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
    json: Json = False,
) -> None:
    """Measure an endpoint: time in the queue and in the worker, of cold and of warm starts."""
    from talkhead.serve import bench_endpoint as bench  # noqa: PLC0415
    from talkhead.serve import console, endpoint, following, local, smoke  # noqa: PLC0415
    from talkhead.settings import load  # noqa: PLC0415

    with local.failures(json):
        payload = smoke.asked(request, settings or [])
        file = None if out is None else bench.target(out, force)
        where = endpoint.chosen(url, key, load())
        with where.open() as client, local.stop_on_signal() as stop:
            asked = bench.Load(requests, concurrency, following.Patience(timeout, stop))
            told = (lambda _row: None) if json else (lambda row: bench.line(row, requests))
            rows = bench.measured(client, payload, asked, told)
        found = bench.report(where.url, payload, asked, rows)
        plot = bench.write(found, file) if file is not None else None
        if json:
            console.as_json(found)
        else:
            bench.show(found)
            if plot is not None:
                console.out(f"rows in {file}, plot in {plot}")
    raise typer.Exit(bench.status(found, stopped=stop.is_set()))
