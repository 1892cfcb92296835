"""The write queue writes every result once, in order, and never over a word that is being read."""

import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.layouts import (
    bank_pointer_layout,
    bank_word_layout,
    result_layout,
    used_address_bits,
)
from penstock.hw.pipeline import delay
from penstock.hw.register_slice import LateReadySlice
from penstock.hw.write_queue import DECISION_LATENCY, WriteQueue, entry_layout, put
from penstock.sim.formal.inside import Inside, InsideFifo
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.reductions import END_BITS, FEW_GROUPS, ends, shortened, whole
from penstock.sim.formal.rules import moves


class WritesInOrder(wiring.Component):
    """Groups of results leave in order; each of their results is written once, before they leave.

    ``watch`` marks one group at a time, any group: ``ahead`` groups are to leave before it. A
    result that is chosen is the first of the marked group's in its bank that was not (``done``).
    Chosen sets are written as they are, in order, each in the cycle behind that in which it leaves.
    ``bits`` tells which bits of results and words are compared, `ends` or `whole`.
    """

    def __init__(self, cfg: Config, bits=ends):
        self.cfg, self.bits = cfg, bits
        super().__init__(
            {
                "valid": In(1),
                "results": In(result_layout(cfg)),
                "load_valid": In(1),
                "load": In(bank_word_layout(cfg)),
                "residual_buffer": In(1),
                "residual_reading": In(1),
                "residual": In(data.ArrayLayout(bank_pointer_layout(), cfg.rows)),
                "ready": In(1),  # for a classifier's word
                "watch": In(1),
            }
        )
        self.inside = Signal(range(cfg.write_groups + 1))  # groups that came and have not left
        self.unwritten = Signal.like(self.inside)  # groups that came and are not written
        self.watching, self.ahead = Signal(), Signal.like(self.inside)
        self.group, self.done = Signal(result_layout(cfg)), Signal(cfg.rows)

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = WriteQueue(self.cfg)
        m.d.comb += [
            queue.i.valid.eq(self.valid),
            queue.i.payload.eq(self.results),
            queue.load.valid.eq(self.load_valid),
            queue.load.payload.eq(self.load),
            queue.residual_buffer.eq(self.residual_buffer),
            queue.residual_reading.eq(self.residual_reading),
            queue.residual.eq(self.residual),
            queue.word.ready.eq(self.ready),
        ]
        inside = Inside(queue)
        chosen = inside.block("chosen")
        self._contract(m)
        self._order(m, inside["leaving"])
        self._results(m, chosen.component)
        self._sets(m, queue, chosen)
        self._writes(m, queue, chosen.component.o)
        self._loads(m, queue)
        self._reads(m, queue, inside)
        self._words(m, queue.word, inside["words"].i)
        self._progress(m, inside)
        return m

    def _contract(self, m: Module):
        """What the surroundings promise."""
        # Dispatcher: write_credit, one for each group on its way or in the queue; a fused pooling's
        # means have no other groups beside them and are at most pool_channels.
        m.d.comb += Assume(~self.valid | (self.unwritten < self.cfg.write_groups))
        # ResultPointers and InputLoader: banks are 0..2 x 0..2; the compiler: a word's channels.
        m.d.comb += [
            Assume(~self.valid | self._lawful(self.results)),
            Assume(~self.load_valid | _is_bank(self.load)),
            Assert(~self.watching | self._lawful(self.group)),
        ]

    def _lawful(self, group) -> Value:
        """Whether the bank of each result exists, and the channel of the word."""
        bits = used_address_bits(self.cfg)
        banks = Cat(
            ~row.valid | _is_bank(row.pointer) & (row.pointer.address >> bits == 0)
            for row in group.rows
        )
        return group.raw | (banks.all() & (group.lane < self.cfg.word))

    def _order(self, m: Module, left: Value):
        """Which group is the first."""
        self.left = left
        self.first = self.watching & (self.ahead == 0)
        m.d.comb += [
            Assert(~left | (self.inside != 0)),
            Cover(left & (self.inside == min(self.cfg.write_groups, FEW_GROUPS))),
        ]
        m.d.sync += self.inside.eq(self.inside + self.valid - left)
        with m.If(left & self.watching):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.watching.eq(self.ahead != 0)]
        with m.If(self.valid & self.watch & ~self.watching):
            m.d.sync += [self.watching.eq(1), self.ahead.eq(self.inside - left)]
            m.d.sync += [self.group.eq(self.results), self.done.eq(0)]

    def _results(self, m: Module, chosen: LateReadySlice):
        """Each result of the marked group is chosen once, as it is, and all before it leaves."""
        rows, group, taken = self.cfg.rows, self.group, moves(chosen.i)
        missing, going = Signal(rows), Signal(rows)
        wanted = Mux(group.raw, 0, Cat(row.valid for row in group.rows))
        found = chosen.i.payload
        m.d.comb += [
            missing.eq(wanted & ~self.done),
            going.eq(Mux(taken, Cat(row.valid for row in found.rows), 0)),
            Assert(~taken | (self.inside != 0)),
        ]
        with m.If(self.first):
            m.d.sync += self.done.eq(self.done | going)
            m.d.comb += [
                Assert((going & ~missing) == 0),
                Assert(~self.left | ((missing & ~going) == 0)),
                Assert(~taken | (found.lane == group.lane) & (found.buffer == group.buffer)),
                Assert(~taken | (found.ends == self.left) & (found.pooled == group.pooled)),
                Cover(self.left & (self.done != 0)),  # one bank, several cycles
                Cover(self.left & (going == (1 << rows) - 1)),
            ]
            for index, row in enumerate(group.rows):
                same, place = found.rows[index], Cat(row.pointer.u, row.pointer.v)
                address = row.pointer.address[: len(same.place.address)]
                with m.If(going[index]):
                    m.d.comb += [
                        Assert(Cat(same.place.u, same.place.v) == place),
                        Assert(self.bits(same.place.address) == self.bits(address)),
                        Assert(self.bits(same.value) == self.bits(row.value)),
                    ]
                    for before, other in enumerate(group.rows[each] for each in range(index)):
                        met = missing[before] & (Cat(other.pointer.u, other.pointer.v) == place)
                        m.d.comb += Assert(~met)

    def _sets(self, m: Module, queue: WriteQueue, chosen: Inside):
        """Chosen sets leave in their order: the first two, and there are no more.

        A group's last one tells that it is written, in the cycle of its write.
        """
        block, count = chosen.component, Signal(range(3))
        sets = [Signal.like(block.i.payload, name=f"set_{index}") for index in range(2)]
        came, gone = moves(block.i), moves(block.o)
        left = Signal.like(count)
        m.d.comb += left.eq(count - gone)
        m.d.sync += count.eq(left + came)
        with m.If(gone):
            m.d.sync += sets[0].eq(sets[1])
        for index, each in enumerate(sets):
            with m.If(came & (left == index)):
                m.d.sync += each.eq(block.i.payload)
        m.d.comb += [
            Assert(count <= 2),
            Assert(block.o.valid == (count != 0)),
            Assert(chosen["free"] == (count != 2)),
        ]
        pulse, kind = Signal(), Signal()
        m.d.sync += [pulse.eq(gone & sets[0].ends), kind.eq(sets[0].pooled)]
        ending = ((count != 0) & sets[0].ends) + ((count == 2) & sets[1].ends)
        m.d.sync += self.unwritten.eq(self.unwritten + self.valid - pulse)
        m.d.comb += [
            Assert(queue.written == (pulse & ~kind)),
            Assert(queue.pooled == (pulse & kind)),
            Assert(self.unwritten == self.inside + ending + pulse),
            Cover(queue.pooled),
        ]
        with m.If(count != 0):
            m.d.comb += Assert(block.o.payload == sets[0])
        with m.If(count == 2):
            m.d.comb += Assert(chosen["following"] == sets[1])

    def _writes(self, m: Module, queue: WriteQueue, chosen):
        """What leaves is written in the next cycle, each result where and as it should be."""
        results, gone = Signal.like(chosen.payload), Signal()
        m.d.sync += [results.eq(chosen.payload), gone.eq(moves(chosen))]
        lane, met = (1 << results.lane)[: self.cfg.word], []
        for bank, write in enumerate(queue.write.banks):
            here = [
                gone & row.valid & (row.place.u == bank // 3) & (row.place.v == bank % 3)
                for row in results.rows
            ]
            met.append(Cat(here).any())
            m.d.comb += Assert(~met[-1] | write.enable & ~queue.write.load)
            # Banks are distinct, as `_results` shows.
            for index, row in reversed(list(enumerate(results.rows))):
                with (m.If if index == self.cfg.rows - 1 else m.Elif)(here[index]):
                    m.d.comb += [
                        Assert(self.bits(write.value) == self.bits(row.value)),
                        Assert(write.address >> len(row.place.address) == 0),
                        Assert(
                            self.bits(write.address[: len(row.place.address)])
                            == self.bits(row.place.address)
                        ),
                    ]
            m.d.comb += Assert(~write.enable | met[-1] | queue.write.load)
        with m.If(Cat(met).any()):
            m.d.comb += Assert(queue.write.buffer == results.buffer)
            m.d.comb += Assert(queue.write.mask == lane)

    def _loads(self, m: Module, queue: WriteQueue):
        """A word of the next image is written when it is taken, and only then."""
        taken, all_channels = self.load_valid & queue.load.ready, (1 << self.cfg.word) - 1
        for bank, write in enumerate(queue.write.banks):
            here = taken & (self.load.u == bank // 3) & (self.load.v == bank % 3)
            m.d.comb += [
                Assert(~queue.write.load | (write.enable == here)),
                Assert(~here | queue.write.load & (write.address == self.load.address)),
            ]
        with m.If(taken):
            m.d.comb += [
                Assert(queue.write.buffer == self.load.buffer),
                Assert(queue.write.mask == all_channels),
                Assert(queue.write.loaded == self.load.data),
            ]
        m.d.comb += [Cover(taken & (self.inside != 0)), Cover(self.load_valid & ~queue.load.ready)]

    def _reads(self, m: Module, queue: WriteQueue, inside: Inside):
        """No result is written into a word in the cycle in which the buffers read it."""

        def later(values, cycles: int) -> tuple:
            return tuple(delay(m, value, cycles, name="read") for value in values)

        reads = later((self.residual, self.residual_reading, self.residual_buffer), 1)
        residual, reading, buffer = reads
        chosen = inside.block("chosen")
        for name, results in (("met_again", chosen["kept"]), ("met", chosen["following"])):
            for row, result in enumerate(results.rows):
                same = Cat(_same(pointer, result.place) for pointer in residual).any()
                soon = reading & (results.buffer == buffer) & same
                m.d.comb += Assert(inside[name][row] == soon)
        residual, reading, buffer = later(reads, DECISION_LATENCY - 1)
        met = []
        for bank, write in enumerate(queue.write.banks):
            into = write.enable & (queue.write.buffer == buffer) & ~queue.write.load
            for pointer in residual:
                same = (pointer.u == bank // 3) & (pointer.v == bank % 3)
                met.append(into & same & (pointer.address == write.address))
        m.d.comb += Assert(~(reading & Cat(met).any()))

    def _words(self, m: Module, word, given):
        """A classifier's word is given away with its group, once; one that is refused waits
        unchanged until it is taken, the next one's group as well.
        """
        group, refused, before = self.group, Signal(), Signal.like(word.payload)
        m.d.sync += [refused.eq(word.valid & ~word.ready), before.eq(word.payload)]
        m.d.comb += [
            Assert(given.ready == ~refused),
            Assert(word.valid == (given.valid | refused)),
            Assert(~word.valid | (word.payload.as_value() == Mux(refused, before, given.payload))),
            Assert(~given.valid | (self.inside != 0)),
            Cover(refused & word.ready & word.payload.last),
        ]
        with m.If(self.first & given.valid):
            m.d.comb += [
                Assert(group.raw & group.rows[0].valid & (self.left == given.ready)),
                Assert(self.bits(given.payload.data) == self.bits(group.word)),
                Assert(given.payload.last == group.last),
            ]
        with m.If(self.first & self.left & group.raw & group.rows[0].valid):
            m.d.comb += Assert(given.valid)

    def _progress(self, m: Module, inside: Inside):
        """The marked group, once first, leaves in `rows` + 1 cycles and those in which it is held
        from outside.

        One is lost where both chosen sets had to wait.
        """
        fifo, done = inside["fifo"], inside["done"]
        waiting, room = Signal(range(self.cfg.rows + 4)), inside.block("chosen")["free"]
        read = delay(m, self.residual_reading, 1, name="was_reading", control=True)
        free = ~read & inside["words"].i.ready
        with m.If(self.left | ~self.first):
            m.d.sync += waiting.eq(0)
        with m.Elif(free):
            m.d.sync += waiting.eq(waiting + 1)
        latency = Mux(fifo.r_rdy, 1, 0)
        written = sum(done[row] for row in range(self.cfg.rows))
        entry = data.View(entry_layout(self.cfg), inside["head"])
        m.d.comb += [
            Assert(waiting <= self.cfg.rows + 1),
            Assert(waiting <= written + latency + room),
            # What ties the queue's inner state to the marked group, for the induction.
            Assert(fifo.level == self.inside),
            Assert(fifo.w_rdy | ~fifo.w_en),
            Assert(fifo.r_rdy | (done == 0)),
            Assert(~self.first | (done == 0) | self._goes_on(done, entry)),
            Assert(~self.watching | (self.ahead < self.inside)),
        ]
        queued = data.View(
            entry_layout(self.cfg), InsideFifo(m, inside.block("fifo")).at(self.ahead)
        )
        expected = Signal(entry_layout(self.cfg))
        m.d.comb += put(expected, self.group)
        with m.If(self.watching):
            m.d.comb += Assert(self._seen(queued) == self._seen(expected))
            m.d.comb += Assert(self.done == Mux(self.ahead == 0, done, 0))

    def _goes_on(self, done, entry) -> Value:
        """Whether some results of a group are done, in their order, and others are not."""
        pairs = [(row, other) for row in range(self.cfg.rows) for other in range(row)]
        wanted = Mux(entry.raw, 0, entry.valid)
        passed = Cat(
            entry.same_bank[index] & done[row] & ~done[other]
            for index, (row, other) in enumerate(pairs)
        )
        return ((done & ~wanted) == 0) & ((wanted & ~done) != 0) & ~passed.any()

    def _seen(self, entry) -> Value:
        """What the proof looks at of a group in the queue."""
        results = [
            Cat(each.place.u, each.place.v, self.bits(each.place.address, each.value))
            for each in entry.content.results
        ]
        content = Mux(entry.raw, self.bits(entry.content.word), Cat(results))
        kind = Cat(entry.lane, entry.buffer, entry.raw, entry.last, entry.pooled)
        return Cat(entry.valid, entry.same_bank, kind, content)


def _same(pointer, place) -> Value:
    address = pointer.address[: len(place.address)] == place.address
    return (pointer.u == place.u) & (pointer.v == place.v) & address


def _is_bank(place) -> Value:
    return (place.u < 3) & (place.v < 3)


PROOFS = [
    Proof(
        block="write_queue",
        name="order",
        configuration=name,
        statement="every result is written once and in order, none into a word that is being read;"
        " a group leaves in one free cycle more than it has rows, or fewer, and is reported in the"
        " cycle of its last write; a loaded word is written when it is taken; a classifier's word"
        " waits until it is taken",
        top=functools.partial(WritesInOrder, cfg, bits),
        depth=2,
        cover_depth=12,
        quick=cfg.write_groups == FEW_GROUPS,
    )
    for name, cfg, bits in (
        (f"tiny, {END_BITS}", preset("tiny"), ends),
        (
            f"tiny, {FEW_GROUPS} groups, all bits",
            shortened(preset("tiny"), write_groups=FEW_GROUPS),
            whole,
        ),
    )
]
