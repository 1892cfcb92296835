"""The activation maps: two buffers of nine banks, a window and a residual a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS
from penstock.hw.compact.ram import BlockRam
from penstock.hw.compact.window import ADDRESS_BITS, lookup, place_layout


def write_layout() -> data.StructLayout:
    """One value on its way into a map."""
    return data.StructLayout({"valid": 1, "buffer": 1, "place": place_layout(), "value": 8})


class ActivationMaps(wiring.Component):
    """Reads a window from one buffer and a residual from the other, and writes one value.

    One of each per cycle, latency 1 cycle, no backpressure.
    """

    def __init__(self):
        super().__init__(
            {
                "input_buffer": In(1),
                "address": In(data.ArrayLayout(ADDRESS_BITS, BANKS)),
                "words": Out(data.ArrayLayout(8, BANKS)),
                "residual": In(place_layout()),
                "residual_word": Out(8),
                "write": In(write_layout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = [[Signal(8, name=f"word_{b}{k}") for k in range(BANKS)] for b in range(2)]
        enables = Signal(BANKS)
        bank = self._bank(self.write.place)
        m.d.comb += enables.eq(Cat(bank == k for k in range(BANKS)))
        for buffer in range(2):
            for k in range(BANKS):
                m.submodules[f"bank_{buffer}{k}"] = ram = BlockRam(width=8, depth=512)
                m.d.comb += [
                    ram.read_address.eq(
                        Mux(self.input_buffer == buffer, self.address[k], self.residual.address)
                    ),
                    ram.write_enable.eq(
                        self.write.valid & (self.write.buffer == buffer) & enables[k]
                    ),
                    ram.write_address.eq(self.write.place.address),
                    ram.write_data.eq(self.write.value),
                    words[buffer][k].eq(ram.read_data),
                ]
        others = [Mux(self.input_buffer, words[0][k], words[1][k]) for k in range(BANKS)]
        for k in range(BANKS):
            m.d.comb += self.words[k].eq(Mux(self.input_buffer, words[1][k], words[0][k]))
        residual_bank = Signal(4, reset_less=True)
        m.d.sync += residual_bank.eq(self._bank(self.residual))
        with m.Switch(residual_bank):
            for k in range(BANKS - 1):
                with m.Case(k):
                    m.d.comb += self.residual_word.eq(others[k])
            with m.Default():
                m.d.comb += self.residual_word.eq(others[BANKS - 1])
        return m

    @staticmethod
    def _bank(place):
        """Number of the bank of a place."""
        return lookup(4, lambda u, v: (3 * u + v) % 16, place.u, place.v)
