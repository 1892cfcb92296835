"""Windows: where the nine words of a step lie, and how they come into tap order."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, TAPS, Config
from penstock.hw.layer_fetch import PixelTables, table_write_layout
from penstock.hw.layouts import ADDRESS_BITS, PIXEL_BITS, record_layout, step_layout
from penstock.hw.pipeline import add3, datapath_register, delay, select, spread, sub3
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.program import DESCRIPTOR

ADDRESS_LATENCY = RAM_LATENCY + 4
"""Cycles from a step to the bank addresses of its windows."""


WORD_WAY = 2
"""Cycles of a step's word on its way to the rows."""

ALIGNMENT_WAY = 2
"""Cycles of an alignment on its way to the words."""


def alignment_layout() -> data.StructLayout:
    """How the words of one window, read from banks (u, v), become taps (i, j)."""
    return data.StructLayout(
        {
            "vertical": 2,  # tap row i comes from bank row (i + vertical) % 3
            "horizontal": data.ArrayLayout(
                2, 3
            ),  # tap j of row i from column (j + horizontal[i]) % 3
            "valid_rows": 3,
            "valid_columns": 3,
        }
    )


class WindowAddress(wiring.Component):
    """Bank addresses of one step's windows, one window for each array row.

    ``address[row][3*u + v]`` and how to align the words, for the pixel (y, x) of each row and the
    channel word of the step; the equations stand in docs/architecture.md. One step per cycle,
    latency 6 cycles, no backpressure.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "layer": In(record_layout(DESCRIPTOR)),
                "table_write": In(table_write_layout()),
                "half": In(1),
                "step": In(step_layout()),
                "y": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "x": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "address": Out(data.ArrayLayout(data.ArrayLayout(ADDRESS_BITS, BANKS), cfg.rows)),
                "alignment": Out(data.ArrayLayout(alignment_layout(), cfg.rows)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tables = tables = PixelTables(self.cfg, output=False)
        m.d.comb += [
            tables.write.eq(self.table_write),
            tables.half.eq(self.half),
            tables.y.eq(self.y),
            tables.x.eq(self.x),
        ]
        # Both of a whole layer, whose first step comes later.
        plane = spread(m, self.layer.plane, self.cfg.rows, name="plane")
        pointwise = spread(m, self.layer.pointwise, self.cfg.rows, name="pointwise")
        word = Signal(data.StructLayout({"address": ADDRESS_BITS, "a": 2, "b": 2}))
        m.d.comb += Cat(word.address, word.a, word.b).eq(
            Cat(self.step.address, self.step.a, self.step.b)
        )
        word = delay(m, word, RAM_LATENCY + 1 - WORD_WAY, name="word")
        words = [
            data.View(word.shape(), copy)
            for copy in spread(m, word.as_value(), self.cfg.rows, cycles=WORD_WAY, name="word")
        ]
        for row in range(self.cfg.rows):
            self._row(m, row, tables, words[row], plane[row], pointwise[row])
        return m

    def _row(self, m: Module, row: int, tables, word, plane, pointwise):
        plane_3 = datapath_register(ADDRESS_BITS, f"plane_3_{row}")
        m.d.sync += plane_3.eq((plane << 1) + plane)
        singles, triples = (0, plane, plane << 1), (0, plane_3, plane_3 << 1)
        record, column = tables.row[row], tables.column[row]

        # The cell of the window's first column, in each of the two rows of cells that it may span.
        cells = [datapath_register(ADDRESS_BITS, f"cell_{row}_{t}") for t in range(2)]
        phases = [datapath_register(2, f"phase_{row}_{t}") for t in range(2)]
        residue, valid = (
            datapath_register(2, f"residue_{row}"),
            datapath_register(6, f"valid_{row}"),
        )
        for t in range(2):
            total = record[f"phase_{t}"] + column.phase
            m.d.sync += [
                phases[t].eq(add3(record[f"phase_{t}"], column.phase)),
                cells[t].eq(record[f"cell_{t}"] + column.cell + (total >= 3)),
            ]
        m.d.sync += [residue.eq(record.residue), valid.eq(Cat(record.valid, column.valid))]

        # Each bank row: whether the window row there is in the lower cells, and how far down it is.
        lowers = [datapath_register(1, f"lower_{row}_{u}") for u in range(3)]
        downs = [datapath_register(2, f"down_{row}_{u}") for u in range(3)]
        for u in range(3):
            map_row = sub3(Const(u, 2), word.a)
            m.d.sync += lowers[u].eq(~pointwise & (map_row < residue))
            m.d.sync += downs[u].eq(sub3(map_row, residue))

        # The channel word's address in these cells.
        addresses = [datapath_register(ADDRESS_BITS, f"word_{row}_{t}") for t in range(2)]
        for t in range(2):
            m.d.sync += addresses[t].eq(word.address + cells[t])
        phases = [delay(m, phases[t], 1, name=f"phase_{row}_{t}") for t in range(2)]
        residue = delay(m, residue, 1, name=f"residue_{row}")
        word_a = delay(m, word.a, 1, name=f"a_{row}")
        word_b = delay(m, word.b, 1, name=f"b_{row}")

        # Its address in each bank row, then in each bank.
        for u in range(3):
            row_address = datapath_register(ADDRESS_BITS, f"row_address_{row}_{u}")
            offset = Mux(pointwise, select(triples, downs[u]), 0)
            m.d.sync += row_address.eq(Mux(lowers[u], addresses[1], addresses[0]) + offset)
            row_phase = Mux(lowers[u], phases[1], phases[0])
            for v in range(3):
                wraps = datapath_register(1, f"wraps_{row}_{u}_{v}")
                right = datapath_register(2, f"right_{row}_{u}_{v}")
                map_phase = sub3(Const(v, 2), word_b)
                m.d.sync += [wraps.eq(map_phase < row_phase), right.eq(sub3(map_phase, row_phase))]
                offset = Mux(pointwise, select(singles, right), wraps)
                address = datapath_register(ADDRESS_BITS, f"address_{row}_{u}_{v}")
                m.d.sync += address.eq(row_address + offset)
                m.d.comb += self.address[row][3 * u + v].eq(address)

        alignment = datapath_register(alignment_layout(), f"alignment_{row}")
        m.d.sync += [
            alignment.vertical.eq(add3(residue, word_a)),
            Cat(alignment.valid_rows, alignment.valid_columns).eq(
                delay(m, valid, 1, name=f"valid_{row}")
            ),
        ]
        for i in range(3):
            lower = ~pointwise & (residue + i >= 3)
            m.d.sync += alignment.horizontal[i].eq(add3(Mux(lower, phases[1], phases[0]), word_b))
        m.d.comb += self.alignment[row].eq(delay(m, alignment, 1, name=f"alignment_{row}"))


class WindowAlign(wiring.Component):
    """Brings the nine words of each row's window into tap order: lane = (3*i + j)*w + channel.

    Padding becomes 0; activations become signed by one more bit. One window per array row and
    cycle, latency 2 cycles from ``words``, with ``alignment`` ALIGNMENT_WAY cycles before them; no
    backpressure. ``signed`` is that of a whole layer.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.operand = signed(cfg.activation_bits + 1)
        super().__init__(
            {
                "signed": In(1),
                "alignment": In(data.ArrayLayout(alignment_layout(), cfg.rows)),
                "words": In(data.ArrayLayout(data.ArrayLayout(8 * cfg.word, BANKS), cfg.rows)),
                "operands": Out(
                    data.ArrayLayout(data.ArrayLayout(self.operand, cfg.lanes), cfg.rows)
                ),
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        signed_layer = spread(m, self.signed, cfg.rows, name="signed")
        for row in range(cfg.rows):
            words = self.words[row]
            alignment = delay(m, self.alignment[row], ALIGNMENT_WAY, name=f"alignment_{row}")
            # Words of different v lie far apart.
            verticals = spread(
                m,
                self.alignment[row].vertical,
                3,
                cycles=ALIGNMENT_WAY,
                name=f"vertical_{row}",
            )
            rotated = [
                Signal(8 * cfg.word, name=f"rotated_{row}_{k}", reset_less=True)
                for k in range(TAPS)
            ]
            for i in range(3):
                for v in range(3):
                    choices = [words[3 * ((i + shift) % 3) + v] for shift in range(3)]
                    m.d.sync += rotated[3 * i + v].eq(select(choices, verticals[v]))
            later = delay(m, alignment, 1, name=f"later_{row}")
            for i in range(3):
                for j in range(3):
                    choices = [rotated[3 * i + (j + shift) % 3] for shift in range(3)]
                    tap = Signal(8 * cfg.word, name=f"tap_{row}_{3 * i + j}", reset_less=True)
                    inside = later.valid_rows[i] & later.valid_columns[j]
                    m.d.sync += tap.eq(Mux(inside, select(choices, later.horizontal[i]), 0))
                    for channel in range(cfg.word):
                        value = tap[8 * channel :][: cfg.activation_bits]
                        lane = (3 * i + j) * cfg.word + channel
                        operand = Cat(value, value[-1] & signed_layer[row])
                        m.d.comb += self.operands[row][lane].eq(operand)
        return m
