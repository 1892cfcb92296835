"""Gowin LittleBee (GW1N): from Verilog to a bitstream, what each tool is told."""

from collections.abc import Mapping

from amaranth.hdl import Instance

from penstock.boards.family import LOG, NETLIST, PLACED, REPORT, TOP, VERILOG, Device, Family
from penstock.hw.compact.ram import MODULE


class Gowin(Family):
    """LUT4s, flip-flops, multipliers of 9x9 bits, block RAMs of 18 kbit (BSRAM).

    ``lut`` counts the places of LUT4s: a bit of a carry chain (ALU) takes one, a RAM16SDP4 four. A
    MULT18X18 is two multipliers. ``chip`` is Project Apicula's name of the die.

    yosys finds the multipliers in the operators: a design is not refused for theirs before
    synthesis. nextpnr has no delays of them: a path through one counts from its outputs only.
    """

    target = "generic"
    nextpnr, packer = "nextpnr-himbaechel-gowin", "gowin_pack"
    constraints_suffix, bitstream_suffix, routed = "cst", "fs", PLACED
    yosys_arguments = [
        *("-q", "-l", "yosys.log", "-p"),
        f"read_verilog {VERILOG}; synth_gowin -top {TOP} -json {NETLIST}",
    ]
    primitives = {"dsp": "multipliers of 9x9 bits", "bram": "block RAMs (BSRAM)"}
    resources = {
        **dict.fromkeys(("LUT1", "LUT2", "LUT3", "LUT4", "ALU"), ("lut",)),
        **dict.fromkeys(("RAM16SDP1", "RAM16SDP2", "RAM16SDP4"), ("lut",) * 4),
        "DFF": ("ff",),
        "MULT9X9": ("dsp",),
        "MULT18X18": ("dsp", "dsp"),
        "BSRAM": ("bram",),
    }
    carry = ("CIN", "COUT")

    def __init__(self, chip: str):
        self.chip = chip

    def nextpnr_arguments(self, device: Device, seed: int, megahertz: float) -> list[str]:
        return [
            *("--device", *device.nextpnr, "--vopt", f"family={self.chip}"),
            *("--json", NETLIST, "--vopt", f"cst={self.constraints_file}"),
            *("--freq", f"{megahertz:g}", "--seed", str(seed)),
            *("--timing-allow-fail", "-q", "-l", LOG),
            *("--write", PLACED, "--report", REPORT),
        ]

    def packer_arguments(self, bitstream: str) -> list[str]:
        return ["-d", self.chip, "-o", bitstream, self.routed]

    def constraints(self, sites: Mapping[str, str], megahertz: int) -> str:
        return "".join(f'IO_LOC "{pin}" {site};\n' for pin, site in sites.items())

    def taken(self, instance: Instance) -> Mapping[str, int]:
        return {"bram": 1} if instance.type == MODULE else {}

    def cell_type(self, cell: Mapping) -> str:
        kind = cell["type"]
        if kind.startswith("DFF"):  # DFFRE, DFFSE and so on
            return "DFF"
        return "BSRAM" if kind in _BLOCK_RAMS else kind


_BLOCK_RAMS = ("DP", "DPX9", "SDP", "SDPX9", "SP", "SPX9", "pROM", "pROMX9")
"""Modes of a BSRAM, as nextpnr names cells."""
