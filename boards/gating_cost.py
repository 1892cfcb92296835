"""What gating costs: the core's netlist with it beside the one of the same core without it.

    python -m penstock.boards.gating_cost --config ulx3s-85f --markdown docs/gating_cost.md

Counted in yosys' netlist of the whole core, before placement: LUT4 cells, and the places of LUT4s
that carry chains and distributed RAM take besides.
"""

import argparse
import dataclasses
import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from penstock.boards.family import NETLIST, TOP
from penstock.boards.stand_alone import DEVICES, component, stand_alone
from penstock.boards.synthesis import Flow
from penstock.config import Config
from penstock.configuration_file import load_config
from penstock.errors import PenstockError, SynthesisError
from penstock.network import write_whole
from penstock.output import check_writable

LUT, FLIP_FLOP = "LUT4", "flip-flops"
PLACES = "carry chains", "distributed RAM"
"""Cells that take places of LUT4s, and so are part of what the device has to give."""

CELLS = {
    "LUT4": (LUT, 1),
    "CCU2C": ("carry chains", 2),
    "TRELLIS_DPR16X4": ("distributed RAM", 4),
    "TRELLIS_FF": (FLIP_FLOP, 1),
    "MULT18X18D": ("multipliers", 1),
    "DP16KD": ("block RAMs", 1),
}
"""Type of a cell of ECP5 -> what it takes, and how many of it."""

ROWS = (LUT, *PLACES, "all places of LUT4s", FLIP_FLOP, "multipliers", "block RAMs")


def counts(module: Mapping) -> dict[str, int]:
    """ROWS -> how many, of a top module in yosys' JSON."""
    found: Counter[str] = Counter(dict.fromkeys(ROWS, 0))
    for cell in module["cells"].values():
        if cell["type"] in CELLS:
            resource, number = CELLS[cell["type"]]
            found[resource] += number
    found["all places of LUT4s"] = found[LUT] + sum(found[name] for name in PLACES)
    return dict(found)


def core_counts(config: Config) -> dict[str, int]:
    """Synthesize the core of a configuration of the engine array, for its ECP5, and count."""
    device = DEVICES[config.engine]
    # The clock is a constraint of placement: it makes no difference to the netlist.
    top = stand_alone(component(config, None), device, megahertz=100)
    text = (Flow(device).synthesize(top) / NETLIST).read_text()
    return counts(json.loads(text)["modules"][TOP])


def table(gated: Mapping[str, int], dense: Mapping[str, int]) -> str:
    """A row for each resource: with gating, without, and what of the first gating takes."""
    lines = ["| core | with gating | without | gating takes |", "| --- | --- | --- | --- |"]
    for name in ROWS:
        share = (gated[name] - dense[name]) / max(gated[name], 1)
        lines.append(f"| {name} | {gated[name]:,} | {dense[name]:,} | {share:.1%} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="ulx3s-85f")
    parser.add_argument("--markdown", metavar="FILE.md", help="write the table into this file")
    options = parser.parse_args(arguments)
    try:
        check_writable(options.markdown)
        config = load_config(options.config)
        if config.engine != "array" or not config.gating:
            raise PenstockError("config: must be of the engine array, with gating")
        gated = core_counts(config)
        dense = core_counts(dataclasses.replace(config, gating=False))
    except (PenstockError, SynthesisError) as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 2
    found = table(gated, dense)
    print(found, end="")
    if options.markdown:
        words = ["python", "-m", "penstock.boards.gating_cost", *(arguments or sys.argv[1:])]
        write_whole(Path(options.markdown), _page(config, shlex.join(words), found).encode())
    return 0


def _page(config: Config, command: str, found: str) -> str:
    return (
        "# What gating costs\n\n"
        f"The core of `{config.name}` ({config.multipliers} multipliers) for an ECP5, and the same "
        "core with gating left out\n"
        '(`"gating": false`, see [architecture.md](architecture.md#without-gating)), as yosys '
        "leaves them, between pins\n"
        "that are shift registers. Written by\n\n"
        f"    {command}\n\n"
        f"{found}"
    )


if __name__ == "__main__":
    sys.exit(main())
