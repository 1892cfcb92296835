"""Requantization on three multipliers, one result a cycle."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.compact.layouts import SUM_BITS
from penstock.hw.compact.multiply import MultiplyAdder

SPLIT = 15
"""Low bits of a sum that one signed 16-bit operand takes."""

TOTAL_BITS = 42
LATENCY = 2
"""Cycles from a sum to its value."""


class Requantizer(wiring.Component):
    """``value = sat((sum*M + B + r*Mr + rounding) >> S)``, to 0..255 or -128..127.

    With ``relu_before_add`` the first two terms are clipped at 0. ``total`` is the sum of the
    terms. One result per cycle, latency 2 cycles from ``sum``; ``residual`` comes a cycle before
    its sum, ``valid`` a cycle behind it; the result holds until the next valid one. No
    backpressure. M, B, Mr and rounding, 2^(S-1), lie in the multipliers' registers:
    ``word`` is loaded there 16 bits at a time, while nothing is under way.
    """

    def __init__(self, *, target: str):
        self.target = target
        loads = ("multiplier", "bias_low", "bias_high")
        loads += ("residual_multiplier", "rounding_low", "rounding_high")
        super().__init__(
            {
                "sum": In(signed(SUM_BITS)),
                "valid": In(1),
                "residual": In(signed(9)),
                "relu_before_add": In(1),
                "output_signed": In(1),
                "shift": In(5),
                "word": In(16),
                "load": In(data.StructLayout({name: 1 for name in loads})),
                "value": Out(8),
                "total": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        held = {"target": self.target, "holds_left": True}
        m.submodules.low = low = MultiplyAdder(holds_addend=True, **held)
        m.submodules.high = high = MultiplyAdder(**held)
        m.submodules.residual = residual = MultiplyAdder(
            holds_addend=True, registers_right=True, **held
        )
        biased = Signal(signed(32 + SPLIT))
        total = Signal(signed(TOTAL_BITS), reset_less=True)
        m.d.comb += [
            low.right.eq(Cat(self.sum[:SPLIT], Const(0, 1))),
            high.right.eq(self.sum[SPLIT:].as_signed()),
            residual.right.eq(self.residual),
            high.addend.eq(low.o >> SPLIT),
            biased.eq(Cat(low.o[:SPLIT], high.o)),
        ]
        for unit in (low, high, residual):
            m.d.comb += [
                unit.left.eq(self.word),
                unit.load_left.eq(self.load.multiplier),
                unit.load_low.eq(self.load.bias_low),
                unit.load_high.eq(self.load.bias_high),
            ]
        for unit in (low, residual):
            m.d.comb += unit.addend.eq(Cat(self.word, self.word))
        m.d.comb += [
            residual.load_left.eq(self.load.residual_multiplier),
            residual.load_low.eq(self.load.rounding_low),
            residual.load_high.eq(self.load.rounding_high),
        ]
        negative = self.relu_before_add & biased[-1]
        with m.If(self.valid):
            m.d.sync += total.eq(Mux(negative, 0, biased) + residual.o)
        m.d.comb += self.total.eq(total)
        self._saturate(m, total)
        return m

    def _saturate(self, m: Module, total):
        """total >> shift, in two shifts, of which the first one looks at all higher bits."""
        sign = total[-1]
        coarse = Signal(16)
        beyond = Signal()  # some higher bit differs from the sign
        for step in range(4):
            with m.If(self.shift[3:] == step):
                bits = total[8 * step :][:16]
                m.d.comb += coarse.eq(bits)
                m.d.comb += beyond.eq(
                    (total[8 * step + 16 :] ^ sign.replicate(26 - 8 * step)).any()
                )
        fine = Signal(signed(17))
        m.d.comb += fine.eq(Cat(coarse, sign).as_signed() >> self.shift[:3])
        outside = Signal()
        m.d.comb += outside.eq(
            beyond
            | (fine[8:16] ^ sign.replicate(8)).any()
            | (self.output_signed & (fine[7] ^ sign))
        )
        with m.If(self.output_signed):
            m.d.comb += self.value.eq(Mux(outside, Cat((~sign).replicate(7), sign), fine[:8]))
        with m.Else():
            m.d.comb += self.value.eq(Mux(sign, 0, Mux(outside, 255, fine[:8])))
