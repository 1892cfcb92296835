"""The write queue: results wait here until their banks are free."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from penstock.config import BANKS, Config
from penstock.hw.buffers import write_layout
from penstock.hw.layouts import (
    bank_pointer_layout,
    bank_word_layout,
    result_layout,
    used_address_bits,
)
from penstock.hw.output_writer import raw_result_layout
from penstock.hw.pipeline import lookup
from penstock.hw.register_slice import LateReadySlice, SkidBuffer

DECISION_LATENCY = 2
"""Cycles from a residual to the writes that it holds back."""


def place_layout(cfg: Config) -> data.StructLayout:
    """A pointer, its address in the bits that are in use."""
    return data.StructLayout({"u": 2, "v": 2, "address": used_address_bits(cfg)})


def entry_layout(cfg: Config) -> data.StructLayout:
    """A group in the queue: results, or in their place a classifier's word.

    A bit of ``same_bank`` for each two rows, (1, 0), (2, 0), (2, 1), ..: both have a result, in one
    bank. One row has a bit that is 0.
    """
    result = data.StructLayout({"place": place_layout(cfg), "value": 8})
    content = data.UnionLayout({"results": data.ArrayLayout(result, cfg.rows), "word": signed(32)})
    members = {"valid": cfg.rows, "content": content, "lane": 4, "buffer": 1}
    pairs = max(cfg.rows * (cfg.rows - 1) // 2, 1)
    return data.StructLayout({**members, "raw": 1, "last": 1, "pooled": 1, "same_bank": pairs})


def chosen_layout(cfg: Config) -> data.StructLayout:
    """Results of one group in distinct banks, which are written together; ``ends``: its last."""
    result = data.StructLayout({"valid": 1, "place": place_layout(cfg), "value": 8})
    rows = data.ArrayLayout(result, cfg.rows)
    return data.StructLayout({"rows": rows, "lane": 4, "buffer": 1, "pooled": 1, "ends": 1})


def same_bank(group) -> Value:
    """The entry's bits of a group of results."""

    def meet(one, other):
        same = Cat(one.pointer.u, one.pointer.v) == Cat(other.pointer.u, other.pointer.v)
        return one.valid & other.valid & same & ~group.raw

    rows = list(group.rows)
    pairs = [meet(one, other) for row, one in enumerate(rows) for other in rows[:row]]
    return Cat(pairs or [Const(0, 1)])


def put(entry, group) -> list:
    """Assignments that make a group of results the entry."""
    content = entry.content
    results = Cat(
        Cat(row.pointer.u, row.pointer.v, row.pointer.address[: len(own.place.address)], row.value)
        for row, own in zip(group.rows, content.results, strict=True)
    )
    same = ("lane", "buffer", "raw", "last", "pooled")
    return [
        entry.valid.eq(Cat(row.valid for row in group.rows)),
        content.as_value().eq(Mux(group.raw, group.word.as_unsigned(), results)),
        entry.same_bank.eq(same_bank(group)),
        *(entry[name].eq(group[name]) for name in same),
    ]


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
        arriving, head = Signal(layout), Signal(layout)
        m.d.comb += [
            *put(arriving, self.i.payload),
            fifo.w_en.eq(self.i.valid),
            fifo.w_data.eq(arriving),
            head.eq(fifo.r_data),
        ]

        # The first result of each bank goes first.
        m.submodules.chosen = chosen = LateReadySlice(chosen_layout(cfg))
        done = Signal(cfg.rows)
        granted, blocks = Signal(cfg.rows), []
        for row in range(cfg.rows):
            # Those before it in its bank: it waits for them.
            pairs = head.same_bank[row * (row - 1) // 2 :][:row]
            blocks.append((pairs & ~done[:row]).any())
            result = fifo.r_rdy & ~head.raw & head.valid[row]
            m.d.comb += granted[row].eq(result & ~done[row] & ~blocks[row])
        # A classifier's word leaves with a set of no results.
        m.submodules.words = words = SkidBuffer(raw_result_layout())
        wiring.connect(m, words.o, wiring.flipped(self.word))
        leaving, word = Signal(), Signal()
        m.d.comb += [
            word.eq(fifo.r_rdy & head.raw & head.valid[0]),
            words.i.valid.eq(word & chosen.i.ready),
            words.i.payload.data.eq(head.content.word),
            words.i.payload.last.eq(head.last),
            chosen.i.valid.eq(fifo.r_rdy & (words.i.ready | ~word)),
            chosen.i.payload.lane.eq(head.lane),
            chosen.i.payload.buffer.eq(head.buffer),
            chosen.i.payload.pooled.eq(head.pooled),
            chosen.i.payload.ends.eq(~Cat(blocks).any()),
            leaving.eq(chosen.i.valid & chosen.i.ready & chosen.i.payload.ends),
            fifo.r_en.eq(leaving),
        ]
        for row, result in enumerate(head.content.results):
            m.d.comb += [
                chosen.i.payload.rows[row].valid.eq(granted[row]),
                chosen.i.payload.rows[row].place.eq(result.place),
                chosen.i.payload.rows[row].value.eq(result.value),
            ]
        m.d.sync += done.eq(Mux(leaving, 0, done | Mux(chosen.i.ready, granted, 0)))
        self._bank_writes(m, chosen)
        return m

    def _read_soon(self, results) -> Value:
        """A bit for each row: whether its result's word is read two cycles from now."""
        reading = self.residual_reading & (results.buffer == self.residual_buffer)

        def same(pointer, place):
            address = pointer.address[: len(place.address)] == place.address
            return (pointer.u == place.u) & (pointer.v == place.v) & address

        return Cat(
            reading & Cat(same(pointer, row.place) for pointer in self.residual).any()
            for row in results.rows
        )

    def _bank_writes(self, m: Module, sets: LateReadySlice):
        cfg, chosen, results = self.cfg, sets.o, sets.o.payload
        rows = Signal(results.rows.shape(), reset_less=True)
        buffer, mask = Signal(reset_less=True), Signal(cfg.word, reset_less=True)
        written, decided = Signal(), Signal()
        met_again, met = Signal(cfg.rows, reset_less=True), Signal(cfg.rows, reset_less=True)
        m.d.sync += [
            met_again.eq(self._read_soon(results)),
            met.eq(self._read_soon(sets.upcoming)),
        ]
        valid = Cat(row.valid for row in results.rows)
        m.d.comb += [
            chosen.ready.eq((valid & Mux(sets.again, met_again, met)) == 0),
            decided.eq(chosen.valid & chosen.ready),
        ]
        m.d.sync += [
            rows.eq(results.rows),
            buffer.eq(results.buffer),
            written.eq(decided & valid.any()),
            self.written.eq(decided & results.ends & ~results.pooled),
            self.pooled.eq(decided & results.ends & results.pooled),
        ]
        for lane in range(cfg.word):
            m.d.sync += mask[lane].eq(results.lane == lane)
        load = self.load.payload
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
            # At most one row's result is for it.
            hits = [row.valid & (row.place.u == u) & (row.place.v == v) for row in results.rows]
            source = Signal(range(cfg.rows), name=f"source_{bank}", reset_less=True)
            enable = Signal(name=f"enable_{bank}")
            m.d.sync += enable.eq(decided & Cat(hits).any())
            for bit in range(len(source)):
                m.d.sync += source[bit].eq(
                    Cat(hit for row, hit in enumerate(hits) if row >> bit & 1).any()
                )
            address = lookup([row.place.address for row in rows], source)
            here = self.load.valid & (load.u == u) & (load.v == v)
            m.d.comb += [
                self.write.banks[bank].enable.eq(Mux(written, enable, here)),
                self.write.banks[bank].address.eq(Mux(written, address, load.address)),
                self.write.banks[bank].value.eq(lookup([row.value for row in rows], source)),
            ]
