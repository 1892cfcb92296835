"""The weight loader asks for what it was told to read, and writes where it was told to write."""

import dataclasses
import functools

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import Config, preset
from penstock.hw.weight_loader import WeightLoader
from penstock.sim.formal.axi_rules import Inside, hold_stream, moves, tally
from penstock.sim.formal.prover import Proof

STREAMED = dataclasses.replace(preset("tiny"), weights="streamed")
COUNT = 8  # bits of the checks' counters

SHORT = 4
"""Weight words of the largest transfer in the proof."""


class _Loader(wiring.Component):
    """A loader between a free start, a memory that answers what it was asked, and a free sink."""

    def __init__(self, block):
        self.block = block
        members = dict(block.signature.members)
        ports = {
            name: members[name] for name in ("halt", "request", "data", "write") if name in members
        }
        super().__init__({**ports, "begin": In(1)})

    def elaborate(self, platform):
        m = Module()
        inside, block = Inside(self.block), self.block
        m.submodules.block = inside.module
        request, beat = block.request, block.data
        wiring.connect(m, request, wiring.flipped(self.request))
        m.d.comb += [block.halt.eq(self.halt), beat.valid.eq(self.data.valid)]
        m.d.comb += [beat.payload.eq(self.data.payload), self.data.ready.eq(beat.ready)]
        # The read arbiter: beats that were asked for, and none during a halt or behind it.
        due = tally(m, "due", COUNT, Mux(moves(request), request.p.beats, 0), moves(beat))
        halted = Signal()
        m.d.sync += halted.eq(halted | self.halt)
        m.d.comb += Assume(~beat.valid | (due.any() & ~halted & ~self.halt))
        hold_stream(m, "data", beat, Assume, unless=self.halt)
        hold_stream(m, "request", request, unless=self.halt, in_row=False)
        # One start, and none behind a halt.
        started, address = Signal(), AnyConst(32)
        start = Signal()
        m.d.comb += start.eq(self.begin & ~started & ~halted & ~self.halt)
        m.d.sync += started.eq(started | start)
        m.d.comb += [block.start.eq(start), block.address.eq(address)]
        place = Signal(29)  # of the next word to ask for
        asked = tally(m, "asked", COUNT, Mux(moves(request), request.p.beats, 0), 0)
        m.d.comb += place.eq(address[3:] + asked)
        with m.If(request.valid):
            m.d.comb += Assert(started & (request.p.address == place << 3))
        self._check(m, block, started, halted, asked, due)
        self._induction(m, inside, started, halted, asked, due, place)
        return m

    def _induction(self, m, inside, *state):
        """What an induction needs beside the checks; a bounded proof needs nothing."""


class Weights(_Loader):
    """As many words as asked, each to the next address, and busy until the last one is written."""

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(WeightLoader(cfg))

    def _check(self, m, block, started, halted, asked, due):
        words, destination = AnyConst(20), AnyConst(16)
        m.d.comb += [block.words.eq(words), block.destination.eq(destination)]
        m.d.comb += Assume(words.any() & (words <= SHORT))
        self.words, self.beats = words, words * self.cfg.weight_beats
        self.written = written = tally(m, "written", COUNT, block.weight_write.enable, 0)
        m.d.comb += [Assert(asked <= self.beats), Assert(written <= words)]
        m.d.comb += Assert(block.data.ready)
        with m.If(block.weight_write.enable):
            m.d.comb += Assert(block.weight_write.address == (destination + written)[:16])
            m.d.comb += Assert(started & (written < words))
        with m.If(~halted):
            m.d.comb += Assert(block.busy == (started & (written < words)))
            m.d.comb += Assert(block.busy | ~started | (asked == self.beats) & ~due.any())
            with m.If(started):  # for the induction
                m.d.comb += Assert(block.weight_write.address == (destination + written)[:16])
        m.d.comb += [Cover(~halted & (written == 2)), Cover(halted & (written == 1))]

    def _induction(self, m, inside, started, halted, asked, due, place):
        reader, assembler = inside.block("reader"), inside.block("assembler")
        remaining, request = reader["remaining"], reader.component.request
        joins, count = assembler.component.i.valid, assembler["count"]
        m.d.comb += [
            Assert(due <= asked),
            Assert(count < self.cfg.weight_beats),
            Assert(started | ~(asked.any() | self.written.any() | joins | remaining.any())),
            Assert(~request.valid | request.p.beats.any() & (request.p.beats <= remaining)),
        ]
        with m.If(halted):
            m.d.comb += Assert(~(remaining.any() | request.valid | joins | inside["left"].any()))
        with m.Elif(started):
            received = self.written * self.cfg.weight_beats + count + joins
            m.d.comb += Assert((remaining == self.beats - asked) & (reader["position"] == place))
            m.d.comb += Assert(inside["left"] == self.words - self.written)
            m.d.comb += Assert(asked == due + received)


PROOFS = [
    Proof(
        block="weight_loader",
        name="transfers",
        configuration=f"tiny, streamed, at most {SHORT} weight words",
        statement="asks for the words' beats; each goes to the next address; busy until then",
        top=functools.partial(Weights, STREAMED),
        depth=2,
        cover_depth=14,
        quick=False,
    )
]
