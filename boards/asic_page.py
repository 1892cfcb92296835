"""The tables of `penstock synth --liberty`: one page of Markdown, and lines for the terminal."""

from collections.abc import Iterable, Mapping, Sequence

_HEAD = """\
# The core in standard cells

Written by `{command}`.

Library {library}; kGE: area in thousands of its NAND2 of {nand2:g}; yosys {yosys}.

MACs are multipliers of the array; a path is the longest one, up to the next clock edge.

Mapped only: no wires, no placement, no clock tree, one corner. Memories are black boxes: their area
is not in any figure, and a path from or to one begins or ends with no time of its own.
"""


def page(record: Mapping) -> str:
    """Markdown of the record that `penstock synth --liberty` writes as JSON."""
    designs = record["configurations"]
    library = record["library"]
    parts = [
        _HEAD.format(
            command=record["command"],
            library=library["name"],
            nand2=library["nand2_area"],
            yosys=record["yosys"],
        ),
        markdown(*summary(designs)),
    ]
    for design in designs:
        parts.append(f"## {design['name']}\n")
        parts.append(markdown(*block_table(design)))
        parts.append("Memories for a memory compiler:\n")
        parts.append(markdown(*memory_table(design)))
        parts.append(_small_memories(design))
    return "\n".join(parts)


def summary(designs: Sequence[Mapping]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Heads and rows: each configuration's whole core and its array."""
    heads = (
        *("configuration", "MACs", "cells", "flip-flops", "area", "kGE", "path, ns", "MHz"),
        *("array: area", "kGE", "path, ns"),
    )
    rows = []
    for design in designs:
        core, array = design["core"], design["blocks"]["array"]
        rows.append(
            (
                design["name"],
                f"{design['multipliers']:,}",
                f"{core['cells']:,}",
                f"{core['flip_flops']:,}",
                *_sizes(core),
                _time(core),
                f"{1e3 / core['path']['time']:.0f}",
                *_sizes(array),
                _time(array),
            )
        )
    return heads, rows


def block_table(design: Mapping) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Heads and rows: each block of one configuration."""
    heads = (
        *("block", "cells", "flip-flops", "area", "kGE", "of the core", "path, ns"),
        *("gates", "from", "to"),
    )
    rows = []
    for name, block in {**design["blocks"], "core": design["core"]}.items():
        path = block["path"]
        rows.append(
            (
                name,
                f"{block['cells']:,}",
                f"{block['flip_flops']:,}",
                *_sizes(block),
                f"{block['area'] / design['core']['area']:.1%}",
                _time(block),
                *((str(path["cells"]), path["start"], path["end"]) if path else ("", "", "")),
            )
        )
    return heads, rows


def memory_table(design: Mapping) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Heads and rows: each size of memory of one configuration."""
    heads = (
        *("module", "words x bits", "write enables", "ports", "read latency", "how many", "block"),
        "bits in all",
    )
    rows = [
        (
            memory["module"],
            f"{memory['words']:,} x {memory['width']}",
            str(memory["lanes"]),
            "1 write, 1 read",
            "1 cycle",
            str(memory["count"]),
            memory["block"],
            f"{memory['words'] * memory['width'] * memory['count']:,}",
        )
        for memory in design["memories"]
    ]
    return heads, rows


def _small_memories(design: Mapping) -> str:
    small = design["small_memories"]
    bits = sum(memory["words"] * memory["width"] for memory in small)
    names = ", ".join(
        f"{memory['instance']} {memory['words']} x {memory['width']}" for memory in small
    )
    return f"{bits:,} of the flip-flops are small memories: {names}.\n"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sizes(found: Mapping) -> tuple[str, str]:
    return f"{found['area']:,.0f}", f"{found['kilogates']:,.1f}"


def _time(found: Mapping) -> str:
    return f"{found['path']['time']:.3f}" if found["path"] else ""
