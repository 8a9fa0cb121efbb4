"""Bars and small curves out of characters, for people at a terminal."""

from collections.abc import Sequence

from rich.console import Console

BAR_CHARS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_STEPS = "▁▂▃▄▅▆▇█"
_PLAIN_STEPS = ".:-=+*#@"


def is_plain(console: Console) -> bool:
    """Whether the terminal cannot show more than ASCII."""
    return not console.encoding.lower().startswith("utf")


def bar(part: int, whole: int, *, plain: bool = False, width: int = BAR_CHARS) -> str:
    """A bar as long as ``part`` of ``whole`` (at most all of it); what is more than nothing is seen."""
    if part <= 0 or whole <= 0:
        return ""
    eighths = max(1, min(part, whole) * width * 8 // whole)
    if plain:
        return "#" * max(1, eighths // 8)
    full, rest = divmod(eighths, 8)
    return _EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")


def curve(points: Sequence[int], *, plain: bool = False) -> str:
    """One character per point, from nothing (a space) to the largest."""
    steps = _PLAIN_STEPS if plain else _STEPS
    most = max(points, default=0)
    return "".join(" " if each <= 0 else steps[min(7, each * 8 // (most + 1))] for each in points)
