"""docs/older_payloads.md, made from the tables: `python -m talkhead.aliases.document > ...`."""

import sys
from collections.abc import Iterable, Mapping

from talkhead.aliases.families import FAMILIES
from talkhead.aliases.family import COMMON, OUTPUT, Family, Key
from talkhead.aliases.graph import FPS, FRAMES, HEIGHT, ROLES, WIDTH
from talkhead.aliases.keys import MOUNTS

# The names under which older payloads hand an engine its own options, and what each one means.
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "infinitetalk": {
        "motion_frames": "frames of one window that the next one continues from; 1 + 4n",
        "window": "frames of one window; 1 + 4n",
        "color_strength": "0 to 1, how far the colours are held to the first picture",
        "audio_scale": "strength of the speech",
        "normalize_loudness": "bring the speech to a common loudness first",
        "teacache_threshold": "reuse of steps; unset is off",
        "apg": "adaptive projected guidance",
        "apg_momentum": "its momentum",
        "apg_norm_threshold": "its limit of the norm",
        "vae_tiling": "decode in tiles, for less memory",
    },
    "omniavatar": {
        "overlap": "frames of one chunk that the next one continues from; 1 + 4n",
        "max_tokens": "tokens of one chunk, which set its length",
        "teacache_threshold": "reuse of steps; 0 is off",
    },
    "sonic": {
        "dynamic_scale": "strength of the motion",
        "audio_scale": "strength of the speech",
        "expand_ratio": "how far the crop around the face reaches",
    },
    "wan-animate": {
        "points": "JSON text of the points that mark the person",
        "coordinates": "JSON text of points on the person",
        "neg_coordinates": "JSON text of points beside the person",
    },
    "(portrait maker)": {"model": "the checkpoint's name"},
}

BEFORE = " or ".join(f"`{mount}`" for mount in MOUNTS)
OUTPUTS = ", ".join(f"`{name}`" for name in OUTPUT)
HEAD = f"""# Older payloads

The worker takes the payloads of the systems that it replaces, unchanged, and answers in their
shape: the keys of the old answer stand beside `result`, which is the same for all. This page is
made from the tables that the reader follows (`python -m talkhead.aliases.document`).

- A payload belongs to the first family in the list below that knows it; what stands after "else"
  counts where none does. One that none knows is a
  request of this version: its unknown fields are errors. `portrait`, `source`, `speakers` and an
  `action` of this version always say that a payload is of this version.
- In an older payload every key that is read under another name is a warning (`W_ALIAS`), a key
  without a use here another (`W_IGNORED`), an unknown key another (`W_UNKNOWN`), 30 in all and
  then their number. Keys that contradict each other are E_INPUT_VALIDATION naming both. `null`
  and `""` are keys left out, also where keys tell the family.
- Every family fixes its own engine. Where that engine is not there the answer is E_UNSUPPORTED or
  E_PIPELINE_LOAD, unless the operator puts another one in its place:
  `TALKHEAD_COMPAT_ENGINES='{{"infinitetalk": "draft"}}'`. Then `W_COMPAT_ENGINE` says so and
  names the options that were the first engine's own; sampling stays. Voices (`f5`, `kokoro`) are
  mapped the same way.
- References: a URL, a data: URI, and `library:`, `store:`, `volume:` references stay as they are
  under every key. Beside that `*_url` is a URL, `*_path` a file of a volume (less {BEFORE}
  in front), `*_minio_path` a key of the store, a bare name of SONIC a file of the library. Raw
  base64 is read under `*_base64` and OmniAvatar's `image`, `reference_image` and `audio`, and
  nowhere else.
- Names (users, avatars, tasks, files, parts of a prefix) may be any text. One that is not made of
  letters, digits, ".", "_" and "-" alone, or is over 128 characters, is read as what is left of it
  and eight hex digits of its own: `a b` and `a-b` stay different.
- Seeds: -1 is random, 0 to 2^63-1 stay, any other whole number is taken modulo 2^32.
- `idempotency_key`, `priority`, `deadline_s`, `output` and (for videos) `fit` and `late` may be
  added to any older payload; `output` with {OUTPUTS}
  (`{{"output": {{"url": "public"}}}}` asks for a lasting link).
- Links are signed. `output.url` "auto" among a family's old defaults makes them public where the
  operator's store makes such links, as that family's own worker did.
- A voice's recording under "isolate" is cleaned of music and noise where that is installed
  (`isolate_vocals: "auto"`).
"""

GRAPH = f"""## ComfyUI graphs

Graphs in API format around WanVideoWrapper's InfiniteTalk nodes are read as a talking portrait,
by what their nodes are and how they are linked; any other graph is E_UNSUPPORTED. Where the class
settles nothing (several nodes of one class, or a class of another name), the ids of the WanVideo
worker's graph count: {WIDTH} width, {HEIGHT} height, {FRAMES} frames, {FPS} frames per second,
and those below. What stands in the payload beside the graph comes first. Models, LoRAs and
schedulers are the installation's choice. A separation node on a voice's way reads as
`isolate_vocals: "auto"`.
"""


def page() -> str:
    """Return docs/older_payloads.md."""
    rows = [f"| {family.name} | {family.about} | {_known_by(family)} |" for family in FAMILIES]
    parts = [HEAD, "## Families, in order", _table(("family", "of", "known by"), rows)]
    parts += [_section(family) for family in FAMILIES]
    roles = [
        f"| {', '.join(f'`{name}`' for name in role.classes)} | {role.hint} | {role.about} |"
        for role in ROLES.values()
    ]
    options = [
        f"| {engine} | `{name}` | {meaning} |"
        for engine, names in OPTIONS.items()
        for name, meaning in names.items()
    ]
    parts += [GRAPH, _table(("class", "id", "read for"), roles)]
    parts += ["## Engines' own options", _table(("engine", "option", "meaning"), options)]
    return "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


def _known_by(family: Family) -> str:
    traits = " or ".join(f"`{name}`" for name in family.traits)
    return f"{family.known_by}; else {traits}" if traits else family.known_by


def _table(heads: tuple[str, ...], rows: Iterable[str]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows]
    return "\n".join(lines)


def _section(family: Family) -> str:
    engine = f" Engine: `{family.engine}`." if family.engine else ""
    isolates = " Voices: isolate." if family.isolates or family.name == "wanvideo" else ""
    rows = [_row(name, key) for name, key in family.keys.items()]
    defaults = ", ".join(f"`{path}` {value!r}" for path, value in family.defaults.items())
    lines = [
        f"## {family.name}",
        "",
        f"{family.about}. Action: `{family.action}`.{engine}{isolates}",
        "",
        _table(("key", "read as"), rows),
        "",
        (f"Old defaults: {defaults}." if defaults else "No defaults.") + _by_operator(family),
        "",
        f"Answer: {family.answers}.",
    ]
    return "\n".join(lines)


def _by_operator(family: Family) -> str:
    if not family.operators:
        return ""
    words = ", ".join(f"TALKHEAD_OLDER__{word.upper()}" for word in family.operators)
    return f" An operator may set others: {words}."


def _row(name: str, key: Key) -> str:
    if not key.to:
        why = key.note if key.note.startswith("refused") else f"not used: {key.note}"
        return f"| `{name}` | {why} |"
    return f"| `{name}` | {key.note or ', '.join(f'`{to}`' for to in key.to.split(', '))} |"


def option_names() -> set[str]:
    """Return every engine option that the tables lead to."""
    paths = [key.to for family in FAMILIES for key in {**COMMON, **family.keys}.values()]
    paths += [path for family in FAMILIES for path in family.defaults]
    return {path.removeprefix("options.") for path in paths if path.startswith("options.")}


if __name__ == "__main__":
    sys.stdout.write(page())
