"""Two activation buffers of nine banks, each bank with one copy for every row of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, Config
from penstock.hw.layouts import ADDRESS_BITS, bank_pointer_layout, used_address_bits
from penstock.hw.pipeline import delay, lookup, select, spread
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram

WINDOW_LATENCY = RAM_LATENCY + 2
"""Cycles from bank addresses to the nine words."""


CHOICE_WAY = 4
"""Cycles of a layer's input buffer on its way to the banks."""


def residual_latency(cfg: Config) -> int:
    """Cycles from a residual pointer to its word in the last row, one less in each before it."""
    return RAM_LATENCY + 3 + cfg.rows - 1


def bank_write_layout() -> data.StructLayout:
    """A write to one bank: ``value`` to one channel of a word, where it is not loaded whole."""
    return data.StructLayout({"enable": 1, "address": ADDRESS_BITS, "value": 8})


def write_layout(cfg: Config) -> data.StructLayout:
    """What is written in one cycle: in each bank that is enabled the channels of ``mask``.

    All into the same buffer. With ``load`` a bank takes the word ``loaded`` instead of its value.
    """
    banks = data.ArrayLayout(bank_write_layout(), BANKS)
    members = {"banks": banks, "buffer": 1, "mask": cfg.word, "load": 1, "loaded": 8 * cfg.word}
    return data.StructLayout(members)


class ActivationBuffers(wiring.Component):
    """Nine words for each array row from the layer's input buffer, one residual word each from the
    other.

    ``words[row][bank] = input_buffer[bank][address[row][bank]]``; one window and one residual per
    array row and cycle, latencies WINDOW_LATENCY and `residual_latency`. One word a bank and cycle
    is written. No backpressure. ``input_buffer`` is that of a whole layer, and must be known
    CHOICE_WAY cycles before its first addresses.

    Writes travel from row to row, one a cycle, so that no wire crosses all rows; residuals are read
    with the same skew, and so meet a write in every row as they do in row 0; their words come so.
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
                "write": In(write_layout(cfg)),
            }
        )
        self.ports = [
            Signal(write_layout(cfg), name=f"write_{row}", reset_less=True)
            for row in range(cfg.rows)
        ]
        """What the banks of each row see."""

    def elaborate(self, platform):
        m = Module()
        for port, before in zip(self.ports, (self.write, *self.ports), strict=False):
            m.d.sync += port.eq(before)
        # One for each place where hundreds of bits are chosen by it.
        places = 4 * self.cfg.rows
        choices = spread(m, self.input_buffer, places, cycles=CHOICE_WAY, name="input_buffer")
        for row in range(self.cfg.rows):
            self._row(m, row, *choices[4 * row :][:4])
        return m

    def _row(self, m: Module, row: int, addressed, *input_buffers):
        """Whose addresses are those of windows, and for the banks of each v whose words are."""
        cfg = self.cfg
        write = self.ports[row]
        residual = delay(m, self.residual[row], row, name=f"residual_{row}")
        address_bits = used_address_bits(cfg)
        outputs = [[], []]
        written = []
        for bank in range(BANKS):
            word = Signal(8 * cfg.word, name=f"written_{row}_{bank}")
            value = write.banks[bank].value.replicate(cfg.word)
            m.d.comb += word.eq(Mux(write.load, write.loaded, value))
            written.append(word)
        for buffer in range(2):
            for bank in range(BANKS):
                ram = Ram(
                    width=8 * cfg.word, depth=cfg.map_words, lanes=cfg.word, target=cfg.target
                )
                m.submodules[f"bank_{row}_{buffer}_{bank}"] = ram
                address = Signal(
                    address_bits, name=f"address_{row}_{buffer}_{bank}", reset_less=True
                )
                port = write.banks[bank]
                here = port.enable & (write.buffer == buffer)
                m.d.sync += address.eq(
                    Mux(
                        addressed == buffer,
                        self.address[row][bank],
                        residual.address,
                    )
                )
                m.d.comb += [
                    ram.read_address.eq(address),
                    ram.write_enable.eq(Mux(here, write.mask, 0)),
                    ram.write_address.eq(port.address),
                    ram.write_data.eq(written[bank]),
                ]
                outputs[buffer].append(ram.read_data)
        for bank in range(BANKS):
            word = Signal(8 * cfg.word, name=f"word_{row}_{bank}", reset_less=True)
            chosen = input_buffers[bank % 3]
            m.d.sync += word.eq(Mux(chosen, outputs[1][bank], outputs[0][bank]))
            m.d.comb += self.words[row][bank].eq(word)
        pointer = delay(m, residual, RAM_LATENCY, name=f"pointer_{row}")
        # Banks of different v lie far apart.
        bank_rows = spread(m, pointer.u, 3, cycles=1, name=f"bank_row_{row}")
        column = delay(m, pointer.v, 2, name=f"column_{row}")
        in_column = [
            Signal(8 * cfg.word, name=f"in_column_{row}_{v}", reset_less=True) for v in range(3)
        ]
        for v in range(3):
            choices = [
                Mux(input_buffers[v], outputs[0][3 * u + v], outputs[1][3 * u + v])
                for u in range(3)
            ]
            m.d.sync += in_column[v].eq(lookup([*choices, choices[2]], bank_rows[v]))
        word = Signal(8 * cfg.word, name=f"residual_word_{row}", reset_less=True)
        m.d.sync += word.eq(select(in_column, column))
        m.d.comb += self.residual_word[row].eq(word)
