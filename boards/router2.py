"""When a routing gets nowhere: nextpnr's router2 has no end of its own."""

import re
from pathlib import Path

from penstock.boards.family import LOG

PATIENCE = 25
"""Iterations without fewer overused wires than ever before, after which a routing may be stuck."""

FEW = 50
"""With so many overused wires or fewer it may take longer, while it has no more than about twice
as many again."""

CLOCK_PATIENCE = 60
"""Iterations with so few, each with late connections, after which the clock will not be met: they
are no fewer than before. A connection is late where the slowest path through it is."""

LONGEST = 300
"""Iterations with so few, after which it will not come to an end."""


def stuck(folder: Path) -> str | None:
    """Why the routing in a folder is hopeless, None while it is not."""
    iterations = _iterations(folder)
    if not iterations:
        return None
    wires = _Count([overused for overused, _ in iterations])
    if wires.waited >= PATIENCE and (wires.least > FEW or wires.last > 2 * wires.least + FEW // 2):
        return wires.told("overused wires", len(iterations))
    late = [late for overused, late in iterations if overused <= FEW]
    recent, before = late[-CLOCK_PATIENCE:], late[:-CLOCK_PATIENCE]
    endless = len(late) > LONGEST and any(late)
    if endless or (before and 0 < min(recent) >= min(before)):
        return _Count(late).told("connections too late for the clock", len(iterations))
    return None


def misses_clock(folder: Path) -> bool:
    """Whether late connections kept the routing in a folder from its end, or may have."""
    iterations = _iterations(folder)
    return any(late for _, late in iterations) and iterations[-1][0] <= FEW


def _iterations(folder: Path) -> list[tuple[int, int]]:
    """Overused wires and late connections after each iteration."""
    log = folder / LOG
    text = log.read_text(errors="replace") if log.exists() else ""
    found = re.findall(r"iter=\d+ .*?overused=(\d+)(?:.*? tmgfail=(\d+))?", text)
    return [(int(overused), int(late or 0)) for overused, late in found]


class _Count:
    """What should become less, iteration by iteration."""

    def __init__(self, counts: list[int]):
        self.last, self.least = counts[-1], min(counts)
        self.waited = len(counts) - 1 - counts.index(self.least)

    def told(self, what: str, iterations: int) -> str:
        return (
            f"routing given up after {iterations} iterations: {self.last} {what}, {self.least} at"
            f" best, {self.waited} iterations ago"
        )
