"""A board's top as the tools take it: Verilog, and the constraints of its pins and clocks."""

from dataclasses import dataclass

from amaranth.hdl import Fragment

from penstock.boards.description import BoardDescription
from penstock.boards.family import TOP
from penstock.errors import PenstockError
from penstock.hw.verilog import header, rtlil_to_verilog


@dataclass(frozen=True)
class Top:
    """A top's Verilog, its constraints in the format of the device's tool, and its clock."""

    verilog: str
    constraints: str
    megahertz: float


def elaborate_top(board: BoardDescription) -> Top:
    """The board's top, with the buffers of its pins.

    Raises PenstockError where it takes more multipliers or block RAMs than the device has.
    Amaranth's platform assigns the pins; its own synthesis is left out, as it goes through RTLIL,
    where the memories' ``no_rw_check`` has no effect.
    """
    platform = board.platform()
    design = Fragment.get(board.design(), platform)
    _check_fits(board, design)
    files = platform.prepare(design, TOP, emit_src=False).files
    verilog = header(board.config) + rtlil_to_verilog(files[f"{TOP}.il"])
    constraints = files[f"{TOP}.{board.device.family.constraints_suffix}"]
    return Top(verilog, constraints, board.clock_hz / 1e6)


def _check_fits(board: BoardDescription, design: Fragment):
    names = board.device.family.primitives
    for resource, needed in board.device.primitives(design).items():
        there = getattr(board.device, resource)
        if needed > there:
            raise PenstockError(
                f"{board.name}: configuration {board.config.name} needs {needed:,} "
                f"{names[resource]}, {board.device.name} has {there:,}"
            )
