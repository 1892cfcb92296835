"""The page of one run: its JSON as HTML, with charts, pictures and tables, in one file.

Without scripts, fonts or anything else from outside. Every text of the JSON is escaped.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from penstock.display import design
from penstock.record import ways
from penstock.registers import COUNTERS
from penstock.report_page import agreement, cycles, gates, traffic
from penstock.report_page.board import board
from penstock.report_page.markup import GATING, count, details, table, tiles

_STYLE = Path(__file__).with_name("style.css")

_DEFINITIONS = {
    "Cycles per image": "from the accepted START to its end, divided by its images. Gating off is "
    "one control bit: the same program on the same hardware, as dense convolutions.",
    "MACs": "multiply-accumulate operations of the whole network, those on padding included. "
    "Executed: those of the base paths, and of the conditional path where a gate opened.",
    "MAC reduction": "dense MACs / executed MACs: what gating promises on paper.",
    "Speed-up": "cycles with gating off / cycles with gating on: what it gives in hardware.",
    "Efficiency": "speed-up / MAC reduction. 1 would be all that the counted MACs promise.",
    "Utilization": "executed MACs / (cycles x multipliers).",
    "Ideal": "executed MACs / multipliers: every multiplier busy in every cycle.",
    "Gate density": "share of the gated outputs whose gate opened, so that they took the "
    "conditional path.",
}

_SECTIONS = cycles.layers, cycles.destinations, gates.layers, gates.pictures, traffic.traffic


def page(run: Mapping, boards: Sequence[Mapping] = ()) -> str:
    """HTML of a run as `penstock.record.load_run` reads it, and of boards of its configuration.

    ``boards`` as `penstock.boards_record.boards_of` finds them.
    """
    body = "".join(section(run) for section in _SECTIONS)
    body += "".join(board(run, each) for each in boards) + agreement.tensors(run)
    title = escape(f"{run['network']} on {run['config']}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}: Penstock run</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n<main>\n{_head(run, title)}{body}{_foot(run)}</main>\n</body>\n</html>\n"
    )


def _head(run: Mapping, title: str) -> str:
    subject = f"{run['multipliers']:,} multipliers, {design(run)}, {count(run['images'], 'image')}"
    meanings = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in _DEFINITIONS.items())
    return (
        f'<header>\n<p class="kicker">Penstock run</p>\n<h1>{title}</h1>\n'
        f'<p class="subject">{escape(subject)}</p>\n{agreement.verdict(run)}'
        + tiles(_key_figures(run))
        + details("What these figures mean", f'<dl class="meanings">{meanings}</dl>')
        + "</header>\n"
    )


def _key_figures(run: Mapping) -> list[tuple[str, str, str]]:
    """(name, value, note) of the figures that matter; those that are absent are left out."""
    figures = []
    if len(ways(run)) == 2:
        cycles = f"{run['cycles_dense']:,.1f} &rarr; {run['cycles_gated']:,.1f} cycles per image"
        figures.append(("Speed-up", f"{run['speedup']:.3f}&times;", cycles))
    else:
        (way,) = ways(run)
        figures.append(("Cycles per image", f"{run[f'cycles_{way}']:,.1f}", GATING[way]))
    if "cycles_gated" in run:
        macs = f"{run['macs_dense']:,} &rarr; {run['macs_executed']:,.0f} MACs per image"
        figures.append(("MAC reduction", f"{run['mac_reduction']:.3f}&times;", macs))
    if len(ways(run)) == 2:
        low, high = run["efficiency_range"]
        note = f"speed-up / MAC reduction; single images {low:.3f} to {high:.3f}"
        figures.append(("Efficiency", f"{run['efficiency']:.3f}", note))
    used = [(run[name], way) for name, way in _UTILIZATIONS if name in run]
    notes = [f"{value:.3f} with {GATING[way]}" for value, way in used[1:]]
    note = "; ".join([f"with {GATING[used[0][1]]}", *notes])
    figures.append(("Utilization", f"{used[0][0]:.3f}", note))
    if "accuracy" in run:
        note = f"of the {count(run['images'], 'simulated image')}, by the hardware's output"
        if "held_out_accuracy" in run:
            share, all_images = run["held_out_accuracy"], run["held_out_images"]
            note += f"; {share:.1%} of {all_images:,} held-out images by the golden model"
        figures.append(("Accuracy", f"{run['accuracy']:.1%}", note))
    return figures


_UTILIZATIONS = ("utilization", "gated"), ("utilization_dense", "dense")


def _foot(run: Mapping) -> str:
    facts = [f"simulated at {run['simulation_speed']:,.0f} cycles a second"]
    if "seed" in run:
        facts.append(f"images drawn by seed {run['seed']}")
    counters = table(
        ("register", *(GATING[way] for way in ways(run))),
        ([name, *(f"{run[f'counters_{way}'][name]:,}" for way in ways(run))] for name in COUNTERS),
    )
    figures = details("Counters, all images", counters)
    return f"<footer>\n{figures}<p>{'; '.join(facts)}.</p>\n</footer>\n"
