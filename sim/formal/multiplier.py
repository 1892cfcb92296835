"""The multiplier gives exact products, on ECP5 as elsewhere.

The model of MULT18X18D is ours, of the registers in use only, after Lattice's "ECP5 and ECP5-5G
sysDSP Usage Guide" (FPGA-TN-02205); yosys has that primitive as a black box. So what is proven of
the ECP5 variant is how it uses the primitive: which bits, which sign, which latency.
"""

import functools
from pathlib import Path

from amaranth.hdl import Assert, Const, Cover, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.hw.multiplier import LATENCY, Multipliers
from penstock.hw.pipeline import delay
from penstock.sim.formal.prover import ALGEBRA, Proof

MULT18X18D = Path(__file__).parents[1] / "ecp5.sv"


class Products(wiring.Component):
    """Three cycles after the operands: their product."""

    def __init__(self, *, left_bits: int, right_bits: int, target: str):
        self.left_bits, self.right_bits, self.target = left_bits, right_bits, target
        super().__init__({"left": In(signed(left_bits)), "right": In(signed(right_bits))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.multipliers = unit = Multipliers(
            count=1, left_bits=self.left_bits, right_bits=self.right_bits, target=self.target
        )
        m.d.comb += [unit.left[0].eq(self.left), unit.right[0].eq(self.right)]
        left = delay(m, self.left, LATENCY, name="left")
        right = delay(m, self.right, LATENCY, name="right")
        # A cycle later than need be: the base of the induction then has nothing to multiply.
        settled = delay(m, Const(1, 1), LATENCY + 1, name="settled", control=True)
        product = Signal(signed(self.left_bits + self.right_bits))
        m.d.comb += product.eq(left * right)
        with m.If(settled):
            m.d.comb += Assert(unit.product[0] == product)
        lowest = -(1 << self.left_bits - 1), -(1 << self.right_bits - 1)
        m.d.comb += [
            Cover(settled & (left == lowest[0]) & (right == lowest[1])),
            Cover(settled & (product < 0)),
        ]
        return m


PROOFS = [
    Proof(
        block="multiplier",
        name="product",
        configuration=f"{left} x {right} bits, {target}",
        statement="product = left * right, 3 cycles later, for all operands",
        top=functools.partial(Products, left_bits=left, right_bits=right, target=target),
        depth=LATENCY + 1,
        cover_depth=LATENCY + 3,
        engine=ALGEBRA,
        sources=MULT18X18D.read_text() if target == "ecp5" else "",
    )
    for target in ("generic", "ecp5")
    for left, right in ((9, 8), (18, 16))
]
