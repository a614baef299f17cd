"""Commands that take jobs from others: the RunPod worker, the server, the web page."""

import gc
from pathlib import Path
from typing import Annotated

import typer

hosting_app = typer.Typer()


@hosting_app.command(
    epilog="Examples:\n\n"
    "talkhead worker --test-input examples/canonical_talk.json\n\n"
    "talkhead worker --serve --port 8000"
)
def worker(
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve RunPod's paths on this machine, for testing.")
    ] = False,
    host: Annotated[str, typer.Option(help="Where --serve listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Where --serve listens; 0: any free port.")] = 8000,
    test_input: Annotated[
        Path | None,
        typer.Option(help="Run the job in this JSON file as RunPod would; - is stdin."),
    ] = None,
    tied: Annotated[bool, typer.Option("--tied", hidden=True)] = False,
) -> None:
    """Take jobs from RunPod Serverless, or act as if, on this machine."""
    from talkhead.serve import local, working  # noqa: PLC0415

    with local.failures(json=False):
        if test_input is not None:
            status = working.try_out(test_input)
        elif serve:
            working.serve(working.Place(host, port))
            status = 0
        else:
            working.work(tied=tied)
            status = 0
    raise typer.Exit(status)


@hosting_app.command(
    epilog="Examples:\n\ntalkhead serve --port 8000\n\n"
    "TALKHEAD_SERVER__TOKEN=… talkhead serve --host 0.0.0.0"
)
def serve(
    host: Annotated[
        str | None, typer.Option(help="Where to listen; other than loopback needs a token.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Where to listen; 0: any free port.")
    ] = None,
    page: Annotated[bool, typer.Option(help="With the web page.")] = True,
) -> None:
    """Serve RunPod's paths and a web page from this machine, with a queue that survives."""
    from talkhead import registry  # noqa: PLC0415
    from talkhead.serve import local  # noqa: PLC0415

    with local.failures(json=False):
        registry.need("server")
        gc.disable()  # until it serves: to look for garbage while modules load costs a tenth
        from talkhead.serve import serving  # noqa: PLC0415

        serving.serve(host, port, page=page)


@hosting_app.command(
    epilog="Examples:\n\ntalkhead ui\n\ntalkhead ui --endpoint https://api.runpod.ai/v2/ENDPOINT_ID"
)
def ui(
    endpoint: Annotated[
        str | None,
        typer.Option(help="A server or RunPod endpoint elsewhere; unset: one on this machine."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Its key; better typed into the page, under Settings.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the page is on this machine; 0: any.")
    ] = 8000,
) -> None:
    """Show the web page, for this machine or for an endpoint elsewhere."""
    from talkhead import registry  # noqa: PLC0415
    from talkhead.serve import local  # noqa: PLC0415

    with local.failures(json=False):
        for extra in ("server", "ui"):
            registry.need(extra)
        gc.disable()  # as above
        from talkhead.serve import serving  # noqa: PLC0415

        if endpoint is None:
            serving.serve("127.0.0.1", port)
        else:
            serving.show(endpoint, key, port)
