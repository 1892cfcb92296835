"""Lattice ECP5: from Verilog to a bitstream, what each tool is told."""

import json
from collections.abc import Mapping

from amaranth.hdl import Instance

from penstock.boards.family import LOG, NETLIST, PLACED, REPORT, TOP, VERILOG, Device, Family
from penstock.boards.floorplan import floorplan
from penstock.boards.output_registers import absorb_output_registers
from penstock.config import Config

BLOCK_RAM_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""(words, bits) of a block RAM. A port that writes parts of a word does so by 9 bits."""

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


MARGIN = 1.02
"""The router is asked for a faster clock: the last analysis counts some paths a little slower."""


class Ecp5(Family):
    """LUT4s (TRELLIS_COMB) and flip-flops, MULT18X18D, block RAMs of 18 kbit (DP16KD)."""

    target = "ecp5"
    nextpnr, packer = "nextpnr-ecp5", "ecppack"
    constraints_suffix, bitstream_suffix, routed = "lpf", "bit", "top.config"
    # It is Verilog, as memories from RTLIL get collision logic.
    yosys_arguments = ["-q", "-l", "yosys.log", "-p", "; ".join(_SCRIPT)]
    primitives = {"dsp": "multipliers (MULT18X18D)", "bram": "block RAMs (DP16KD)"}
    resources = {
        "TRELLIS_COMB": ("lut",),
        "TRELLIS_FF": ("ff",),
        "MULT18X18D": ("dsp",),
        "DP16KD": ("bram",),
    }
    for_clock = ("--tmg-ripup",)
    carry = ("FCI", "FCO")

    def nextpnr_arguments(self, device: Device, seed: int, megahertz: float) -> list[str]:
        return [
            *(*device.nextpnr, "--json", NETLIST, "--lpf", self.constraints_file),
            *("--seed", str(seed)),
            *("--router", "router2", "--timing-allow-fail", "-q", "-l", LOG),
            *("--write", PLACED, "--textcfg", self.routed, "--report", REPORT),
        ]

    def packer_arguments(self, bitstream: str) -> list[str]:
        return ["--compress", "--input", self.routed, "--bit", bitstream]

    def constraints(self, sites: Mapping[str, str], megahertz: int) -> str:
        lines = [f'FREQUENCY PORT "clk" {megahertz} MHZ;']
        lines += [f'LOCATE COMP "{pin}" SITE "{site}";' for pin, site in sites.items()]
        return "\n".join(lines) + "\n"

    def hurried(self, constraints: str, megahertz: float) -> str:
        return f'{constraints}\nFREQUENCY NET "clk" {MARGIN * megahertz:g} MHZ;\n'

    def taken(self, instance: Instance) -> Mapping[str, int]:
        if instance.type == "MULT18X18D":
            return {"dsp": 1}
        if instance.type == "penstock_ram_ecp5_block":
            shape = (instance.parameters[name] for name in ("WIDTH", "DEPTH", "LANES"))
            return {"bram": block_rams(*shape)}
        return {}

    def prepared(self, netlist: str, config: Config | None) -> str:
        content = json.loads(netlist)
        absorb_output_registers(content["modules"][TOP])
        if config:
            floorplan(content["modules"][TOP], config)
        return json.dumps(content)


def block_rams(width: int, depth: int, lanes: int) -> int:
    """Block RAMs that yosys makes of a memory whose words are written in so many equal parts."""
    counts = []
    for words, bits in BLOCK_RAM_SHAPES:
        deep = -(-depth // words)
        if lanes == 1:
            counts.append(deep * -(-width // bits))
        elif bits >= 9:
            parts = lanes * -(-width // lanes // 9)  # of 9 bits
            counts.append(deep * -(-parts // (bits // 9)))
    return min(counts)
