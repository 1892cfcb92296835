"""Real board tops at their pins, for simulation: the Verilog that is synthesized for the board."""

import dataclasses
import re
from pathlib import Path
from unittest.mock import patch

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.sdram import W9825G6_6
from penstock.boards.system import LEDS
from penstock.boards.top import elaborate_top
from penstock.boards.ulx3s_25f import BOARD as ULX3S_25F
from penstock.boards.ulx3s_85f import Ulx3s
from penstock.sim.runner import Build, build_component
from penstock.sim.sdram_board import MESSAGE_BYTES, MODEL, chip_times

FOLDER = Path(__file__).parent
FPGA = "fpga"
"""Module name of the board's top: `top` is that of whatever is simulated."""

CLOCK_HZ = 12_500_000
DIVISOR = 4  # of the clock, to a bit of the serial line
SILENCE = 1e-4
"""Seconds of silence that the link waits for. A simulated clock is that much slower than a real
one, and the host is a real one."""


class Ulx3sAtPins(wiring.Component):
    """A ULX3S with its SDRAM; ``violation`` is the text of the chip's first broken rule, or 0."""

    def __init__(self):
        ports = {"rx": In(1, init=1), "tx": Out(1), "button": In(1), "leds": Out(LEDS)}
        super().__init__({**ports, "violation": Out(8 * MESSAGE_BYTES)})

    def elaborate(self, platform):
        m = Module()
        chip = W9825G6_6
        times = {f"i_{name}": Const(time, 64) for name, time in chip_times(chip, CLOCK_HZ).items()}
        m.submodules.board = Instance(
            "penstock_ulx3s_board",
            p_BANK_BITS=chip.bank_bits,
            p_ROW_BITS=chip.row_bits,
            p_COLUMN_BITS=chip.column_bits,
            p_MESSAGE=MESSAGE_BYTES,
            i_clk=ClockSignal(),
            i_power_up=ResetSignal(),
            i_button=self.button | ResetSignal(),
            i_rx=self.rx,
            o_tx=self.tx,
            o_leds=self.leds,
            o_violation=self.violation,
            **times,
        )
        return m


def build_ulx3s(folder: Path) -> Build:
    """The simulator of the ULX3S-25F's top, whose Verilog goes into the folder.

    Clock and bit rate are its own only in number: a slower clock, four cycles a bit.
    """

    def top(config, clock_hz):
        return Ulx3s(config, clock_hz, baud=clock_hz // DIVISOR)

    board = dataclasses.replace(ULX3S_25F, clock_hz=CLOCK_HZ, top=top)
    with patch("penstock.boards.link.LONGEST_SILENCE", SILENCE):
        verilog = elaborate_top(board).verilog
    path = folder / f"{FPGA}.v"
    path.write_text(re.sub(r"(\bmodule |\\)top\b", rf"\g<1>{FPGA}", verilog))
    sources = [path, MODEL, FOLDER / "ulx3s_board.sv", FOLDER / "ecp5_pads.sv", FOLDER / "ecp5.sv"]
    return build_component(Ulx3sAtPins(), sources=sources)
