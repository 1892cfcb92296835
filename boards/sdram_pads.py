"""From the SDRAM controller's pins to the pads of a board: a register each way."""

from amaranth.hdl import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from penstock.boards.sdram import SdramChip, sdram_pins_signature

LEAD_NS = 2.5
"""By how much the chip's clock leads that of the registers, see docs/boards_memory.md."""

OUTPUTS = "clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm"


class SdramPads(wiring.Component):
    """Registers in the IO cells, one cycle each way, for all pads but the chip's clock.

    ``pads`` are ports of amaranth.lib.io by the names of amaranth-boards' SDRAMResource.
    """

    def __init__(self, chip: SdramChip, pads):
        self.pads = pads
        super().__init__({"pins": In(sdram_pins_signature(chip))})

    def elaborate(self, platform):
        m = Module()
        for name in OUTPUTS:
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(self.pads, name))
            m.d.comb += buffer.o.eq(getattr(self.pins, name))
        m.submodules.dq = buffer = io.FFBuffer("io", self.pads.dq)
        m.d.comb += [
            buffer.o.eq(self.pins.dq.o),
            buffer.oe.eq(self.pins.dq.oe),
            self.pins.dq.i.eq(buffer.i),
        ]
        return m
