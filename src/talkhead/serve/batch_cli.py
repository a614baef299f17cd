"""The command `talkhead batch`: many requests from one file, results in one folder."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

batch_app = typer.Typer()

File = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="A batch as JSON, or only the list of its items."),
]


@batch_app.command(
    epilog="Examples:\n\n"
    "talkhead batch lessons.json -o lessons\n\n"
    "talkhead batch lessons.json --plan\n\n"
    "talkhead batch --resume 3f2a90c1d4b5e687 -o lessons"
)
def batch(
    file: File = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder to write to; made if missing.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, no more.")] = False,
    resume: Annotated[
        str | None, typer.Option(help="Go on with an unfinished batch, by its id.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result object only, as JSON.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the traceback of a failure.")
    ] = False,
) -> None:
    """Do several requests as one job: files named by index, or by an item's output.name.

    An item that fails does not stop the others; the exit status is 1 then.
    """
    from talkhead.serve import batching, local  # noqa: PLC0415 (keeps --help fast)

    with local.failures(json, verbose=verbose):
        asked = batching.read(file, resume, plan=plan)
        target = batching.files(asked, out, resume, force=force)
    again = f"talkhead batch --resume {{job_id}} -o {shlex.quote(str(target.folder))}"
    with local.failures(json, again, verbose):
        result = batching.run(asked, target, quiet=json)
        sound = batching.told(result, target, json)
    if not sound:
        raise typer.Exit(1)
