"""CRC-32 of 16-bit words, four bits at a time."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

POLYNOMIAL = 0xEDB88320  # CRC-32, least significant bit first
RESIDUE = 0xDEBB20E3
"""State behind a message and its own CRC."""

BITS = 4
CYCLES = 16 // BITS
"""Of one word."""


class WordCrc32(wiring.Component):
    """``ok`` when the words since ``restart`` end with the CRC-32 of all before.

    Part ``part`` of ``word`` enters while ``step`` is high, CYCLES cycles a word, latency 1 cycle.
    """

    def __init__(self):
        super().__init__(
            {
                "word": In(16),
                "part": In(range(CYCLES)),
                "step": In(1),
                "restart": In(1),
                "ok": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        state = Signal(32, reset_less=True)
        following = state
        bits = self.word.word_select(self.part, BITS)
        for bit in bits:
            following = (following >> 1) ^ Mux(following[0] ^ bit, POLYNOMIAL, 0)
        with m.If(self.restart):
            m.d.sync += state.eq(-1)
        with m.Elif(self.step):
            m.d.sync += state.eq(following)
        m.d.comb += self.ok.eq(state == RESIDUE)
        return m
