"""The multiplier gives exact products, on ECP5 as elsewhere.

The model of MULT18X18D is ours, of the registers in use only, after Lattice's "ECP5 and ECP5-5G
sysDSP Usage Guide" (FPGA-TN-02205); yosys has that primitive as a black box. So what is proven of
the ECP5 variant is how it uses the primitive: which bits, which sign, which latency.
"""

import functools

from amaranth.hdl import Assert, Const, Cover, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.hw.multiplier import LATENCY, Multipliers
from penstock.hw.pipeline import delay
from penstock.sim.formal.prover import ALGEBRA, Proof

_PARAMETERS = ", ".join(
    f'REG_{register}_CLK = "NONE", REG_{register}_CE = "CE0", REG_{register}_RST = "RST0"'
    for register in ("INPUTA", "INPUTB", "OUTPUT")
)


def _ports(kind: str, name: str, bits: int) -> str:
    return "".join(f"{kind} {name}{bit},\n" for bit in range(bits))


def _vector(name: str, bits: int) -> str:
    return "{" + ", ".join(f"{name}{bit}" for bit in reversed(range(bits))) + "}"


MULT18X18D = f"""
module MULT18X18D #(
    parameter {_PARAMETERS}
) (
    {_ports("input", "A", 18)}{_ports("input", "B", 18)}{_ports("output", "P", 36)}
    input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB
);
    reg signed [17:0] a, b;
    reg signed [35:0] p;
    assign {_vector("P", 36)} = p;
    always @(posedge CLK0) begin
        a <= {_vector("A", 18)};
        b <= {_vector("B", 18)};
        p <= a * b;
        // The model covers no more: never held, never cleared, signed, operands of its own.
        assert (CE0 && !RST0 && SIGNEDA && SIGNEDB && !SOURCEA && !SOURCEB);
    end
    initial begin
        assert (REG_INPUTA_CLK == "CLK0" && REG_INPUTB_CLK == "CLK0" && REG_OUTPUT_CLK == "CLK0");
        assert (REG_INPUTA_CE == "CE0" && REG_INPUTB_CE == "CE0" && REG_OUTPUT_CE == "CE0");
        assert (REG_INPUTA_RST == "RST0" && REG_INPUTB_RST == "RST0" && REG_OUTPUT_RST == "RST0");
    end
endmodule
"""


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
        sources=MULT18X18D if target == "ecp5" else "",
    )
    for target in ("generic", "ecp5")
    for left, right in ((9, 8), (18, 16))
]
