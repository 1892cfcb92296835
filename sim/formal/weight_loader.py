"""The weight loader asks for what it was told to read, and writes where it was told to write."""

import dataclasses
import functools

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.weight_loader import WeightLoader
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import hold_stream, moves, tally, unasked

STREAMED = dataclasses.replace(preset("tiny"), weights="streamed")
COUNT = 8  # bits of the checks' counters

SHORT = 4
"""Weight words of the largest transfer in the proof."""


class Weights(wiring.Component):
    """As many words as asked, each to the next address, and busy until the last one is written.

    The loader has a free start, a memory that answers what it was asked, and a free halt.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.block = WeightLoader(cfg)
        ports = {name: self.block.signature.members[name] for name in ("halt", "request", "data")}
        super().__init__({**ports, "begin": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self.block
        request, beat = block.request, block.data
        wiring.connect(m, request, wiring.flipped(self.request))
        wiring.connect(m, wiring.flipped(self.data), beat)
        m.d.comb += block.halt.eq(self.halt)
        # The read arbiter: beats that were asked for, and none during a halt or behind it.
        self.due = tally(m, "due", COUNT, Mux(moves(request), request.p.beats, 0), moves(beat))
        self.halted = halted = Signal()
        m.d.sync += halted.eq(halted | self.halt)
        m.d.comb += Assume(~beat.valid | (self.due.any() & ~halted & ~self.halt))
        hold_stream(m, "data", beat, Assume, unless=self.halt)
        hold_stream(m, "request", request, unless=self.halt, in_row=False)
        # One start, and none behind a halt: control.
        self.started = Signal()
        address, words, destination = AnyConst(32), AnyConst(20), AnyConst(16)
        start = Signal()
        m.d.comb += start.eq(self.begin & ~self.started & ~halted & ~self.halt)
        m.d.sync += self.started.eq(self.started | start)
        m.d.comb += [
            block.start.eq(start),
            block.address.eq(address),
            block.words.eq(words),
            block.destination.eq(destination),
            Assume(words.any() & (words <= SHORT)),
        ]
        self.words, self.beats = words, words * self.cfg.weight_beats
        self._requests(m, address)
        self._writes(m, destination)
        self._induction(m, Inside(block))
        return m

    def _requests(self, m: Module, address):
        """They go through the words from ``address`` on, no more than those."""
        request, self.place = self.block.request, Signal(29)  # of the next word to ask for
        self.asked = tally(m, "asked", COUNT, Mux(moves(request), request.p.beats, 0), 0)
        m.d.comb += self.place.eq(address[3:] + self.asked)
        with m.If(request.valid):
            m.d.comb += Assert(self.started & (request.p.address == self.place << 3))
        m.d.comb += Assert(self.asked <= self.beats)

    def _writes(self, m: Module, destination):
        """They go to the words from ``destination`` on; the loader is busy until the last one."""
        block, started, halted, words = self.block, self.started, self.halted, self.words
        self.written = written = tally(m, "written", COUNT, block.weight_write.enable, 0)
        m.d.comb += [Assert(written <= words), Assert(block.data.ready)]
        with m.If(block.weight_write.enable):
            m.d.comb += Assert(block.weight_write.address == (destination + written)[:16])
            m.d.comb += Assert(started & (written < words))
        with m.If(~halted):
            all_came = (self.asked == self.beats) & ~self.due.any()
            m.d.comb += Assert(block.busy == (started & (written < words)))
            m.d.comb += Assert(block.busy | ~started | all_came)
            with m.If(started):  # for the induction
                m.d.comb += Assert(block.weight_write.address == (destination + written)[:16])
        m.d.comb += [Cover(~halted & (written == 2)), Cover(halted & (written == 1))]

    def _induction(self, m: Module, inside: Inside):
        """Where the beats are that came and were not yet written."""
        reader, assembler = inside.block("reader"), inside.block("assembler")
        (remaining, position), request = unasked(reader), reader.component.request
        joins, count = assembler.component.i.valid, assembler["count"]
        asked, written = self.asked, self.written
        m.d.comb += [
            Assert(self.due <= asked),
            Assert(count < self.cfg.weight_beats),
            Assert(self.started | ~(asked.any() | written.any() | joins | remaining.any())),
            Assert(~reader["fresh"] | request.valid),
            Assert(~request.valid | request.p.beats.any() & (request.p.beats <= remaining)),
        ]
        with m.If(self.halted):
            m.d.comb += Assert(~(remaining.any() | request.valid | joins | inside["left"].any()))
        with m.Elif(self.started):
            received = written * self.cfg.weight_beats + count + joins
            m.d.comb += Assert(remaining == self.beats - asked)
            m.d.comb += Assert(position == self.place)
            m.d.comb += Assert(inside["left"] == self.words - written)
            m.d.comb += Assert(asked == self.due + received)


PROOFS = [
    Proof(
        block="weight_loader",
        name="transfers",
        configuration=f"tiny, streamed weights, at most {SHORT} weight words",
        statement="requests cover the transfer's words in order and no others; each weight word is"
        " written once, to the next address; busy until the last one is written, or a halt",
        top=functools.partial(Weights, STREAMED),
        depth=2,
        cover_depth=14,
        quick=False,
    )
]
