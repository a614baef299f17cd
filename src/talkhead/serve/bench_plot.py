"""The plot of a benchmark, as SVG: for each measure, which share of the jobs took no longer."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any

WIDTH, HEIGHT = 980, 440
PANEL_W, PANEL_H, LEFT, TOP, APART = 390, 280, 64, 84, 96
COLOURS = {"warm": "#2563eb", "cold": "#d97706", None: "#6b7280"}
NAMES = {"warm": "warm", "cold": "cold", None: "start unknown"}
PANELS = (("delay_ms", "delayTime: in the queue"), ("execution_ms", "executionTime: in the worker"))
SHARES = (0.5, 0.9, 0.95, 0.99)  # in these heights lie the percentiles
MOST_TICKS = 9
INK, FAINT = "#111827", "#d1d5db"


def svg(found: Mapping[str, Any]) -> str:
    """Return the plot of a report of `bench_endpoint`."""
    rows = [row for row in found["rows"] if not row["error"]]
    counts = found["summary"]["counts"]
    title = f"{found['endpoint']}, {found['concurrency']} at a time, {found['date']}"
    about = f"{counts['completed']} of {counts['requests']} requests completed"
    shape = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {shape} {font}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 28, title, size=15),
        _text(LEFT, 48, f"{about}; the curves show the share of jobs that took no longer"),
    ]
    for at, (measure, name) in enumerate(PANELS):
        parts += _panel(LEFT + at * (PANEL_W + APART), name, measure, rows)
    parts += _legend(rows)
    return "\n".join([*parts, "</svg>", ""])


def _panel(left: int, name: str, measure: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    bottom = TOP + PANEL_H
    yield _text(left, TOP - 12, name, size=13)
    yield (
        f'<rect x="{left}" y="{TOP}" width="{PANEL_W}" height="{PANEL_H}" fill="none" '
        f'stroke="{FAINT}"/>'
    )
    for share in SHARES:
        y = bottom - share * PANEL_H
        yield _line(left, y, left + PANEL_W, y)
        if share != 0.95:  # its label would touch its neighbours'
            yield _text(left - 6, y + 4, f"{share:.0%}", anchor="end")
    held = {start: _values(rows, measure, start) for start in COLOURS}
    known = [value for values in held.values() for value in values]
    if not known:
        yield _text(left + PANEL_W / 2, TOP + PANEL_H / 2, "not told", anchor="middle")
        return
    low, high = _around(min(known), max(known))
    span = log10(high) - log10(low)

    def across(value: float) -> float:
        return left + PANEL_W * (log10(max(value, low)) - log10(low)) / span

    for tick in _ticks(low, high):
        yield _line(across(tick), TOP, across(tick), bottom)
        yield _text(across(tick), bottom + 18, _time(tick), anchor="middle")
    for start, values in held.items():
        yield from _curve([across(value) for value in values], bottom, COLOURS[start])


def _curve(places: Sequence[float], bottom: int, colour: str) -> Iterator[str]:
    """Draw a step at each value, with a dot at its top."""
    if not places:
        return
    heights = [bottom - PANEL_H * (at + 1) / len(places) for at in range(len(places))]
    path = [f"M{places[0]:.1f},{bottom}"]
    for x, y in zip(places, heights, strict=True):
        path.append(f"H{x:.1f}V{y:.1f}")
    yield f'<path d="{"".join(path)}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in zip(places, heights, strict=True):
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'


def _legend(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    x = LEFT
    for start, colour in COLOURS.items():
        count = sum(row["start"] == start for row in rows)
        if count:
            yield f'<rect x="{x}" y="{HEIGHT - 34}" width="12" height="12" fill="{colour}"/>'
            yield _text(x + 18, HEIGHT - 24, f"{NAMES[start]} ({count})")
            x += 130


def _values(rows: Sequence[Mapping[str, Any]], measure: str, start: str | None) -> list[float]:
    found = [row[measure] for row in rows if row["start"] == start]
    return sorted(max(value, 1.0) for value in found if value is not None)  # ms; log of 0 is none


def _around(low: float, high: float) -> tuple[float, float]:
    """Return the nearest steps at or below the one and at or above the other, never the same."""
    steps = _steps(low, high)
    below = max(step for step in steps if step <= low)
    return below, min(step for step in steps if step >= high and step > below)


def _ticks(low: float, high: float) -> list[float]:
    inside = [step for step in _steps(low, high) if low <= step <= high]
    decades = [step for step in inside if log10(step) == round(log10(step))]
    return inside if len(inside) <= MOST_TICKS else decades


def _steps(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10, 20, … from below the one to above the other."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5)]


def _time(ms: float) -> str:
    return f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s"


def _line(x0: float, y0: float, x1: float, y1: float) -> str:
    ends = f'x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
    return f'<line {ends} stroke="{FAINT}" stroke-dasharray="2 3"/>'


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(text)}</text>"
