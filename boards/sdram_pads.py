"""From the SDRAM controller's pins to the pads of a board: a register each way, and the clock."""

from amaranth.hdl import Const, Module
from amaranth.lib import io, wiring

from penstock.boards.sdram import SdramChip, sdram_pins_signature

LEAD_NS = 2.5
"""By how much the chip's clock leads that of the registers, see docs/boards_memory.md."""


class SdramPads(wiring.Component):
    """Registers in the IO cells, one cycle each way; the chip's clock is that of ``clock_domain``.

    ``pads`` are those of amaranth-boards' SDRAMResource, requested without buffers. The clock must
    lead that of ``sync`` by LEAD_NS.
    """

    def __init__(self, chip: SdramChip, pads, *, clock_domain: str):
        self.pads = pads
        self.clock_domain = clock_domain
        super().__init__({"pins": wiring.In(sdram_pins_signature(chip))})

    def elaborate(self, platform):
        m = Module()
        for name in ("clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm"):
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(self.pads, name))
            m.d.comb += buffer.o.eq(getattr(self.pins, name))
        m.submodules.dq = buffer = io.FFBuffer("io", self.pads.dq)
        m.d.comb += [
            buffer.o.eq(self.pins.dq.o),
            buffer.oe.eq(self.pins.dq.oe),
            self.pins.dq.i.eq(buffer.i),
        ]
        m.submodules.clk = clock = io.DDRBuffer("o", self.pads.clk, o_domain=self.clock_domain)
        m.d.comb += [clock.o[0].eq(Const(1)), clock.o[1].eq(Const(0))]
        return m
