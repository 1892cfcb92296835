"""Real board tops at their pins, for simulation: the Verilog that is synthesized for the board."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.boards.description import BoardDescription, load_board
from penstock.boards.psram import GW1NR_9
from penstock.boards.sdram import W9825G6_6
from penstock.boards.system import LEDS
from penstock.boards.top import elaborate_top
from penstock.sim.netlist import cell_models
from penstock.sim.psram_board import MODEL as PSRAM_MODEL
from penstock.sim.psram_board import REFRESHES, chip_rules
from penstock.sim.runner import Build, build_component
from penstock.sim.sdram_board import MESSAGE_BYTES, chip_times
from penstock.sim.sdram_board import MODEL as SDRAM_MODEL

FOLDER = Path(__file__).parent
FPGA = "fpga"
"""Module name of the board's top: `top` is that of whatever is simulated."""

DIVISOR = 4  # of the clock, to a bit of the serial line
SILENCE = 1e-4
"""Seconds of silence that the link waits for. A simulated clock is that much slower than a real
one, and the host is a real one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What is around an FPGA: module ``penstock_NAME_board`` of ``NAME_board.sv``."""

    name: str
    sources: tuple[Path, ...]
    cells: tuple[str, ...] = ()  # primitives of an iCE40 for which yosys has models
    clock_hz: int | None = None  # in place of the board's
    memory: Callable[[int], Mapping] | None = None
    """Of the clock: what the instance is told of a memory chip, which watches over its rules."""


def _sdram(clock_hz: int) -> dict:
    chip = W9825G6_6
    times = {f"i_{name}": Const(time, 64) for name, time in chip_times(chip, clock_hz).items()}
    sizes = {f"p_{name.upper()}": getattr(chip, name) for name in _SDRAM_SIZES}
    return times | sizes


_SDRAM_SIZES = ("bank_bits", "row_bits", "column_bits")


def _psram(clock_hz: int) -> dict:
    chip = GW1NR_9
    rules = {f"i_{name}": Const(rule, 64) for name, rule in chip_rules(chip, clock_hz).items()}
    sizes = {"p_ADDRESS_BITS": chip.address_bits, "p_ROW_BITS": chip.row_bits}
    return rules | sizes | {"i_refreshes": Const(REFRESHES, 8)}


ULX3S = Surroundings(
    name="ulx3s",
    sources=(SDRAM_MODEL, FOLDER / "ecp5_pads.sv", FOLDER / "ecp5.sv"),
    clock_hz=12_500_000,
    memory=_sdram,
)
SURROUNDINGS = {
    "ulx3s-85f": ULX3S,
    "ulx3s-25f": ULX3S,
    "icebreaker": Surroundings(
        name="icebreaker",
        sources=(FOLDER / "ice40_pads.sv",),
        cells=("SB_MAC16", "SB_SPRAM256KA"),
    ),
    "tang-nano-9k": Surroundings(
        name="tang_nano_9k",
        sources=(PSRAM_MODEL, FOLDER / "gowin_pads.sv"),
        memory=_psram,
    ),
}
"""Board -> what is around its FPGA."""


class BoardAtPins(wiring.Component):
    """A board; ``violation`` is the text of the first rule of its memory chip that was broken."""

    def __init__(self, around: Surroundings, clock_hz: int):
        self.around, self.clock_hz = around, clock_hz
        ports = {"rx": In(1, init=1), "tx": Out(1), "button": In(1), "leds": Out(LEDS)}
        if around.memory:
            ports["violation"] = Out(8 * MESSAGE_BYTES)
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        memory = {}
        if self.around.memory:
            memory = {
                "i_power_up": ResetSignal(),
                "o_violation": self.violation,
                "p_MESSAGE": MESSAGE_BYTES,
                **self.around.memory(self.clock_hz),
            }
        m.submodules.board = Instance(
            f"penstock_{self.around.name}_board",
            i_clk=ClockSignal(),
            i_button=self.button | ResetSignal(),
            i_rx=self.rx,
            o_tx=self.tx,
            o_leds=self.leds,
            **memory,
        )
        return m


def build_board(name: str, folder: Path) -> Build:
    """The simulator of a board, its top's Verilog in the folder: four cycles a bit, SILENCE.

    All else is as on the board, but that a ULX3S has a slower clock. ``name`` is one of
    SURROUNDINGS.
    """
    board, around = load_board(name), SURROUNDINGS[name]
    board = dataclasses.replace(board, clock_hz=around.clock_hz or board.clock_hz)
    sources = [_top(board, folder), FOLDER / f"{around.name}_board.sv", *around.sources]
    if around.cells:
        sources.append(folder / "cells.v")
        sources[-1].write_text(cell_models(around.cells))
    return build_component(BoardAtPins(around, board.clock_hz), sources=sources)


def _top(board: BoardDescription, folder: Path) -> Path:
    """The board's Verilog, of a module FPGA, its line at DIVISOR and its link's SILENCE."""

    def faster(config, clock_hz):
        return board.top(config, clock_hz, baud=clock_hz // DIVISOR)

    with patch("penstock.boards.link.LONGEST_SILENCE", SILENCE):
        verilog = elaborate_top(dataclasses.replace(board, top=faster)).verilog
    path = folder / f"{FPGA}.v"
    path.write_text(re.sub(r"(\bmodule |\\)top\b", rf"\g<1>{FPGA}", verilog))
    return path
