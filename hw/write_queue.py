"""The write queue: results wait here until their banks are free."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, Config
from penstock.hw.buffers import write_layout
from penstock.hw.layouts import bank_pointer_layout, bank_word_layout, result_layout
from penstock.hw.output_writer import raw_result_layout
from penstock.hw.register_slice import LateReadySlice

DECISION_LATENCY = 2
"""Cycles from a residual to the writes that it holds back."""


def entry_layout(cfg: Config) -> data.StructLayout:
    """A group in the queue; a bit for each two rows, (1, 0), (2, 0), (2, 1), ..: both have a
    result, in one bank.

    One row has a bit that is 0.
    """
    pairs = max(cfg.rows * (cfg.rows - 1) // 2, 1)
    return data.StructLayout({"group": result_layout(cfg), "same_bank": pairs})


def chosen_layout(cfg: Config) -> data.StructLayout:
    """Results of one group in distinct banks, which are written together; ``ends``: its last."""
    rows = result_layout(cfg).members["rows"]
    return data.StructLayout({"rows": rows, "lane": 4, "buffer": 1, "pooled": 1, "ends": 1})


def same_bank(group) -> Value:
    """The entry's bits of a group of results."""

    def meet(one, other):
        same = Cat(one.pointer.u, one.pointer.v) == Cat(other.pointer.u, other.pointer.v)
        return one.valid & other.valid & same & ~group.raw

    rows = list(group.rows)
    pairs = [meet(one, other) for row, one in enumerate(rows) for other in rows[:row]]
    return Cat(pairs or [Const(0, 1)])


class WriteQueue(wiring.Component):
    """Writes each group of results into an activation buffer, or a classifier's word to memory.

    A group leaves in one cycle when its results lie in distinct banks; otherwise the first result
    of each bank goes first, the others one bank write a cycle later. Results that leave together
    wait while a word of theirs is read as a residual, up to two such sets. Words of the next image
    (``load``) fill the cycles in which no result is written. ``i`` takes no backpressure: each
    group needs a credit (see Dispatcher), given back by ``written``, or ``pooled``, in the cycle of
    its last write; ``word`` and ``load`` are ordinary streams.

    A residual comes DECISION_LATENCY cycles before the buffers read it: one in which it is compared
    with both sets that may then be the first, one in which it is decided whether that is written.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "i": In(stream.Signature(result_layout(cfg), always_ready=True)),
                "load": In(stream.Signature(bank_word_layout(cfg))),
                "residual_buffer": In(1),
                "residual_reading": In(1),
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "write": Out(write_layout(cfg)),
                "word": Out(stream.Signature(raw_result_layout())),
                "written": Out(1),
                "pooled": Out(1),  # a pooled mean has been written
            }
        )

    def elaborate(self, platform):
        cfg = self.cfg
        m = Module()
        layout = entry_layout(cfg)
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=layout.size, depth=cfg.write_groups + 1)
        arriving, first = Signal(layout), Signal(layout)
        m.d.comb += [
            arriving.group.eq(self.i.payload),
            arriving.same_bank.eq(same_bank(self.i.payload)),
            fifo.w_en.eq(self.i.valid),
            fifo.w_data.eq(arriving),
            first.eq(fifo.r_data),
        ]
        head = first.group

        # The first result of each bank goes first.
        m.submodules.chosen = chosen = LateReadySlice(chosen_layout(cfg))
        done = Signal(cfg.rows)
        granted, blocks = Signal(cfg.rows), []
        for row in range(cfg.rows):
            # Those before it in its bank: it waits for them.
            pairs = first.same_bank[row * (row - 1) // 2 :][:row]
            blocks.append((pairs & ~done[:row]).any())
            result = fifo.r_rdy & ~head.raw & head.rows[row].valid
            m.d.comb += granted[row].eq(result & ~done[row] & ~blocks[row])
        # A classifier's word leaves with a set of no results.
        leaving, word = Signal(), Signal()
        m.d.comb += [
            word.eq(fifo.r_rdy & head.raw & head.rows[0].valid),
            self.word.valid.eq(word & chosen.i.ready),
            self.word.payload.data.eq(head.word),
            self.word.payload.last.eq(head.last),
            chosen.i.valid.eq(fifo.r_rdy & (self.word.ready | ~word)),
            chosen.i.payload.rows.eq(head.rows),
            chosen.i.payload.lane.eq(head.lane),
            chosen.i.payload.buffer.eq(head.buffer),
            chosen.i.payload.pooled.eq(head.pooled),
            chosen.i.payload.ends.eq(~Cat(blocks).any()),
            leaving.eq(chosen.i.valid & chosen.i.ready & chosen.i.payload.ends),
            fifo.r_en.eq(leaving),
        ]
        for row in range(cfg.rows):
            m.d.comb += chosen.i.payload.rows[row].valid.eq(granted[row])
        m.d.sync += done.eq(Mux(leaving, 0, done | Mux(chosen.i.ready, granted, 0)))
        self._bank_writes(m, chosen)
        return m

    def _read_soon(self, results) -> Value:
        """A bit for each row: whether its result's word is read two cycles from now."""
        reading = self.residual_reading & (results.buffer == self.residual_buffer)
        pointers = [residual.as_value() for residual in self.residual]
        return Cat(
            reading & Cat(pointer == row.pointer.as_value() for pointer in pointers).any()
            for row in results.rows
        )

    def _bank_writes(self, m: Module, slice: LateReadySlice):
        cfg, chosen, results = self.cfg, slice.o, slice.o.payload
        rows = Signal(results.rows.shape(), reset_less=True)
        buffer, mask = Signal(reset_less=True), Signal(cfg.word, reset_less=True)
        valid, decided = Signal(cfg.rows), Signal()
        met_again, met = Signal(cfg.rows, reset_less=True), Signal(cfg.rows, reset_less=True)
        m.d.sync += [
            met_again.eq(self._read_soon(results)),
            met.eq(self._read_soon(slice.upcoming)),
        ]
        valid_rows = Cat(row.valid for row in results.rows)
        m.d.comb += [
            chosen.ready.eq((valid_rows & Mux(slice.again, met_again, met)) == 0),
            decided.eq(chosen.valid & chosen.ready),
        ]
        m.d.sync += [
            rows.eq(results.rows),
            buffer.eq(results.buffer),
            self.written.eq(decided & results.ends & ~results.pooled),
            self.pooled.eq(decided & results.ends & results.pooled),
        ]
        for row in range(cfg.rows):
            m.d.sync += valid[row].eq(decided & results.rows[row].valid)
        for lane in range(cfg.word):
            m.d.sync += mask[lane].eq(results.lane == lane)
        load, written = self.load.payload, valid.any()
        # A word of the next image is for one bank, and comes when no result is written.
        m.d.comb += [
            self.load.ready.eq(~written),
            self.write.buffer.eq(Mux(written, buffer, load.buffer)),
            self.write.mask.eq(mask | (~written).replicate(cfg.word)),
            self.write.load.eq(~written),
            self.write.loaded.eq(load.data),
        ]
        for bank in range(BANKS):
            u, v = divmod(bank, 3)
            hits = [
                valid[row] & (result.pointer.u == u) & (result.pointer.v == v)
                for row, result in enumerate(rows)
            ]
            address, value = rows[0].pointer.address, rows[0].value
            for row in range(1, cfg.rows):
                address = Mux(hits[row], rows[row].pointer.address, address)
                value = Mux(hits[row], rows[row].value, value)
            here = self.load.valid & (load.u == u) & (load.v == v)
            m.d.comb += [
                self.write.banks[bank].enable.eq(Mux(written, Cat(hits).any(), here)),
                self.write.banks[bank].address.eq(Mux(written, address, load.address)),
                self.write.banks[bank].value.eq(value),
            ]
