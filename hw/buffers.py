"""Two activation buffers of nine banks, each bank with one copy for every row of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, Config
from penstock.hw.layouts import ADDRESS_BITS, bank_pointer_layout
from penstock.hw.pipeline import delay, select
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram

WINDOW_LATENCY = RAM_LATENCY + 2
"""Cycles from bank addresses to the nine words."""

RESIDUAL_LATENCY = RAM_LATENCY + 3
"""Cycles from a residual pointer to its word."""


def bank_write_layout(cfg: Config) -> data.StructLayout:
    """A write to one bank: an enable for each channel of the word."""
    return data.StructLayout({"mask": cfg.word, "address": ADDRESS_BITS, "data": 8 * cfg.word})


class ActivationBuffers(wiring.Component):
    """Nine words for each array row from the layer's input buffer, one residual word each from the
    other.

    ``words[row][bank] = input_buffer[bank][address[row][bank]]``; one window and one residual per
    array row and cycle, latencies 4 and 5 cycles. Writes reach both buffers at once, one word a
    bank and cycle, one cycle after ``write``. No backpressure.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        banks = data.ArrayLayout(ADDRESS_BITS, BANKS)
        super().__init__(
            {
                "input_buffer": In(1),
                "address": In(data.ArrayLayout(banks, cfg.rows)),
                "words": Out(data.ArrayLayout(data.ArrayLayout(8 * cfg.word, BANKS), cfg.rows)),
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "residual_word": Out(data.ArrayLayout(8 * cfg.word, cfg.rows)),
                "write": In(data.ArrayLayout(data.ArrayLayout(bank_write_layout(cfg), BANKS), 2)),
            }
        )
        self.ports = [
            [Signal(bank_write_layout(cfg), name=f"write_{buffer}_{bank}") for bank in range(BANKS)]
            for buffer in range(2)
        ]
        """What the banks see: ``ports[buffer][bank]``."""

    def elaborate(self, platform):
        m = Module()
        for buffer in range(2):
            for bank in range(BANKS):
                m.d.sync += self.ports[buffer][bank].eq(self.write[buffer][bank])
        for row in range(self.cfg.rows):
            self._row(m, row)
        return m

    def _row(self, m: Module, row: int):
        cfg = self.cfg
        residual = self.residual[row]
        outputs = [[], []]
        for buffer in range(2):
            for bank in range(BANKS):
                depth_bits = (cfg.map_words - 1).bit_length()
                ram = Ram(
                    width=8 * cfg.word, depth=cfg.map_words, lanes=cfg.word, target=cfg.target
                )
                m.submodules[f"bank_{row}_{buffer}_{bank}"] = ram
                address = Signal(depth_bits, name=f"address_{row}_{buffer}_{bank}", reset_less=True)
                port = self.ports[buffer][bank]
                m.d.sync += address.eq(
                    Mux(
                        self.input_buffer == buffer,
                        self.address[row][bank],
                        residual.address,
                    )
                )
                m.d.comb += [
                    ram.read_address.eq(address),
                    ram.write_enable.eq(port.mask),
                    ram.write_address.eq(port.address),
                    ram.write_data.eq(port.data),
                ]
                outputs[buffer].append(ram.read_data)
        for bank in range(BANKS):
            m.d.sync += self.words[row][bank].eq(
                Mux(self.input_buffer, outputs[1][bank], outputs[0][bank])
            )
        pointer = delay(m, residual, RAM_LATENCY + 1, name=f"residual_{row}")
        column = delay(m, pointer.v, 1, name=f"column_{row}")
        in_column = [Signal(8 * cfg.word, name=f"in_column_{row}_{v}") for v in range(3)]
        for v in range(3):
            choices = [
                Mux(self.input_buffer, outputs[0][3 * u + v], outputs[1][3 * u + v])
                for u in range(3)
            ]
            m.d.sync += in_column[v].eq(select(choices, pointer.u))
        m.d.sync += self.residual_word[row].eq(select(in_column, column))
