"""Bars and strips as SVG whose width follows the page; text stays in the page, at its size.

Lengths are shares of the chart's width. Colours come from classes of the page's style sheet.
"""

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from penstock.report_page.pictures import shades


def bar(parts: Iterable[tuple[str, float, str]], *, mark: float | None = None, label: str) -> str:
    """One horizontal bar of parts (class, share, tooltip), with a mark across it."""
    drawn, start = [], 0.0
    for style, share, tooltip in parts:
        if share > 0:
            where = f'x="{100 * start:.3f}%" width="{100 * share:.3f}%" height="100%"'
            title = f"<title>{escape(tooltip)}</title>"
            drawn.append(f'<rect class="{style}" {where}>{title}</rect>')
        start += share
    if mark is not None:
        place = f"{100 * mark:.3f}%"
        drawn.append(f'<line class="mark" x1="{place}" x2="{place}" y1="0" y2="100%"/>')
    return _svg("bar", "", label, drawn)


def strip(shares: Sequence[float], top: float, *, label: str) -> str:
    """One cell for each channel, side by side, coloured by its share of ``top``."""
    colours = shades(np.asarray(shares, float) / top)
    cells = [
        f'<rect x="{channel}" width="1" height="1" fill="#{bytes(colour).hex()}">'
        f"<title>channel {channel}: {share:.3f}</title></rect>"
        for channel, (share, colour) in enumerate(zip(shares, colours, strict=True))
    ]
    box = f' viewBox="0 0 {len(cells)} 1" preserveAspectRatio="none" shape-rendering="crispEdges"'
    return _svg("strip", box, label, cells)


def _svg(style: str, attributes: str, label: str, drawn: list[str]) -> str:
    head = f'<svg class="{style}" role="img" aria-label="{escape(label)}"{attributes}>'
    return f"{head}{''.join(drawn)}</svg>"
