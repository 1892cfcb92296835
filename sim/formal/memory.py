"""The memory side: bursts, the arbiter of the read channel, and the writer of results."""

import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.memory import BurstGenerator, ReadArbiter
from penstock.hw.output_writer import OutputWriter
from penstock.sim.formal.inside import Inside, InsideFifo
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles, hold_stream, moves, tally, unasked

BEAT_BYTES = MEMORY_BITS // 8

BITS = 24
"""Of a transfer's length in words, in the burst generator's proof."""

CLIENTS = 2
"""Of the arbiter in its proof."""

SHORT = 3
"""Words of the longest request in the arbiter's proof: it only counts them down."""


class Bursts(wiring.Component):
    """Requests cover the asked range in order, the longest that cross no boundary of a burst."""

    def __init__(self, bits: int):
        self.block = BurstGenerator(bits)
        super().__init__(dict(self.block.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inside = Inside(self.block)
        block, request = self.block, self.block.request
        wiring.connect(m, wiring.flipped(self), block)
        m.d.comb += Assume(~self.start | ~block.busy)  # loaders and writer: proofs of theirs
        hold_stream(m, "request", request, unless=block.halt, in_row=False)

        place, left = Signal(29), Signal(len(self.beats))  # in words: the next one, still to ask
        with m.If(moves(request)):
            m.d.sync += place.eq(place + request.p.beats)
            m.d.sync += left.eq(left - request.p.beats)
        with m.If(self.start):
            m.d.sync += place.eq(self.address // BEAT_BYTES)
            m.d.sync += left.eq(self.beats)
        with m.If(self.halt):
            m.d.sync += left.eq(0)
        m.d.comb += Assert(block.busy == left.any())
        to_boundary = BURST_BEATS - place % BURST_BEATS
        with m.If(request.valid):
            m.d.comb += Assert(request.p.address == place * BEAT_BYTES)
            m.d.comb += Assert(request.p.beats == Mux(left < to_boundary, left, to_boundary))
            m.d.comb += Assert(request.p.beats.any() & (request.p.beats <= BURST_BEATS))
        idle = cycles(m, "idle", left.any() & ~request.valid, 1)
        m.d.comb += Assert(idle <= 1)  # the next request follows in the second cycle
        m.d.comb += [
            Cover(request.valid & (request.p.beats == BURST_BEATS)),
            Cover(moves(request) & (left > BURST_BEATS) & (place % BURST_BEATS != 0)),
        ]

        # For the induction.
        remaining, position = unasked(inside)
        m.d.comb += Assert((remaining == left) & (~left.any() | (position == place)))
        m.d.comb += Assert(~inside["fresh"] | request.valid)
        m.d.comb += Assert(~request.valid | left.any())
        return m


class Arbiter(wiring.Component):
    """Any one word of any one granted request reaches its client, and every word only one.

    ``mark`` chooses the request, ``word`` its word.
    """

    def __init__(self, clients: int):
        self.block = ReadArbiter(clients)
        super().__init__({**self.block.signature.members, "mark": In(1), "word": In(7)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inside = Inside(self.block)
        block, clients = self.block, range(self.block.clients)
        for name in ("request", "data"):
            for client in clients:
                outer, inner = getattr(self, name)[client], getattr(block, name)[client]
                wiring.connect(m, inner, wiring.flipped(outer))
        wiring.connect(m, block.read_request, wiring.flipped(self.read_request))
        wiring.connect(m, wiring.flipped(self.read_data), block.read_data)
        m.d.comb += block.drain.eq(self.drain)
        words, pending, ahead, owner = self._check(m, block, clients)
        self._induction(m, inside, words, pending, ahead, owner)
        return m

    def _check(self, m, block, clients):
        asked, beat = block.read_request, block.read_data
        grants = Cat(moves(request) for request in block.request)
        lengths = (Mux(moves(request), request.p.beats, 0) for request in block.request)
        length = functools.reduce(lambda one, other: one | other, lengths)
        # Loaders: burst generators. The memory answers what it was asked.
        for client in clients:
            request = block.request[client]
            m.d.comb += Assume(~request.valid | request.p.beats.any())
            m.d.comb += Assume(request.p.beats <= SHORT)
            hold_stream(m, f"request_{client}", request, Assume, unless=block.drain)
        hold_stream(m, "read_data", beat, Assume)
        due = tally(m, "due", 5, Mux(moves(asked), asked.p.beats, 0), moves(beat))
        m.d.comb += Assume(~beat.valid | due.any())

        hold_stream(m, "read_request", asked)
        for client in clients:
            drained = {"unless": block.drain, "dropped": block.drain}
            hold_stream(m, f"data_{client}", block.data[client], **drained)
        words = tally(m, "words", 5, length, moves(beat))  # granted and still to come
        offered = tally(m, "offered", 2, grants.any(), moves(asked))
        valid = Cat(stream.valid for stream in block.data)
        m.d.comb += [
            Assert(sum(grants) <= 1),
            Assert(offered == asked.valid),
            Assert(~block.drain | ~grants.any() & ~valid.any()),
            Assert(sum(valid) <= 1),
            Assert(block.outstanding == words.any()),
            Assert(words <= (block.depth + 1) * SHORT),
            Assert(words == due + Mux(asked.valid, asked.p.beats, 0)),
            Cover(words == (block.depth + 1) * SHORT),
            Cover(block.drain & moves(beat) & (words == 1)),
        ]
        return words, *self._order(m, block, clients, grants, words, length)

    def _order(self, m, block, clients, grants, words, length):
        beat = block.read_data
        pending, ahead, owner = Signal(), Signal(5), Signal(range(max(clients) + 1))
        m.d.sync += ahead.eq(ahead - moves(beat))
        with m.If(pending & ~ahead.any() & moves(beat)):
            m.d.sync += pending.eq(0)
        with m.If(grants.any() & self.mark & ~pending & (self.word < length)):
            m.d.sync += [pending.eq(1), ahead.eq(words - moves(beat) + self.word)]
            for client in clients:
                with m.If(grants[client]):
                    m.d.sync += owner.eq(client)
        arrives = pending & ~ahead.any() & beat.valid
        for client in clients:
            data = block.data[client]
            m.d.comb += Assert(data.p == beat.p)
            m.d.comb += Assert(~data.valid | beat.valid)
            with m.If(arrives & ~block.drain & (owner == client)):
                m.d.comb += Cover(moves(data) & beat.p.error & (words > 3))
                m.d.comb += Assert(data.valid & (beat.ready == data.ready))
        return pending, ahead, owner

    def _induction(self, m, inside, words, pending, ahead, owner):
        """Where the words go that are still to come: the burst that is answered, those behind."""
        receivers, beats = inside["receivers"], inside["beats"]
        fifo = InsideFifo(m, inside.block("fifo"))
        current = Signal(inside["route"])
        m.d.comb += [
            current.beats.eq(beats),
            current.client.eq(sum(client * receivers[client] for client in range(len(receivers)))),
            Assert((receivers & (receivers - 1)) == 0),
            Assert(inside["last_beat"] == (beats == 1)),
        ]
        places = [(receivers.any(), current)]
        for place in range(self.block.depth):
            places.append((fifo.level > place, data.View(inside["route"], fifo.at(place))))
        start = 0
        for number, (there, burst) in enumerate(places):
            end = Signal(5, name=f"words_to_{number}")
            m.d.comb += end.eq(start + Mux(there, burst.beats, 0))
            with m.If(there):
                m.d.comb += Assert(burst.beats.any() & (burst.beats <= SHORT))
                with m.If(pending & (ahead >= start) & (ahead < end)):
                    m.d.comb += Assert(burst.client == owner)
            start = end
        asked = self.block.read_request
        m.d.comb += Assert(~asked.valid | asked.p.beats.any() & (asked.p.beats <= SHORT))
        m.d.comb += Assert((start == words) & (~pending | (ahead < words)))


class Writer(wiring.Component):
    """Bursts and their words in number and order, and idle only with nothing under way."""

    def __init__(self):
        self.block = OutputWriter()
        members = dict(self.block.signature.members)
        del members["write_done"]  # is always taken
        super().__init__({**members, "answer": In(1), "failed": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inside = Inside(self.block)
        block, request, word = self.block, self.block.write_request, self.block.write_data
        for name in ("start", "address", "header", "halt"):
            m.d.comb += getattr(block, name).eq(getattr(self, name))
        for name in ("i", "write_request", "write_data"):
            outer, inner = getattr(self, name), getattr(block, name)
            wiring.connect(m, wiring.flipped(outer), inner)
        m.d.comb += block.write_done.valid.eq(self.answer)
        m.d.comb += block.write_done.p.error.eq(self.failed)
        hold_stream(m, "request", request, in_row=False)
        hold_stream(m, "word", word)

        # Words owed to the memory: of the burst before the last one only its last word may be.
        owed, tail = Signal(7), Signal()
        with m.If(moves(word)):
            m.d.sync += [owed.eq(owed - ~tail), tail.eq(0)]
        with m.If(moves(request)):
            m.d.comb += Assert(~tail & (owed == word.valid))
            m.d.sync += [owed.eq(request.p.beats), tail.eq(word.valid & ~word.ready)]
        with m.If(word.valid):
            m.d.comb += Assert((tail | owed.any()) & (word.p.last == (tail | (owed == 1))))
        # The memory answers a burst that it has whole. It has no more than 4,095 to answer.
        unanswered = tally(m, "unanswered", 12, moves(request), self.answer)
        whole = tally(m, "whole", 12, moves(word) & word.p.last, self.answer)
        m.d.comb += Assume(~self.answer | whole.any())
        m.d.comb += Assume(~unanswered.all())
        under_way = request.valid | word.valid | owed.any() | unanswered.any()
        m.d.comb += Assert(block.busy | ~under_way)

        failed, halting, offered = Signal(), Signal(), Signal()
        m.d.sync += [failed.eq((failed | self.answer & self.failed) & ~self.halt)]
        m.d.sync += [halting.eq(self.halt), offered.eq(request.valid & ~request.ready)]
        m.d.comb += Assert(block.error == failed)
        begun = request.valid & ~offered & self.halt & halting
        m.d.comb += Assert(~begun)  # from the second cycle of a halt on
        m.d.comb += Assert(~self.halt | block.i.ready)
        stuck = block.busy & self.halt & ~request.valid & ~word.valid & ~whole.any()
        m.d.comb += Assert(cycles(m, "stuck", stuck, 3) <= 3)  # a halt ends
        m.d.comb += [
            Cover(self.halt & halting & moves(word) & word.p.last),
            Cover(moves(request) & (unanswered == 1) & word.valid),
        ]
        self._induction(m, inside, request, word, owed, tail, unanswered, whole)
        return m

    def _induction(self, m, inside, request, word, owed, tail, unanswered, whole):
        bursts = inside.block("bursts")
        left, (remaining, _) = inside["left"], unasked(bursts)
        offered = bursts.component.request
        phase = inside["phase"].as_value()
        m.d.comb += [
            Assert(inside["unanswered"] == unanswered),
            Assert(unanswered == whole + tail + owed.any()),
            Assert(owed == left + (word.valid & ~tail)),
            Assert((word.valid & owed.any()) | ~tail),
            Assert(~offered.valid | remaining.any()),
            Assert(~bursts["fresh"] | offered.valid),
            Assert(~offered.valid | offered.p.beats.any() & (offered.p.beats <= BURST_BEATS)),
            Assert(left <= BURST_BEATS),
            Assert((phase == 1) | (~remaining.any() & ~left.any() & ~word.valid)),
            Assert((phase != 0) | ~unanswered.any()),
            Assert(phase != 3),
        ]


PROOFS = [
    Proof(
        block="memory",
        name="bursts",
        configuration=f"transfers of at most 2^{BITS} - 1 words",
        statement=f"requests cover the asked words and no others, in order, each the longest of at"
        f" most {BURST_BEATS} words that crosses no boundary of {BURST_BEATS * BEAT_BYTES} bytes;"
        " held until taken or halted",
        top=functools.partial(Bursts, BITS),
        depth=3,
        cover_depth=8,
    ),
    Proof(
        block="memory",
        name="read arbiter",
        configuration=f"{CLIENTS} clients, requests of at most {SHORT} words",
        statement="any word of any granted request reaches its client, in order, and no other; at"
        " most five bursts under way; nothing is granted or delivered while draining; outstanding"
        " tells whether words are still to come",
        top=functools.partial(Arbiter, CLIENTS),
        depth=2,
        cover_depth=9,
        quick=False,
    ),
    Proof(
        block="output_writer",
        name="bus",
        configuration="at most 4,095 bursts unanswered",
        statement="as many words as each burst asked for, the last one marked; busy until all are"
        " answered; an error holds until halt; a halt ends with the last answer",
        top=Writer,
        depth=5,
        cover_depth=10,
        quick=False,
    ),
]
