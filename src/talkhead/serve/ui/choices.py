"""What a server's capabilities leave to choose. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Choice = tuple[str, str]  # shown, value

AUTO = "auto"
SIZES: tuple[Choice, ...] = (
    ("Long side 720", "720"),
    ("Square, 512 × 512", "512x512"),
    ("Upright, 720 × 1280", "720x1280"),
    ("Wide, 1280 × 720", "1280x720"),
    ("Long side 1080", "1080"),
)
QUALITIES = {
    "draft": "Draft: quickest",
    "fast": "Fast",
    "balanced": "Balanced",
    "best": "Best: slowest",
}


def engine(ability: Json, name: str) -> Json:
    """Return what is known of an engine; of the operator's default for `auto`."""
    wanted = ability.get("engine") if name == AUTO else name
    return next((item for item in ability.get("engines", ()) if item["name"] == wanted), {})


def engines(ability: Json) -> list[Choice]:
    """Return the engines that can be chosen, the operator's own choice first where there is one."""
    ready = [(str(item["name"]), str(item["name"])) for item in ability.get("engines", ())
             if item.get("ready")]  # fmt: skip
    default = ability.get("engine")
    if default:
        return [(f"Automatic ({default})", AUTO), *ready]
    return ready if ability.get("ours") else [("Automatic", AUTO), *ready]


def first(choices: Sequence[Choice]) -> str:
    """Return the choice to begin with: automatic, or the best engine there is."""
    names = [value for _, value in choices]
    better = [name for name in names if name != "draft"]
    return AUTO if AUTO in names else (better or names or [AUTO])[0]


def sizes(found: Json) -> list[Choice]:
    """Return an engine's own sizes, or those that make sense for an engine without any."""
    own = found.get("sizes") or {}
    if not own:
        return [("Like the picture", ""), *SIZES[1:]]
    presets = [(f"{name}p: {_examples(own[name])}", f"{name}p") for name in sorted(own, key=int)]
    exact = [(f"{w} × {h}", f"{w}x{h}") for name in sorted(own, key=int) for w, h in own[name]]
    return [("Like the picture", ""), *presets, *exact]


def _examples(sides: Sequence[Sequence[int]]) -> str:
    return f"{len(sides)} shapes, nearest to your picture's" if len(sides) > 1 else "one shape"


def qualities(found: Json) -> list[Choice]:
    """Return an engine's qualities; none where it has no such thing."""
    return [(QUALITIES.get(name, name), str(name)) for name in found.get("qualities") or ()]


def voices(ability: Json) -> list[Choice]:
    """Return the voices that can speak."""
    return [(str(item["name"]), str(item["name"])) for item in ability.get("voices", ())
            if item.get("ready")]  # fmt: skip


def library(ability: Json, kind: str) -> list[str]:
    """Return the names of the operator's `pictures` or `sounds`; a plain endpoint tells none.

    What comes with talkhead itself is left out: the page has its own example.
    """
    shelf = ability.get("library") or {}
    return [str(name) for name in shelf.get(kind, ()) if name not in shelf.get("bundle", ())]


def takes_video(ability: Json) -> bool:
    """Return whether any engine that is ready takes a video in place of the portrait."""
    return any(
        item.get("ready") and item.get("accepts_video") for item in ability.get("engines", ())
    )


def takes_two(found: Json) -> bool:
    """Return whether an engine takes two speakers; one that says nothing is asked."""
    return int(found.get("max_speakers") or 2) >= 2
