"""Fetches a layer's descriptor and tables from the program while the layer before it runs."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import PIXEL_BITS, record_layout, used_address_bits
from penstock.hw.pipeline import delay, spread
from penstock.hw.ram import LATENCY, Ram
from penstock.program import COLUMN, DESCRIPTOR, GROUP, ROW

DESCRIPTOR_WORDS = len(DESCRIPTOR.words)


def table_write_layout() -> data.StructLayout:
    """One word of a layer's tables on its way from the program."""
    return data.StructLayout(
        {"row": 1, "column": 1, "group": 1, "index": PIXEL_BITS, "data": 64}  # one bit of three
    )


class LayerFetch(wiring.Component):
    """Reads layer ``index``: its descriptor into ``layer``, then its tables, one word a cycle.

    Takes height + width + 2*groups + 31 cycles from ``fetch`` to ``ready``; no backpressure.
    """

    def __init__(self):
        super().__init__(
            {
                "fetch": In(1),
                "index": In(16),
                "address": Out(16),  # of the program RAM, 2 cycles latency
                "data": In(64),
                "layer": Out(record_layout(DESCRIPTOR)),
                "described": Out(1),  # `layer` is complete
                "ready": Out(1),  # so are the tables
                "write": Out(table_write_layout()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = Signal(64 * DESCRIPTOR_WORDS, reset_less=True)
        layer = self.layer
        m.d.comb += layer.eq(words)
        token = Signal(
            data.StructLayout({"descriptor": 1, "row": 1, "column": 1, "group": 1, "index": 8})
        )
        address, count, index = Signal(16), Signal(9), Signal(8)
        m.d.comb += [self.address.eq(address), token.index.eq(index)]
        pause = Signal(range(LATENCY + 3))

        def section(kind: str, following: str):
            """Read ``count`` words as this kind, then let them arrive and go on."""
            with m.State(kind):
                m.d.comb += token[kind].eq(count != 0)
                with m.If(count != 0):
                    m.d.sync += [
                        address.eq(address + 1),
                        index.eq(index + 1),
                        count.eq(count - 1),
                        pause.eq(LATENCY + 2),
                    ]
                with m.Elif(pause != 0):
                    m.d.sync += pause.eq(pause - 1)
                with m.Else():
                    m.d.sync += index.eq(0)
                    if kind == "descriptor":
                        m.d.sync += self.described.eq(1)
                    m.next = following

        def begin(kind: str, first, length):
            with m.State(f"begin {kind}"):
                m.d.sync += [address.eq(first), count.eq(length), index.eq(0)]
                m.next = kind

        with m.FSM(init="idle"):
            with m.State("idle"), m.If(self.fetch):
                m.d.sync += [
                    address.eq(Cat(Const(0, 1), self.index) + Cat(Const(0, 2), self.index)),
                    count.eq(DESCRIPTOR_WORDS),
                    index.eq(0),
                    self.described.eq(0),
                    self.ready.eq(0),
                ]
                m.next = "descriptor"
            section("descriptor", "begin row")
            begin("row", layer.row_table, layer.height)
            section("row", "begin column")
            begin("column", layer.column_table, layer.width)
            section("column", "begin group")
            begin("group", layer.group_table, Cat(Const(0, 1), layer.groups))
            section("group", "finish")
            with m.State("finish"):
                m.d.sync += self.ready.eq(1)
                m.next = "idle"
        arrived = delay(m, token, LATENCY, name="token", control=True)
        with m.If(arrived.descriptor):
            m.d.sync += words.eq(Cat(words[64:], self.data))
        m.d.comb += [
            self.write.row.eq(arrived.row),
            self.write.column.eq(arrived.column),
            self.write.group.eq(arrived.group),
            self.write.index.eq(arrived.index),
            self.write.data.eq(self.data),
        ]
        return m


class PixelTables(wiring.Component):
    """Row and column records of the pixels that the array rows work on: ``row[i] = ROW[y[i]]``.

    One lookup per array row and cycle, latency 2 cycles. Two halves: ``half`` is read while the
    other is written for the next layer; it must be known WAY cycles before the first lookup.
    ``output`` tells which part of both records this copy holds. Writes travel from row to row, one
    a cycle, so that no wire crosses all rows: the last row's are done `rows` cycles after they
    came, long before `LayerFetch` is ready.
    """

    def __init__(self, cfg: Config, *, output: bool):
        self.cfg = cfg
        self.output = output
        names = ("output", "residual") if output else ("residue", "cell", "phase", "valid")
        self.row_places, row = _part(ROW, names)
        self.column_places, column = _part(COLUMN, names)
        super().__init__(
            {
                "write": In(table_write_layout()),
                "half": In(1),
                "y": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "x": In(data.ArrayLayout(PIXEL_BITS, cfg.rows)),
                "row": Out(data.ArrayLayout(row, cfg.rows)),
                "column": Out(data.ArrayLayout(column, cfg.rows)),
            }
        )

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        # Cells of a row are addresses; those of a column count from the map's left edge, and a
        # window may begin in the cell left of it: -1.
        row_bits = used_address_bits(cfg)
        column_bits = ((cfg.map_side - 1) // 3).bit_length() + (not self.output)
        rows, columns = (self.row_places, row_bits), (self.column_places, column_bits)
        bits = (cfg.map_side - 1).bit_length()
        write = self.write
        halves = spread(m, self.half, cfg.rows, name="half")
        for row in range(cfg.rows):
            write = delay(m, write, 1, name=f"write_{row}")
            y, x = Cat(self.y[row][:bits], halves[row]), Cat(self.x[row][:bits], halves[row])
            self._table(m, f"row_{row}", write, write.row, y, *rows, self.row[row])
            self._table(m, f"column_{row}", write, write.column, x, *columns, self.column[row])
        return m

    def _table(self, m: Module, name: str, write, enable, read, places, cell_bits: int, output):
        """One table of one array row, of its cells the bits that are in use."""
        parts = {
            field: write.data[place][: cell_bits if "cell" in field else None]
            for field, place in places.items()
        }
        m.submodules[name] = ram = Ram(
            width=sum(map(len, parts.values())),
            depth=2 * self.cfg.map_side,
            style="distributed",
            target=self.cfg.target,
        )
        m.d.comb += [
            ram.write_enable.eq(enable),
            ram.write_address.eq(Cat(write.index[: len(read) - 1], ~read[-1])),
            ram.write_data.eq(Cat(parts.values())),
            ram.read_address.eq(read),
        ]
        rest = ram.read_data
        for field, part in parts.items():
            value, rest = rest[: len(part)], rest[len(part) :]
            m.d.comb += output[field].eq(value if self.output else value.as_signed())


def _part(record, names: tuple[str, ...]) -> tuple[dict[str, slice], data.StructLayout]:
    """The record's fields that begin with one of the names: their bits in it, and their layout."""
    places, first = {}, 0
    for field in record.fields:
        if field.name.startswith(names):
            places[field.name] = slice(first, first + field.bits)
        first += field.bits
    widths = {name: place.stop - place.start for name, place in places.items()}
    return places, data.StructLayout(widths)


class GroupTable(wiring.Component):
    """GROUP records of the layer: ``entry = GROUP[address]``, latency 2 cycles, two halves.

    Without gating no group has conditional steps: their word of the record is 0.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "write": In(table_write_layout()),
                "half": In(1),
                "address": In(6),
                "entry": Out(record_layout(GROUP)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = max(1, (self.cfg.groups - 1).bit_length())
        parts = []
        for word, fields in enumerate(GROUP.words if self.cfg.gating else GROUP.words[:1]):
            width = sum(field.bits for field in fields)
            ram = Ram(width=width, depth=2 << bits, style="distributed", target=self.cfg.target)
            m.submodules[f"word_{word}"] = ram
            m.d.comb += [
                ram.write_enable.eq(self.write.group & (self.write.index[0] == word)),
                ram.write_address.eq(Cat(self.write.index[1 : bits + 1], ~self.half)),
                ram.write_data.eq(self.write.data),
                ram.read_address.eq(Cat(self.address[:bits], self.half)),
            ]
            parts += [ram.read_data, Const(0, 64 - width)]
        m.d.comb += self.entry.eq(Cat(parts))
        return m
