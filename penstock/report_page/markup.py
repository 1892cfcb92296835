"""Sections, tables and legends of the page, as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

GATING = {"gated": "gating on", "dense": "gating off"}
"""What the page calls the two ways of a run."""


def names(layer: Mapping) -> str:
    """The layers that run as one, escaped."""
    return escape("+".join(map(str, layer["names"])))


def count(number: int, what: str) -> str:
    """A number of things, with the plural's s."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def section(title: str, note: str, content: str, figures: str = "") -> str:
    """``note`` and ``content`` are HTML; so are ``figures``, which are folded away."""
    folded = details("The figures", figures) if figures else ""
    return f'<section>\n<h2>{title}</h2>\n<p class="note">{note}</p>\n{content}{folded}</section>\n'


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """Figures that matter, large: (name, value, note), all HTML."""
    each = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}</dd><dd class="note">{note}</dd></div>'
        for name, value, note in figures
    )
    return f'<dl class="tiles">{each}</dl>\n'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """A key for each (class, text)."""
    keys = "".join(f'<span><i class="key {style}"></i>{text}</span>' for style, text in entries)
    return f'<p class="legend">{keys}</p>\n'


def details(summary: str, content: str, opened: bool = False) -> str:
    """Content that a click unfolds."""
    return (
        f"<details{' open' if opened else ''}>\n<summary>{summary}</summary>\n{content}</details>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>\n'
        for first, *others in rows
    )
    inner = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>"
    return f'<div class="table"><table>\n{inner}</table></div>\n'
