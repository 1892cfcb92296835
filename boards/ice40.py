"""Lattice iCE40 UltraPlus: from Verilog to a bitstream, what each tool is told."""

from collections.abc import Mapping

from amaranth.hdl import Instance

from penstock.boards.family import LOG, NETLIST, PLACED, REPORT, TOP, VERILOG, Device, Family
from penstock.hw.compact.ram import MODULE

_REGISTERED = "ICESTORM_LC with DFF"


class Ice40(Family):
    """Logic cells (ICESTORM_LC) of a LUT4, a carry and a flip-flop; SB_MAC16, block RAMs of 4 kbit.

    ``lut`` counts logic cells, ``ff`` those of them whose flip-flop is in use.
    """

    target = "ice40"
    nextpnr, packer = "nextpnr-ice40", "icepack"
    constraints_suffix, bitstream_suffix, routed = "pcf", "bin", "top.asc"
    # Without -dsp: all multipliers are instances, and yosys 0.70 breaks those in 8x8 mode.
    yosys_arguments = [
        *("-q", "-l", "yosys.log", "-p"),
        f"read_verilog {VERILOG}; synth_ice40 -device u -top {TOP} -json {NETLIST}",
    ]
    primitives = {"dsp": "multipliers (SB_MAC16)", "bram": "block RAMs (SB_RAM40_4K)"}
    resources = {
        "ICESTORM_LC": ("lut",),
        _REGISTERED: ("lut", "ff"),
        "ICESTORM_DSP": ("dsp",),
        "ICESTORM_RAM": ("bram",),
    }
    carry = ("CIN", "COUT")

    def nextpnr_arguments(self, device: Device, seed: int, megahertz: float) -> list[str]:
        return [
            *(*device.nextpnr, "--json", NETLIST, "--pcf", self.constraints_file),
            *("--seed", str(seed), "--timing-allow-fail", "-q", "-l", LOG),
            *("--write", PLACED, "--asc", self.routed, "--report", REPORT),
        ]

    def packer_arguments(self, bitstream: str) -> list[str]:
        return [self.routed, bitstream]

    def constraints(self, sites: Mapping[str, str], megahertz: int) -> str:
        lines = [f"set_io {pin} {site}" for pin, site in sites.items()]
        return "\n".join([*lines, f"set_frequency clk {megahertz}"]) + "\n"

    def taken(self, instance: Instance) -> Mapping[str, int]:
        return {"SB_MAC16": {"dsp": 1}, MODULE: {"bram": 1}}.get(instance.type, {})

    def cell_type(self, cell: Mapping) -> str:
        if cell["type"] == "ICESTORM_LC" and int(cell["parameters"].get("DFF_ENABLE", "0"), 2):
            return _REGISTERED
        return cell["type"]
