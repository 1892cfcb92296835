"""The two ways in which the compact engine multiplies: SB_MAC16 on an iCE40, else their twins."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

_INPUTS = {
    **{name: 16 for name in ("A", "B", "C", "D")},
    **{name: 1 for name in ("AHOLD", "BHOLD", "CHOLD", "DHOLD")},
    **{name: 1 for name in ("IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT")},
    **{name: 1 for name in ("OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT")},
    **{name: 1 for name in ("OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN")},
}
"""Inputs of an SB_MAC16 beside clock and enable, and their bits."""


def _mac16(output, parameters: dict[str, int], inputs: dict) -> Instance:
    """An SB_MAC16 whose other inputs are 0. Source: Lattice TN1295, iCE40 Technology Library."""
    ports = {f"i_{name}": inputs.get(name, Const(0, bits)) for name, bits in _INPUTS.items()}
    values = {
        f"p_{name}": Const(value, value.bit_length() or 1) for name, value in parameters.items()
    }
    return Instance(
        "SB_MAC16", i_CLK=ClockSignal(), i_CE=Const(1, 1), o_O=output, **ports, **values
    )


class DualMultiplier(wiring.Component):
    """``o[k] = left[k] * right[k]``: two products, left unsigned, right signed, exact.

    Two products per cycle, latency 1 cycle, no backpressure. One SB_MAC16 in 8x8 mode.
    """

    def __init__(self, *, target: str):
        self.target = target
        super().__init__(
            {
                "left": In(data.ArrayLayout(8, 2)),
                "right": In(data.ArrayLayout(signed(8), 2)),
                "o": Out(data.ArrayLayout(signed(16), 2)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.target == "ice40":
            parameters = {"MODE_8x8": 1, "B_SIGNED": 1}
            parameters |= {"TOP_8x8_MULT_REG": 1, "BOT_8x8_MULT_REG": 1}
            parameters |= {"TOPOUTPUT_SELECT": 2, "BOTOUTPUT_SELECT": 2}
            operands = {"A": self.left.as_value(), "B": self.right.as_value()}
            m.submodules.mac = _mac16(self.o.as_value(), parameters, operands)
        else:
            for left, right, product in zip(self.left, self.right, self.o, strict=True):
                register = Signal(signed(16), reset_less=True)
                m.d.sync += register.eq(left * right)
                m.d.comb += product.eq(register)
        return m


class MultiplyAdder(wiring.Component):
    """``o = addend + left * right``, the product one cycle late; 32 bits, which may wrap.

    With ``holds_left`` the left operand is what ``left`` was at the last ``load_left``, with
    ``holds_addend`` the addend's halves those at the last ``load_low`` and ``load_high``; with
    ``registers_right`` the right one is a cycle late. One product per cycle, no backpressure. One
    SB_MAC16: its registers hold what would otherwise take logic cells.
    """

    def __init__(
        self,
        *,
        target: str,
        holds_left: bool = False,
        registers_right: bool = False,
        holds_addend: bool = False,
    ):
        self.target = target
        self.holds_left = holds_left
        self.registers_right = registers_right
        self.holds_addend = holds_addend
        super().__init__(
            {
                "left": In(signed(16)),
                "right": In(signed(16)),
                "addend": In(signed(32)),
                "load_left": In(1),
                "load_low": In(1),
                "load_high": In(1),
                "o": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.target == "ice40":
            self._ice40(m)
        else:
            self._behavioural(m)
        return m

    def _ice40(self, m: Module):
        parameters = {"A_SIGNED": 1, "B_SIGNED": 1, "PIPELINE_16x16_MULT_REG2": 1}
        parameters |= {"A_REG": int(self.holds_left), "B_REG": int(self.registers_right)}
        parameters |= {"C_REG": int(self.holds_addend), "D_REG": int(self.holds_addend)}
        for half in ("TOP", "BOT"):
            parameters |= {f"{half}ADDSUB_LOWERINPUT": 2, f"{half}ADDSUB_UPPERINPUT": 1}
        parameters["TOPADDSUB_CARRYSELECT"] = 2
        output = Signal(32)
        inputs = {
            "A": self.left,
            "B": self.right,
            "C": self.addend[16:],
            "D": self.addend[:16],
            "AHOLD": ~self.load_left,
            "CHOLD": ~self.load_high,
            "DHOLD": ~self.load_low,
        }
        if not self.holds_left:
            del inputs["AHOLD"]
        if not self.holds_addend:
            del inputs["CHOLD"], inputs["DHOLD"]
        m.submodules.mac = _mac16(output, parameters, inputs)
        m.d.comb += self.o.eq(output)

    def _behavioural(self, m: Module):
        left, right, addend = self.left, self.right, self.addend
        product = Signal(signed(32), reset_less=True)
        if self.holds_left:
            left = Signal(signed(16), name="held_left", reset_less=True)
            with m.If(self.load_left):
                m.d.sync += left.eq(self.left)
        if self.registers_right:
            right = Signal(signed(16), name="registered_right", reset_less=True)
            m.d.sync += right.eq(self.right)
        if self.holds_addend:
            low, high = (
                Signal(16, name=f"held_{half}", reset_less=True) for half in ("low", "high")
            )
            addend = Cat(low, high).as_signed()
            with m.If(self.load_low):
                m.d.sync += low.eq(self.addend[:16])
            with m.If(self.load_high):
                m.d.sync += high.eq(self.addend[16:])
        m.d.sync += product.eq(left * right)
        m.d.comb += self.o.eq(addend + product)
