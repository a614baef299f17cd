"""The words of `talkhead weights`. Heavy imports wait inside the commands."""

from pathlib import Path
from typing import Annotated

import typer

weights_app = typer.Typer(no_args_is_help=True, help="Find, pull, convert and check model weights.")

Names = Annotated[list[str] | None, typer.Argument(help="Sets or files, as `list` shows them.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Into = Annotated[
    Path | None, typer.Option("--into", help="The weights folder. Unset: TALKHEAD_WEIGHTS.")
]


@weights_app.command("list")
def weights_list(names: Names = None, json: Json = False) -> None:
    """Show the sets, or the files of some of them: size, licence, what is here."""
    from talkhead.serve import local, weighing  # noqa: PLC0415 (keeps --help fast)

    with local.failures(json):
        weighing.show(names or [], json)


@weights_app.command(
    "pull",
    epilog="Examples:\n\n"
    "talkhead weights pull infinitetalk-fast --dry-run\n\n"
    "HF_ENDPOINT=https://hf-mirror.com talkhead weights pull infinitetalk-fast",
)
def weights_pull(
    names: Annotated[list[str], typer.Argument(help="Sets or files, as `list` shows them.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show totals, bring nothing.")] = False,
    noncommercial: Annotated[
        bool, typer.Option("--noncommercial", help="Allow licences that forbid commercial use.")
    ] = False,
    into: Into = None,
    deadline: Annotated[float, typer.Option(help="Seconds; what is there then is kept.")] = 86_400,
    json: Json = False,
) -> None:
    """Bring weights to this machine; what is there already is kept and continued."""
    from talkhead.serve import local, weighing  # noqa: PLC0415

    with local.failures(json):
        wanted = weighing.Wanted(tuple(names), into, deadline, noncommercial)
        if dry_run:
            weighing.show_plan(wanted, json)
        else:
            weighing.pull(wanted, json)


@weights_app.command(
    "convert",
    epilog="Examples:\n\n"
    "talkhead weights convert infinitetalk-official\n\n"
    "talkhead weights convert wan-i2v --dtype bf16\n\n"
    "talkhead weights convert omniavatar-14b-merged --dtype bf16",
)
def weights_convert(
    names: Annotated[list[str], typer.Argument(help="Sets (their pickles are meant) or files.")],
    dtype: Annotated[
        str, typer.Option(help="bf16, fp16 or fp32. Unset: each tensor keeps its type.")
    ] = "",
    into: Annotated[
        Path | None, typer.Option("--into", help="Where to write. Unset: TALKHEAD_WEIGHTS.")
    ] = None,
    json: Json = False,
) -> None:
    """Write safetensors of pickles, which alone are loaded, narrower forms, and merged copies."""
    from talkhead.serve import local, weights_making  # noqa: PLC0415

    with local.failures(json):
        weights_making.convert(names, dtype, into, json)


@weights_app.command(
    "prompts", epilog='Example: talkhead weights prompts "a woman is singing" "a man laughs"'
)
def weights_prompts(
    texts: Annotated[
        list[str] | None, typer.Argument(help="Prompts. The engine's own are always among them.")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="bf16, for workers with a GPU, or fp32, for the CPU.")
    ] = "bf16",
    json: Json = False,
) -> None:
    """Encode prompts, so that workers need no text encoder for them."""
    from talkhead.serve import local, weights_making  # noqa: PLC0415

    with local.failures(json):
        weights_making.prompts(texts or [], dtype, json)


@weights_app.command("bundle", epilog="Example: talkhead weights bundle infinitetalk-fast bundle/")
def weights_bundle(
    name: Annotated[str, typer.Argument(metavar="SET", help="A set, as `list` shows them.")],
    into: Annotated[Path, typer.Argument(metavar="DIR", help="New, empty or an earlier bundle.")],
    without_text_encoder: Annotated[
        bool, typer.Option("--without-text-encoder", help="Encoded prompts have to do.")
    ] = False,
    json: Json = False,
) -> None:
    """Fill a folder with one set and no more: to upload, to cache, or to use as it is."""
    from talkhead.serve import local, weights_making  # noqa: PLC0415

    with local.failures(json):
        weights_making.bundle(name, into, without_text_encoder, json)


@weights_app.command("verify")
def weights_verify(names: Names = None, into: Into = None, json: Json = False) -> None:
    """Read weights whole and compare sizes, hashes and forms. Unset: all that are here."""
    from talkhead.serve import local, weighing  # noqa: PLC0415

    with local.failures(json):
        sound = weighing.verify(names or [], into, json)
    if not sound:
        raise typer.Exit(1)


@weights_app.command("locate")
def weights_locate(
    names: Annotated[list[str], typer.Argument(help="Sets or files, as `list` shows them.")],
    into: Into = None,
    json: Json = False,
) -> None:
    """Show where weights lie, or everywhere they were looked for."""
    from talkhead.serve import local, weighing  # noqa: PLC0415

    with local.failures(json):
        found = weighing.locate(names, into, json)
    if not found:
        raise typer.Exit(1)
