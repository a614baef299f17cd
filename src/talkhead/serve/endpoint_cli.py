"""Commands for an endpoint elsewhere: RunPod Serverless, or any server with the same paths."""

from pathlib import Path
from typing import Annotated

import typer

endpoint_app = typer.Typer()


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
