"""The tables of docs/weights.md, made from the manifest so that they cannot differ from it."""

from talkhead import weights


def size(file: weights.File) -> str:
    """Return a file's size as people read it."""
    gb = weights.size_gb(file)
    if gb is None:
        return "unknown"
    return f"{gb:.2f} GB" if gb >= 0.005 else "small"


def set_size(chosen: weights.WeightSet) -> str:
    """Return a set's size as people read it; where one part is unknown, what is known."""
    if chosen.about_gb is not None:
        return f"{chosen.about_gb:.1f} GB"
    known = sum(weights.size_gb(file) or 0 for file in chosen.files)
    return f"over {known:.1f} GB" if known >= 0.05 else "unknown"


def licences(chosen: weights.WeightSet) -> str:
    """Return a set's licences in a few words."""
    parts = [f"{repo.terms} ({repo.name})" for repo in chosen.noncommercial]
    forbidden = [f"not for commercial use: {', '.join(parts)}"] if parts else []
    if unstated := len(chosen.unstated):
        forbidden.append(f"not stated: {unstated} repo{'s' if unstated > 1 else ''}")
    return "; ".join(forbidden) or "commercial use allowed"


def page() -> str:
    """Return the tables of sets and files as Markdown."""
    known = weights.manifest()
    lines = ["| set | size | what | licences |", "|---|---|---|---|"]
    lines += [
        f"| `{s.name}` | {set_size(s)} | {s.about} | {licences(s)} |" for s in known.sets.values()
    ]
    lines += ["", "| file | size | repo | path | revision | licence |", "|---|---|---|---|---|---|"]
    lines += [_row(file) for file in known.files.values()]
    return "\n".join(lines)


def _row(file: weights.File) -> str:
    repo = file.repo
    path = f"`{file.path}`" + (f" ({file.note})" if file.note else "")
    revision = "-" if repo.local else f"`{repo.revision}`"
    kept = "made here" if file.merges else "by hand"
    where = kept if repo.local else f"`{repo.name}`"
    licence = repo.licence or "not stated"
    return f"| `{file.id}` | {size(file)} | {where} | {path} | {revision} | {licence} |"
