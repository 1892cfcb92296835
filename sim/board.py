"""Real board tops at their pins, for simulation: the Verilog that is synthesized for the board."""

import dataclasses
import re
from pathlib import Path
from unittest.mock import patch

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.description import BoardDescription
from penstock.boards.icebreaker import BOARD as ICEBREAKER
from penstock.boards.icebreaker import Icebreaker
from penstock.boards.sdram import W9825G6_6
from penstock.boards.system import LEDS
from penstock.boards.top import elaborate_top
from penstock.boards.ulx3s_25f import BOARD as ULX3S_25F
from penstock.boards.ulx3s_85f import Ulx3s
from penstock.sim.netlist import cell_models
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

    board = dataclasses.replace(ULX3S_25F, clock_hz=CLOCK_HZ)
    sources = [_top(board, Ulx3s, folder), MODEL]
    sources += [FOLDER / "ulx3s_board.sv", FOLDER / "ecp5_pads.sv", FOLDER / "ecp5.sv"]
    return build_component(Ulx3sAtPins(), sources=sources)


class IcebreakerAtPins(wiring.Component):
    """An iCEBreaker with the part that can be broken off."""

    def __init__(self):
        ports = {"rx": In(1, init=1), "tx": Out(1), "button": In(1), "leds": Out(LEDS)}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.board = Instance(
            "penstock_icebreaker_board",
            i_clk=ClockSignal(),
            i_button=self.button | ResetSignal(),
            i_rx=self.rx,
            o_tx=self.tx,
            **{f"o_{name}": self.leds[name] for name, _ in LEDS},
        )
        return m


def build_icebreaker(folder: Path) -> Build:
    """As `build_ulx3s`, at the board's own clock, with yosys' models of the iCE40's primitives."""
    models = folder / "cells.v"
    models.write_text(cell_models(["SB_MAC16", "SB_SPRAM256KA"]))
    sources = [_top(ICEBREAKER, Icebreaker, folder), models]
    sources += [FOLDER / "icebreaker_board.sv", FOLDER / "ice40_pads.sv"]
    return build_component(IcebreakerAtPins(), sources=sources)


def _top(board: BoardDescription, top: type, folder: Path) -> Path:
    """The board's Verilog, of a module FPGA, its line at DIVISOR and its link's SILENCE."""

    def faster(config, clock_hz):
        return top(config, clock_hz, baud=clock_hz // DIVISOR)

    with patch("penstock.boards.link.LONGEST_SILENCE", SILENCE):
        verilog = elaborate_top(dataclasses.replace(board, top=faster)).verilog
    path = folder / f"{FPGA}.v"
    path.write_text(re.sub(r"(\bmodule |\\)top\b", rf"\g<1>{FPGA}", verilog))
    return path
