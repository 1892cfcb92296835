"""A core in miniature for the ASIC flow: some of the real parts, under their names."""

from amaranth.hdl import Module, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.multiplier import Multipliers
from penstock.hw.ram import Ram
from penstock.hw.verilog import CORE_TOP, to_verilog

ROWS = 2
SIZES = {"left_bits": 5, "right_bits": 4}


class SmallCore(wiring.Component):
    """Two rows of one multiplier, a gate, a memory for a macro and one of flip-flops."""

    def __init__(self):
        product = signed(sum(SIZES.values()))
        super().__init__(
            {
                **{f"left_{row}": In(signed(5)) for row in range(ROWS)},
                "right": In(signed(4)),
                "threshold": In(product),
                "address": In(7),
                "data": In(4),
                "write": In(1),
                "keep": Out(ROWS),
                "word": Out(4),
                "task": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = Module()
        engine.submodules.array = array = Module()
        engine.submodules.gate = gate = Module()
        for row in range(ROWS):
            multipliers = Multipliers(count=1, **SIZES, target="asic")
            array.submodules[f"multipliers_{row}"] = multipliers
            m.d.comb += multipliers.left[0].eq(getattr(self, f"left_{row}"))
            m.d.comb += multipliers.right[0].eq(self.right)
            gate.d.sync += self.keep[row].eq(multipliers.product[0] > self.threshold)
        for name, depth, output in (("buffers", 100, self.word), ("tasks", 4, self.task)):
            engine.submodules[name] = ram = Ram(width=4, depth=depth, target="asic")
            m.d.comb += [
                ram.read_address.eq(self.address),
                ram.write_enable.eq(self.write),
                ram.write_address.eq(~self.address),
                ram.write_data.eq(self.data),
                output.eq(ram.read_data),
            ]
        return m


def small_core() -> str:
    """Its Verilog, the top module called as that of the core."""
    return to_verilog(SmallCore(), CORE_TOP)
