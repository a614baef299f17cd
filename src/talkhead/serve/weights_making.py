"""The bodies of `talkhead weights convert`, `prompts` and `bundle`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from talkhead import registry, weights
from talkhead.errors import Code, TalkheadError
from talkhead.serve import console, weighing
from talkhead.serve.local import stop_on_signal
from talkhead.settings import load
from talkhead.weights import bundle as bundling
from talkhead.weights import convert as converting
from talkhead.weights import forms, locate
from talkhead.weights.stopping import Until
from talkhead.weights.supply import finder, identity, places_of

DAY_S = 86_400.0


def convert(names: Sequence[str], dtype: str, into: Path | None, json: bool) -> None:
    """Convert, with lines as a pull has them, and print what is there now."""
    if dtype and dtype not in forms.DTYPES:
        raise TalkheadError(
            Code.INPUT, f"--dtype {dtype} is not known", f"one of {', '.join(forms.DTYPES)}"
        )
    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings, into)
    if into is not None:  # which says where to write; what it is made of lies where it lay
        where = replace(where, also=(settings.weights, *where.also))
    wanted = converting.Wanted(tuple(names), where.root, dtype)
    with weighing.shown(quiet=json) as (say, report_s), stop_on_signal() as cancel:
        done = converting.convert(wanted, where, known, Until(DAY_S, cancel), say, report_s)
    if json:
        console.as_json(
            [
                {"file": d.file.id, "paths": [str(path) for path in d.paths], "bytes": d.bytes}
                for d in done
            ]
        )
        return
    for made in done:
        for path in made.paths:
            console.out(f"{made.file.id}: {path}")


def prompts(texts: Sequence[str], dtype: str, json: bool) -> None:
    """Encode texts, and the engines' own prompts, for workers without the text encoder."""
    if dtype not in ("bf16", "fp32"):
        raise TalkheadError(Code.INPUT, f"--dtype {dtype} is not known", "bf16 or fp32")
    if lack := registry.missing("infinitetalk"):
        raise TalkheadError(
            Code.UNSUPPORTED, "the text encoder is not installed", registry.install(lack)
        )
    import torch  # noqa: PLC0415 (heavy)

    from talkhead.engines import Supplies, infinitetalk, omniavatar  # noqa: PLC0415
    from talkhead.models.placement import place  # noqa: PLC0415
    from talkhead.models.wan_text import encode_texts  # noqa: PLC0415

    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings)
    own = [text for one in (infinitetalk, omniavatar) for text in (one.PROMPT, one.NEGATIVE_PROMPT)]
    wanted = [*own, *texts]
    supplies = Supplies(finder(where, known), identity, (settings.prompts,), settings.device)
    there = place(supplies)
    there = replace(there, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32)
    encode_texts(supplies.files, supplies.prompts, wanted, there)
    if json:
        console.as_json({"folder": str(settings.prompts), "texts": wanted, "dtype": dtype})
        return
    console.out(f"{len(wanted)} prompts are in {settings.prompts}, encoded in {dtype}")


def bundle(name: str, into: Path, without_text_encoder: bool, json: bool) -> None:
    """Bundle a set, and print how large it is and what to do with it."""
    settings = load(weights_aliases=True)
    known, where = weights.known(settings.weights_manifest), places_of(settings)
    folders = (settings.prompts, *locate.prompt_folders(where))
    done = bundling.bundle(
        bundling.Wanted(name, into, not without_text_encoder, folders), where, known
    )
    if json:
        console.as_json(
            {
                "folder": str(into),
                "set": name,
                "files": [piece.facts for piece in done.pieces],
                "bytes": done.bytes,
                "copied": done.copied,
            }
        )
        return
    console.out(
        f"{into}: {len(done.pieces)} files, {done.bytes / 1e9:.3f} GB, of which "
        f"{done.copied} are copies and the others links"
    )
    console.out(f"use it as it is: TALKHEAD_WEIGHTS={into.absolute()}")
    console.out(f"or as a repo: hf upload-large-folder ORG/NAME {into} --repo-type model")
