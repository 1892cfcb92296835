"""From Verilog to a bitstream of an ECP5: what each tool is told."""

import json

from penstock.boards.devices import Ecp5
from penstock.boards.floorplan import floorplan
from penstock.boards.top import TOP
from penstock.config import Config

VERILOG, CONSTRAINTS, NETLIST = "top.v", "top.lpf", "netlist.json"
PLACED, ROUTED, REPORT = "placed.json", "top.config", "report.json"

_SCRIPT = (
    f"read_verilog {VERILOG}",
    # The library's FIFOs give their memory no attribute; block RAMs are for maps and weights.
    'setattr -set ram_style "distributed" */m:storage',
    # In stages, with `abc` for the LUTs: the `abc9` of yosys 0.70 fails on the whole core.
    f"synth_ecp5 -top {TOP} -run begin:map_luts",
    "techmap -map +/lattice/latches_map.v",
    "abc -dress -lut 4:7",
    "clean",
    f"synth_ecp5 -top {TOP} -run map_cells: -json {NETLIST}",
)
YOSYS = ["-q", "-l", "yosys.log", "-p", "; ".join(_SCRIPT)]
"""VERILOG becomes NETLIST. It is Verilog, as memories from RTLIL get collision logic."""


def floorplanned(netlist: str, config: Config) -> str:
    """A netlist with the sites that the floorplan fixes for the core of that configuration."""
    content = json.loads(netlist)
    floorplan(content["modules"][TOP], config)
    return json.dumps(content)


def nextpnr(device: Ecp5, seed: int) -> list[str]:
    """NETLIST and CONSTRAINTS become PLACED, ROUTED and REPORT."""
    return [
        *(*device.nextpnr, "--json", NETLIST, "--lpf", CONSTRAINTS, "--seed", str(seed)),
        *("--router", "router2", "--timing-allow-fail", "-q", "-l", "nextpnr.log"),
        *("--write", PLACED, "--textcfg", ROUTED, "--report", REPORT),
    ]


def ecppack(bitstream: str) -> list[str]:
    """ROUTED becomes a bitstream."""
    return ["--compress", "--input", ROUTED, "--bit", bitstream]
