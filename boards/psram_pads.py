"""From the PSRAM controller's pins to the pads of a board: a register each way."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from penstock.boards.psram import PsramChip, psram_pins_signature


class PsramPads(wiring.Component):
    """Registers at the pads, one cycle each way; edges of the chip's clock in mid-cycle.

    Commands and words change with the clock's rising edge; ``ck`` changes with its falling edge,
    half a cycle later, and with the falling edge after that comes what the chip has sent. ``pads``
    are ports of amaranth.lib.io by the names of the signature, and ``ck_n``; of each as many as
    the chip has dies, of ``dq`` eight times that.
    """

    def __init__(self, chip: PsramChip, pads):
        self.chip = chip
        self.pads = pads
        super().__init__({"pins": In(psram_pins_signature(chip))})

    def elaborate(self, platform):
        m = Module()
        m.domains.falling = ClockDomain(clk_edge="neg", reset_less=True, local=True)
        m.d.comb += ClockSignal("falling").eq(ClockSignal())
        pins, dies = self.pins, self.chip.dies
        ck = Signal()
        m.d.sync += ck.eq(pins.ck)
        for name, level, domain in (
            ("reset", pins.reset, "sync"),
            ("cs", pins.cs, "sync"),
            ("ck", ck, "falling"),
            ("ck_n", ~ck, "falling"),
        ):
            buffer = io.FFBuffer("o", getattr(self.pads, name), o_domain=domain)
            m.submodules[name] = buffer
            m.d.comb += buffer.o.eq(level.replicate(dies))
        for name, pin in (("rwds", pins.rwds), ("dq", pins.dq)):
            buffer = io.FFBuffer("io", getattr(self.pads, name), i_domain="falling")
            m.submodules[name] = buffer
            m.d.comb += [buffer.oe.eq(pin.oe), pin.i.eq(buffer.i)]
        m.d.comb += m.submodules.dq.o.eq(pins.dq.o)  # rwds is driven low
        return m
