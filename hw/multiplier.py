"""The one module that multiplies, so that a target can give its primitive."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

LATENCY = 3
"""Cycles from operands to products: input register, product register, one register in fabric."""


class Multipliers(wiring.Component):
    """``product[i] = left[i] * right[i]``, signed and exact.

    One vector per cycle, latency 3 cycles, no backpressure. On ECP5 each product is one MULT18X18D
    with its own input and output registers; elsewhere a behavioural twin with the same registers.
    """

    def __init__(self, *, count: int, left_bits: int, right_bits: int, target: str):
        self.count = count
        self.left_bits = left_bits
        self.right_bits = right_bits
        self.target = target
        super().__init__(
            {
                "left": In(data.ArrayLayout(signed(left_bits), count)),
                "right": In(data.ArrayLayout(signed(right_bits), count)),
                "product": Out(data.ArrayLayout(signed(left_bits + right_bits), count)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for index in range(self.count):
            product = Signal(signed(self.left_bits + self.right_bits), reset_less=True)
            multiply = self._ecp5 if self.target == "ecp5" else self._behavioural
            m.d.sync += product.eq(multiply(m, index))
            m.d.comb += self.product[index].eq(product)
        return m

    def _behavioural(self, m: Module, index: int):
        left = Signal(signed(self.left_bits), reset_less=True)
        right = Signal(signed(self.right_bits), reset_less=True)
        product = Signal(signed(self.left_bits + self.right_bits), reset_less=True)
        m.d.sync += [
            left.eq(self.left[index]),
            right.eq(self.right[index]),
            product.eq(left * right),
        ]
        return product

    def _ecp5(self, m: Module, index: int):
        # Operands take the high bits, so that their low ones are constants, which need no wire as
        # the copies of a sign would; the product, of as many bits as both, is at the top, too.
        left, right, product = Signal(18), Signal(18), Signal(36)
        m.d.comb += left.eq(self.left[index] << 18 - self.left_bits)
        m.d.comb += right.eq(self.right[index] << 18 - self.right_bits)
        ports = {"i_CLK0": ClockSignal(), "i_CE0": Const(1, 1), "i_RST0": Const(0, 1)}
        ports |= {"i_SIGNEDA": Const(1, 1), "i_SIGNEDB": Const(1, 1)}
        ports |= {"i_SOURCEA": Const(0, 1), "i_SOURCEB": Const(0, 1)}
        ports |= {f"i_A{bit}": left[bit] for bit in range(18)}
        ports |= {f"i_B{bit}": right[bit] for bit in range(18)}
        ports |= {f"o_P{bit}": product[bit] for bit in range(36)}
        m.submodules[f"dsp_{index}"] = Instance(
            "MULT18X18D",
            p_REG_INPUTA_CLK="CLK0",
            p_REG_INPUTA_CE="CE0",
            p_REG_INPUTA_RST="RST0",
            p_REG_INPUTB_CLK="CLK0",
            p_REG_INPUTB_CE="CE0",
            p_REG_INPUTB_RST="RST0",
            p_REG_OUTPUT_CLK="CLK0",
            p_REG_OUTPUT_CE="CE0",
            p_REG_OUTPUT_RST="RST0",
            **ports,
        )
        return product[36 - self.left_bits - self.right_bits :].as_signed()
