"""When a routing gets nowhere: nextpnr's router2 has no end of its own."""

import re
from pathlib import Path

from penstock.boards.family import LOG

PATIENCE = 25
"""Iterations without fewer overused wires than ever before, after which a routing may be stuck."""

FEW = 50
"""With so many overused wires or fewer it may take longer, while it has no more than about twice
as many again."""


def stuck(folder: Path) -> str | None:
    """Why the routing in a folder is hopeless, None while it is not."""
    log = folder / LOG
    text = log.read_text(errors="replace") if log.exists() else ""
    counts = [int(count) for count in re.findall(r"iter=\d+ .*?overused=(\d+)", text)]
    if not counts:
        return None
    least = min(counts)
    waited = len(counts) - 1 - counts.index(least)
    if waited < PATIENCE or (least <= FEW and counts[-1] <= 2 * least + FEW // 2):
        return None
    return (
        f"routing given up after {len(counts)} iterations: {counts[-1]} overused wires, {least} at"
        f" best, {waited} iterations ago"
    )
