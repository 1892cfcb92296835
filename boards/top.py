"""A board's top as the tools take it: Verilog, and the constraints of its pins and clocks."""

from dataclasses import dataclass

from amaranth.hdl import Fragment

from penstock.boards.description import BoardDescription
from penstock.hw.verilog import header, rtlil_to_verilog

TOP = "top"
"""Name of the top module."""


@dataclass(frozen=True)
class Top:
    """An elaborated top, its Verilog, and its constraints in the format of the device's tool."""

    design: Fragment
    verilog: str
    constraints: str


def elaborate_top(board: BoardDescription) -> Top:
    """The board's top, with the buffers of its pins.

    Amaranth's platform assigns the pins; its own synthesis is left out, as it goes through RTLIL,
    where the memories' ``no_rw_check`` has no effect.
    """
    platform = board.platform()
    design = Fragment.get(board.design(), platform)
    files = platform.prepare(design, TOP, emit_src=False).files
    verilog = header(board.config) + rtlil_to_verilog(files[f"{TOP}.il"])
    return Top(design, verilog, files[f"{TOP}.lpf"])
