"""Tables and lines of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from penstock.compiler import LayerReport
from penstock.program import Program
from penstock.registers import COUNTERS
from penstock.report import DENSE, GATED, SUFFIX, first_difference

if TYPE_CHECKING:  # cocotb and Amaranth are slow to import
    from penstock.sim.simulate import Comparison

_HEADINGS = {GATED: "gating on", DENSE: "gating off"}

WIDTH = 110
"""Characters of a line where the output is no terminal."""


def console() -> Console:
    """Standard output; brackets in names are no markup."""
    made = Console(markup=False, highlight=False)
    return made if made.is_terminal else Console(markup=False, highlight=False, width=WIDTH)


def table(title: str, *columns: str) -> Table:
    """An empty table; every column but the first is aligned to the right."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index else "left", no_wrap=not index)
    return made


def program_table(program: Program, layers: list[LayerReport]) -> Table:
    """What each layer of a program costs: steps of one block of pixels, all output channels.

    Mixed steps run in both phases, which is a loss; lane fill is low where a 1x1 layer has less
    than nine channel words, or an image less channels than a word.
    """
    made = table(
        f"Program of {program.network.name} for {program.config.name}",
        *("layer", "blocks", "base steps", "conditional", "mixed", "lane fill", "weight words"),
    )
    for layer in layers:
        loss = layer.mixed_steps / (layer.base_steps + layer.conditional_steps)
        made.add_row(
            "+".join(layer.names),
            f"{layer.blocks:,}",
            f"{layer.base_steps:,}",
            f"{layer.conditional_steps:,}",
            f"{layer.mixed_steps:,} ({loss:.0%})" if loss else "0",
            f"{layer.fill:.0%}",
            f"{layer.weight_words:,}",
        )
    return made


def layer_table(figures: Mapping) -> Table:
    """Measured and modelled cycles of each layer, per image."""
    ways = [gating for gating in (GATED, DENSE) if f"cycles_{SUFFIX[gating]}" in figures]
    columns = ["layer", "MACs, dense", "density"]
    for gating in ways:
        columns += [f"cycles, {_HEADINGS[gating]}", "model"]
    made = table("Layers, per image", *columns)
    for layer in figures["layers"]:
        density = layer["density"] if GATED in ways else None
        cells = ["+".join(layer["names"]), f"{layer['macs_dense']:,}"]
        cells.append("" if density is None else f"{density:.3f}")
        for gating in ways:
            cells.append(f"{layer[f'cycles_{SUFFIX[gating]}']:,.1f}")
            cells.append(f"{layer[f'model_error_{SUFFIX[gating]}']:+.1%}")
        made.add_row(*cells)
    return made


def comparison_table(comparisons: Mapping[bool, list[Comparison]]) -> Table:
    """Layer by layer, whether hardware and golden model agree."""
    made = table(
        "Hardware against golden model",
        *("tensor", "values", *(_HEADINGS[gating] for gating in comparisons)),
    )
    for row in zip(*comparisons.values(), strict=True):
        verdicts = [
            Text(f"{each.mismatches:,} differ", "red")
            if each.mismatches
            else Text("agree", "green")
            for each in row
        ]
        made.add_row(row[0].layer, f"{row[0].elements:,}", *verdicts)
    return made


def counter_table(counters: Mapping[str, int]) -> Table:
    """The counters that are not 0, of all images together."""
    made = table("Counters, all images", "register", "value")
    for name in COUNTERS:
        if counters[name]:
            made.add_row(name, f"{counters[name]:,}")
    return made


def bench_table(result: Mapping) -> Table:
    """Single gated layers at each density."""
    made = table(
        f"Single gated layers on {result['config']}, {design(result)}",
        *("channels", "size", "density", "cycles", "dense", "executed MACs", "over ideal", "model"),
    )
    for row in result["rows"]:
        made.add_row(
            str(row["channels"]),
            f"{row['size']}x{row['size']}",
            f"{row['density']:.3f}",
            f"{row['cycles']:,}",
            f"{row['cycles_dense']:,}",
            f"{row['macs_executed']:,}",
            f"{row['ratio']:.3f}",
            f"{row['model_cycles'] / row['cycles'] - 1:+.1%}",
        )
    return made


def sizes_table(result: Mapping) -> Table:
    """One network on arrays of other sizes."""
    made = table(
        f"{result['network']} on other arrays, by the cycle model, {result['images']} images",
        *(
            "array",
            "multipliers",
            "gating on",
            "off",
            "speed-up",
            "efficiency",
            "utilization",
            "off",
        ),
    )
    for row in result["rows"]:
        made.add_row(
            f"{row['rows']} x {row['lanes']}",
            str(row["multipliers"]),
            f"{row['cycles_gated']:,.0f}",
            f"{row['cycles_dense']:,}",
            f"{row['speedup']:.3f}",
            f"{row['efficiency']:.3f}",
            f"{row['utilization']:.3f}",
            f"{row['utilization_dense']:.3f}",
        )
    return made


def fact_table(title: str, facts: Mapping[str, str]) -> Table:
    """Names and values, without a head."""
    made = Table(title=title, box=None, show_header=False, title_justify="left", title_style="bold")
    made.add_column(style="dim")
    made.add_column()
    for name, value in facts.items():
        made.add_row(name, value)
    return made


def design(figures: Mapping) -> str:
    """Which design ran."""
    return "core alone" if figures["design"] == "core" else f"AXI of {figures['axi_bits']} bits"


def subject(figures: Mapping, images: str = "images") -> str:
    """What ran on what; ``images`` is what its images are called."""
    where = f"{figures['config']}, {design(figures)}"
    return f"{figures['network']} on {where}, {figures['images']} {images}"


def figure_facts(figures: Mapping) -> dict[str, str]:
    """The figures of one or two runs as lines; those that are absent are left out."""
    lines = {
        "cycles per image, gating on": ("cycles_gated", "{:,.1f}"),
        "cycles per image, gating off": ("cycles_dense", "{:,.1f}"),
        "MAC reduction": ("mac_reduction", "{:.3f}x"),
        "speed-up": ("speedup", "{:.3f}x"),
        "efficiency": ("efficiency", "{:.3f} (speed-up / MAC reduction)"),
        "utilization, gating on": ("utilization", "{:.3f}"),
        "utilization, gating off": ("utilization_dense", "{:.3f}"),
        "simulation speed": ("simulation_speed", "{:,.0f} cycles/s"),
    }
    return {
        title: text.format(figures[name])
        for title, (name, text) in lines.items()
        if name in figures
    }


def board_facts(figures: Mapping) -> tuple[str, dict[str, str]]:
    """Title and lines of a run on a board."""
    gating = "on" if figures["gating"] else "off"
    facts = {f"cycles per image, gating {gating}": f"{figures['cycles']:,.1f}"}
    if figures["classes"]:
        facts["classes"] = ", ".join(map(str, figures["classes"]))
    return f"{figures['network']} on {figures['config']}, {figures['images']} images", facts


def show_verdict(output: Console, program: Program, comparisons: Mapping, figures: Mapping):
    """One line: all agree, or the first difference."""
    difference = first_difference(program, comparisons)
    if difference is None:
        output.print(f"{figures['compared']:,} values compared, 0 mismatches", style="green")
        return
    gating, sentence = difference
    differ = f"{figures['mismatches']:,} mismatches in {figures['compared']:,} values"
    output.print(differ, style="red")
    output.print(f"first difference, {_HEADINGS[gating]}: {sentence}", soft_wrap=True)
