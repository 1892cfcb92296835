"""Activation banks: every word where the formulas of docs/architecture.md put it, none in conflict.

`Map` is about the formulas alone, `Windows` and `Results` about the hardware that computes them.
There, ROW and COLUMN records are what the compiler writes (compiler._rows, compiler._columns) of
any pixel; they come from `FreeTables`, in the place of PixelTables, whose memories are proven in
`ram`. Rows of cells, ``n0 = W * (y//3)`` and the one below, are free numbers n0 and n0 + W: more
than there are maps. All addresses are modulo 2^11, as they are in the hardware.
"""

import functools
import itertools
from unittest import mock

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Fragment, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import BANKS, TAPS, Config, preset
from penstock.hw import buffers as buffers_module
from penstock.hw import pointers as pointers_module
from penstock.hw import window as window_module
from penstock.hw.buffers import CHOICE_WAY, ActivationBuffers, write_layout
from penstock.hw.layer_fetch import PixelTables
from penstock.hw.layouts import ADDRESS_BITS, PIXEL_BITS, bank_pointer_layout, used_address_bits
from penstock.hw.pipeline import delay
from penstock.hw.pointers import LATENCY as POINTER_LATENCY
from penstock.hw.pointers import ResultPointers
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram
from penstock.hw.window import ADDRESS_LATENCY, ALIGNMENT_WAY, WindowAddress, WindowAlign
from penstock.sim.formal.prover import ALGEBRA, Proof


class FreeTables(PixelTables):
    """The ports of PixelTables with nothing behind them: the proof gives the records."""

    def elaborate(self, platform):
        return Module()


def with_free_tables(m: Module, module, component):
    """Add a component of ``module`` that reads tables; returns those."""
    tables = []

    def make(cfg, **options):
        tables.append(FreeTables(cfg, **options))
        return tables[-1]

    with mock.patch.object(module, "PixelTables", make):
        m.submodules.unit = Fragment.get(component, None)
    return tables[0]


def place_layout() -> data.StructLayout:
    """A number n as 3*cell + phase."""
    return data.StructLayout({"cell": ADDRESS_BITS, "phase": 2})


def _is_place(place):
    return place.phase < 3


def _between(first, second):
    """Pixels from one place to the other; cells are modulo 2^11."""
    return 3 * (second.cell - first.cell)[:ADDRESS_BITS] + second.phase - first.phase


def _carry(total):
    """total // 3 of a small number."""
    return (total >= 3) + (total >= 6)


def _rest(total):
    """total % 3 of a small number."""
    return (total - 3 * _carry(total))[:2]


def _distinct(banks):
    """No two of the banks are the same."""
    return ~Cat(a == b for a, b in itertools.combinations(banks, 2)).any()


def bank(y, a, n, b):
    """3*u + v of pixel row y, place n, channel word with a = word//3, b = word%3 (small numbers).

    Returns the signal and the statement that drives it.
    """
    index = Signal(4)
    return index, index.eq(3 * _rest(_rest(y) + _rest(a)) + _rest(_rest(n) + _rest(b)))


class Windows(wiring.Component):
    """A tap of each window gets the word of its pixel, or 0 outside the map.

    The banks hold their own number and address, so a tap tells where it was read. A step may begin
    in every cycle.
    """

    def __init__(self, cfg: Config, tap: int, *, pointwise: bool):
        self.cfg = cfg
        self.tap = tap
        self.pointwise = Const(int(pointwise), 1)
        super().__init__(
            {
                "plane": In(ADDRESS_BITS),
                "address": In(ADDRESS_BITS),  # of the step
                "a": In(2),
                "b": In(2),
                "residue": In(2),  # y0 % 3
                "width": In(PIXEL_BITS),
                "upper": In(place_layout()),  # n0 = W * (y0//3)
                "lower": In(place_layout()),  # n0 + W
                "left": In(place_layout()),  # x0
                "valid_rows": In(3),
                "valid_columns": In(3),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.align = align = WindowAlign(self.cfg)
        window = WindowAddress(self.cfg)
        tables = with_free_tables(m, window_module, window)
        self._assume(m)
        m.d.comb += [
            window.layer.pointwise.eq(self.pointwise),
            window.layer.plane.eq(self.plane),
            window.step.address.eq(self.address),
            window.step.a.eq(self.a),
            window.step.b.eq(self.b),
            align.alignment.eq(window.alignment),
        ]
        for name in ("residue", "valid"):
            port = self.residue if name == "residue" else self.valid_rows
            m.d.comb += tables.row[0][name].eq(port)
        for t, place in enumerate((self.upper, self.lower)):
            m.d.comb += tables.row[0][f"cell_{t}"].eq(place.cell)
            m.d.comb += tables.row[0][f"phase_{t}"].eq(place.phase)
        m.d.comb += [
            tables.column[0].cell.eq(self.left.cell),
            tables.column[0].phase.eq(self.left.phase),
            tables.column[0].valid.eq(self.valid_columns),
        ]
        for index in range(BANKS):
            word = Cat(window.address[0][index], Const(index, 4))
            m.d.comb += align.words[0][index].eq(
                delay(m, word, ALIGNMENT_WAY, name=f"word_{index}")
            )

        # From the records to the taps.
        wait = ADDRESS_LATENCY - RAM_LATENCY + ALIGNMENT_WAY + 2
        settled = delay(m, Const(1, 1), wait + RAM_LATENCY + 2, name="settled", control=True)
        words = []
        for tap, (expected, inside) in enumerate(self._expected(m)):
            words.append(expected[ADDRESS_BITS:])
            told = Cat(align.operands[0][2 * tap + half][:8] for half in range(2))
            expected = delay(m, Mux(inside, expected, 0), wait, name=f"expected_{tap}")
            if tap == self.tap:
                with m.If(settled):
                    m.d.comb += Assert(told == expected)
        m.d.comb += [
            Assert(_distinct(words)),
            Cover(settled & (self.residue == 2) & (self.left.phase == 1) & (self.width == 4)),
        ]
        return m

    def _assume(self, m: Module):
        # The compiler writes residues and phases as remainders of 3, and n0 + W for the next row
        # of cells (compiler._rows); a superword begins at a multiple of nine (_group_records); a
        # 1x1 window has no padding.
        for place in (self.upper, self.lower, self.left):
            m.d.comb += Assume(_is_place(place))
        m.d.comb += [
            Assume((self.residue < 3) & (self.a < 3) & (self.b < 3)),
            Assume(_between(self.upper, self.lower) == self.width),
            Assume(~self.pointwise | ((self.a == 0) & (self.b == 0))),
            Assume(~self.pointwise | (Cat(self.valid_rows, self.valid_columns) == 63)),
        ]
        # A layer's descriptor changes when nothing is in flight (Engine._layers).
        before, started = Signal.like(self.plane), Signal()
        m.d.sync += [before.eq(self.plane), started.eq(1)]
        with m.If(started):
            m.d.comb += Assume(before == self.plane)

    def _expected(self, m: Module):
        """(address and bank, inside the map) of each tap, by the formulas."""
        a, b, address = (
            delay(m, port, RAM_LATENCY, name=f"step_{name}")
            for name, port in (("a", self.a), ("b", self.b), ("address", self.address))
        )
        for i, j in itertools.product(range(3), range(3)):
            # 3x3: pixel (y0 + i, x0 + j) of the step's word; 1x1: word 3*i + j of pixel (y0, x0).
            di, dj = Mux(self.pointwise, 0, i), Mux(self.pointwise, 0, j)
            wi, wj = Mux(self.pointwise, i, 0), Mux(self.pointwise, j, 0)
            start = Signal(place_layout(), name=f"start_{i}_{j}")
            m.d.comb += start.eq(Mux(self.residue + di >= 3, self.lower, self.upper))
            # First the window's first column, then the tap's, so that sums are as in the hardware.
            first = start.phase + self.left.phase
            n = _rest(first) + dj
            cell = Signal(ADDRESS_BITS, name=f"cell_{i}_{j}")
            rows = Mux(self.pointwise, 3 * i * self.plane, 0)
            columns = Mux(self.pointwise, j * self.plane, 0)
            number, statement = bank(self.residue + di, a + wi, n, b + wj)
            expected = Signal(ADDRESS_BITS + 4, name=f"tap_{i}_{j}")
            m.d.comb += [
                statement,
                cell.eq(start.cell + self.left.cell + _carry(first)),
                expected[:ADDRESS_BITS].eq(
                    ((address + cell)[:ADDRESS_BITS] + rows)[:ADDRESS_BITS] + (columns + _carry(n))
                ),
                expected[ADDRESS_BITS:].eq(number),
            ]
            yield expected, self.valid_rows[i] & self.valid_columns[j]


class Results(wiring.Component):
    """Results and residuals of a block: where the formulas put them, results in distinct banks."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        place = {
            "upper": place_layout(),
            "lower": place_layout(),
            "left": place_layout(),
            "residue": 2,
            "address": ADDRESS_BITS,
            "a": 2,
            "b": 2,
        }
        kinds = {kind: In(data.StructLayout(place)) for kind in ("output", "residual")}
        super().__init__(kinds | {"width": In(PIXEL_BITS)})

    def elaborate(self, platform):
        cfg, m = self.cfg, Module()
        pointers = ResultPointers(cfg)
        tables = with_free_tables(m, pointers_module, pointers)
        wait = POINTER_LATENCY - RAM_LATENCY
        settled = delay(m, Const(1, 1), wait + 2, name="settled", control=True)
        block_width = cfg.block[1]
        address_bits = used_address_bits(cfg)  # the compiler keeps within a bank's words
        for kind in ("output", "residual"):
            start = getattr(self, kind)
            self._assume(m, start)
            for part in ("address", "a", "b"):
                m.d.comb += pointers.parameter[f"{kind}_{part}"].eq(start[part])
            banks = []
            for row in range(cfg.rows):
                dy, dx = divmod(row, block_width)
                below = start.residue + dy >= 3
                line = Signal(place_layout(), name=f"{kind}_line_{row}")
                record, column = tables.row[row], tables.column[row]
                m.d.comb += [
                    line.eq(Mux(below, start.lower, start.upper)),
                    record[f"{kind}_residue"].eq(_rest(start.residue + dy)),
                    record[f"{kind}_cell"].eq(line.cell),
                    record[f"{kind}_phase"].eq(line.phase),
                    column[f"{kind}_cell"].eq(start.left.cell + _carry(start.left.phase + dx)),
                    column[f"{kind}_phase"].eq(_rest(start.left.phase + dx)),
                ]
                n = line.phase + start.left.phase + dx
                number, statement = bank(start.residue + dy, start.a, n, start.b)
                expected = Signal(ADDRESS_BITS, name=f"{kind}_expected_{row}")
                cell = line.cell + start.left.cell + _carry(n)
                m.d.comb += [statement, expected.eq(start.address + cell)]
                banks.append(number)
                told = getattr(pointers, kind)[row]
                expected = delay(m, expected, wait, name=f"{kind}_expected_{row}")
                number = delay(m, number, wait, name=f"{kind}_bank_{row}")
                with m.If(settled):
                    m.d.comb += Assert(told.address == expected[:address_bits])
                    m.d.comb += Assert((3 * told.u + told.v == number) & (told.v < 3))
            m.d.comb += Assert(_distinct(banks))
        m.d.comb += Cover(settled & (self.output.residue == 2) & (self.output.left.phase == 1))
        return m

    def _assume(self, m: Module, start):
        # As the compiler writes them (compiler._row_target, _column_target, _channel_place).
        for place in (start.upper, start.lower, start.left):
            m.d.comb += Assume(_is_place(place))
        m.d.comb += [
            Assume((start.residue < 3) & (start.a < 3) & (start.b < 3)),
            Assume(_between(start.upper, start.lower) == self.width),
        ]


class Map(wiring.Component):
    """Two places of one map: a bank and an address belong to one pixel and channel word only.

    In the numbers of the formulas: ``y = 3*t + d``, ``n = x + W*t`` and ``n = 3*q + p`` for T rows
    of cells, ``c = 3*s + e`` for C channel words, planes of P addresses. Of the products W*t and
    c*P, ``line`` and ``start`` here, only this is used: one factor less makes W or P less at least.
    """

    def __init__(self):
        place = {"t": 7, "d": 2, "x": PIXEL_BITS, "q": ADDRESS_BITS, "p": 2, "s": 10, "e": 2}
        place = data.StructLayout(place | {"line": 16, "start": 12})
        super().__init__(
            {
                "places": In(data.ArrayLayout(place, 2)),
                "width": In(PIXEL_BITS),  # W
                "pixels": In(16),  # W*T
                "plane": In(ADDRESS_BITS),  # P
                "size": In(12),  # C*P
            }
        )

    def elaborate(self, platform):
        m = Module()
        a, b = self.places
        words = [Signal(12, name=f"word_{index}") for index in range(2)]
        m.d.comb += [
            # P = ceil(W*T / 3): placement.plane_addresses. _check_sizes refuses larger maps.
            Assume((3 * self.plane >= self.pixels) & (3 * self.plane < self.pixels + 3)),
            Assume(self.size <= 1 << ADDRESS_BITS),
            *self._products(a.t, b.t, a.line, b.line, self.width),
            *self._products(*words, a.start, b.start, self.plane),
        ]
        keys = []
        for place, word in zip(self.places, words, strict=True):
            n, address = place.x + place.line, place.start + place.q
            number, statement = bank(place.d, place.s % 3, place.p, place.e)
            m.d.comb += [
                statement,
                word.eq(3 * place.s + place.e),
                Assume((place.d < 3) & (place.p < 3) & (place.e < 3)),
                # x < W, t < T, c < C: the pixel and the word are in the map.
                Assume((place.x < self.width) & (place.line + self.width <= self.pixels)),
                Assume(place.start + self.plane <= self.size),
                Assume(n == 3 * place.q + place.p),
                Assert(address < self.size),
            ]
            keys.append(Cat(number, address))
        same = (a.t == b.t) & (a.d == b.d) & (a.x == b.x) & (words[0] == words[1])
        m.d.comb += [
            Assert((keys[0] != keys[1]) | same),
            Cover((a.start + a.q == b.start + b.q) & ~same),
        ]
        return m

    def _products(self, left, right, left_product, right_product, factor):
        """left_product and right_product are left and right times factor: in the same order."""
        return [
            Assume((left != right) | (left_product == right_product)),
            Assume((left >= right) | (left_product + factor <= right_product)),
            Assume((left <= right) | (right_product + factor <= left_product)),
        ]


class FreeRam(Ram):
    """The ports of a memory with nothing behind them."""

    def elaborate(self, platform):
        return Module()


class Skew(wiring.Component):
    """A residual and a write meet in the memories of every row as they do at the inputs.

    So the banks of no row are read for a residual at the address that is written in that cycle.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "input_buffer": In(1),
                "reading": In(1),  # the residuals are used
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "write": In(write_layout(cfg)),
            }
        )

    def elaborate(self, platform):
        m, rams = Module(), []

        def make(**sizes):
            rams.append(FreeRam(**sizes))
            return rams[-1]

        buffers = ActivationBuffers(self.cfg)
        with mock.patch.object(buffers_module, "Ram", make):
            m.submodules.buffers = Fragment.get(buffers, None)
        m.d.comb += [
            buffers.input_buffer.eq(self.input_buffer),
            buffers.residual.eq(self.residual),
            buffers.write.eq(self.write),
        ]
        self._assume(m)
        # Since the input buffer is known in every row.
        started = delay(m, Const(1, 1), CHOICE_WAY + 1, name="started", control=True)
        write, rams = self.write, iter(rams)
        for row in range(self.cfg.rows):
            write = delay(m, write, 1, name=f"write_{row}", control=True)
            pointer = delay(m, self.residual[row], row + 1, name=f"pointer_{row}", control=True)
            reading = delay(m, self.reading, row + 1, name=f"reading_{row}", control=True)
            for buffer, index in itertools.product(range(2), range(BANKS)):
                ram, port = next(rams), write.banks[index]
                here = reading & (pointer.u == index // 3) & (pointer.v == index % 3)
                met = (ram.write_address == ram.read_address) & ram.write_enable.any()
                with m.If(started & (self.input_buffer != buffer)):
                    m.d.comb += Assert(~here | (ram.read_address == pointer.address))
                    m.d.comb += Assert(~here | ~met)
                written = port.enable & (write.buffer == buffer)
                m.d.comb += Assert(ram.write_enable == Mux(written, write.mask, 0))
                with m.If(written):
                    m.d.comb += Assert(ram.write_address == port.address)
                if index == BANKS - 1:
                    m.d.comb += Cover(here & ram.write_enable.any() & (pointer.address == 5))
        return m

    def _assume(self, m: Module):
        # Write queue: no result is written while its word is read (`write_queue` proves it).
        # Compiler: addresses are those of the buffers (placement). Engine: layers change when
        # nothing is in flight.
        before, started = Signal(), Signal()
        m.d.sync += [before.eq(self.input_buffer), started.eq(1)]
        with m.If(started):
            m.d.comb += Assume(before == self.input_buffer)
        for pointer in self.residual:
            m.d.comb += Assume(pointer.address < self.cfg.map_words)
            for index, port in enumerate(self.write.banks):
                here = (pointer.u == index // 3) & (pointer.v == index % 3)
                written = port.enable & (self.write.buffer != self.input_buffer)
                same = here & written & (port.address == pointer.address)
                m.d.comb += Assume(~(self.reading & same))
        for port in self.write.banks:
            m.d.comb += Assume(port.address < self.cfg.map_words)


PROOFS = [
    Proof(
        block="banks",
        name="map",
        configuration="all maps of up to 2048 addresses",
        statement="no two words of a map share bank and address, all addresses are within its size",
        top=Map,
        depth=1,
        engine=ALGEBRA,
        quick=False,
    ),
    *(
        Proof(
            block="buffers",
            name="residual and write",
            configuration=f"{cfg.rows} rows, {cfg.map_words} addresses",
            statement="no bank of any row is read for a residual at the address that is written in "
            "that cycle, when residuals and writes do not meet at the buffers' inputs",
            top=functools.partial(Skew, cfg),
            depth=max(cfg.rows, CHOICE_WAY) + 1,
            cover_depth=max(cfg.rows, CHOICE_WAY) + 3,
            quick=cfg.rows == 2,
        )
        for cfg in (preset("tiny"), Config(rows=4, word=1))
    ),
    *(
        Proof(
            block="window",
            name=f"{what} {tap}",
            configuration="one row, words of two channels",
            statement=f"{what} {tap} comes from the bank and address that the formulas give, the "
            "nine from distinct banks; for all pixels, strides, widths, channel words and planes",
            top=functools.partial(Windows, Config(rows=1, word=2), tap, pointwise=pointwise),
            depth=10,
            cover_depth=13,
            engine=ALGEBRA,
            quick=tap == 4 and not pointwise,
        )
        for what, pointwise in (("3x3 tap", False), ("1x1 word", True))
        for tap in range(TAPS)
    ),
    *(
        Proof(
            block="pointers",
            name="results",
            configuration=f"{rows} rows",
            statement="results and residuals of a block go where the formulas put them, results in "
            "distinct banks; for all blocks, widths and channel words",
            top=functools.partial(Results, Config(rows=rows, word=2)),
            depth=3,
            cover_depth=6,
            engine=ALGEBRA,
            quick=rows in (1, 4),
        )
        for rows in (1, 2, 3, 4, 6, 9)
    ),
]
