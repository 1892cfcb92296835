"""The converters between words of 64 bits and beats of 32 or 128 bits keep order and content."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.axi_width import (
    ReadJoiner,
    ReadSplitter,
    WriteJoiner,
    WriteSplitter,
)
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles, hold_stream, moves, tally

WORDS = 5 * BURST_BEATS
"""Words that the core awaits at most: those of five bursts, as the read arbiter's proof has it."""

SHORT = 4
"""Words of the longest request in the read splitter's proof: it only counts them down."""

MOST = 5 * SHORT
"""Words that the core awaits at most there, those of five bursts, too."""

COUNT = 6
"""Bits of the checks' counters there."""


class _Converter(wiring.Component):
    """A converter with free words and free stalls around it, and the word that it took last."""

    def __init__(self, block):
        self.block = block
        super().__init__(dict(block.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = self.block
        inside, i, o = Inside(self.block), self.block.i, self.block.o
        wiring.connect(m, wiring.flipped(self.i), i)
        wiring.connect(m, o, wiring.flipped(self.o))
        # The slice of the read channel and the output writer hold their words: proofs of theirs.
        hold_stream(m, "i", i, Assume)
        hold_stream(m, "o", o, in_row=i.p.shape().size > o.p.shape().size)
        before = Signal.like(i.payload)
        with m.If(moves(i)):
            m.d.sync += before.eq(i.payload)
        self._check(m, inside, i, o, before)
        return m


class JoinedReads(_Converter):
    """Beats 2n and 2n + 1 are word n, which moves with the second of them."""

    def __init__(self):
        super().__init__(ReadJoiner())

    def _check(self, m, inside, i, o, before):
        second = Signal()
        with m.If(moves(i)):
            m.d.sync += second.eq(~second)
        m.d.comb += Assert(moves(o) == (moves(i) & second))
        m.d.comb += Assert(~i.valid | second | i.ready)  # a first beat never waits
        m.d.comb += Assert(o.valid == (i.valid & second))
        with m.If(o.valid):
            m.d.comb += Assert(o.p.data == Cat(before.data, i.p.data))
            m.d.comb += Assert(o.p.error == (before.error | i.p.error))
        m.d.comb += Cover(o.valid & before.error & ~i.p.error)
        m.d.comb += Assert(inside["has_low"] == second)  # for the induction
        with m.If(second):
            m.d.comb += Assert(inside["low"] == before)


class SplitWrites(_Converter):
    """Word n is beats 2n and 2n + 1, whole ones; it moves with the second of them."""

    def __init__(self):
        super().__init__(WriteSplitter())

    def _check(self, m, inside, i, o, before):
        second = Signal()
        with m.If(moves(o)):
            m.d.sync += second.eq(~second)
        m.d.comb += Assert(moves(i) == (moves(o) & second))
        m.d.comb += Assert(o.valid == i.valid)
        m.d.comb += Assert(o.p.data == Mux(second, i.p.data[32:], i.p.data[:32]))
        m.d.comb += Assert(o.p.strobes.all() & (o.p.last == (i.p.last & second)))
        m.d.comb += Cover(moves(o) & o.p.last)
        m.d.comb += Assert(inside["high"] == second)  # for the induction


class JoinedWrites(_Converter):
    """Words 2n and 2n + 1 of a request are its beat n; an odd last one is a beat's low half."""

    def __init__(self):
        super().__init__(WriteJoiner())

    def _check(self, m, inside, i, o, before):
        odd = Signal()  # the word offered is one
        with m.If(moves(i)):
            m.d.sync += odd.eq(~odd & ~i.p.last)
        closes = odd | i.p.last
        m.d.comb += Assert(moves(o) == (moves(i) & closes))
        m.d.comb += Assert(~i.valid | closes | i.ready)  # a first word never waits
        m.d.comb += Assert(o.valid == (i.valid & closes))
        with m.If(o.valid & odd):
            m.d.comb += Assert(o.p.data == Cat(before.data, i.p.data))
        m.d.comb += Assert(~o.valid | odd | (o.p.data[:MEMORY_BITS] == i.p.data))
        m.d.comb += Assert(~o.valid | (o.p.strobes == Mux(odd, 0xFFFF, 0x00FF)))
        m.d.comb += Assert(o.p.last == i.p.last)
        m.d.comb += [Cover(moves(o) & o.p.last & odd), Cover(moves(o) & o.p.last & ~odd)]
        m.d.comb += Assert(inside["has_low"] == odd)  # for the induction
        with m.If(odd):
            m.d.comb += Assert(inside["low"] == before.data)


def beats_of(high, words):
    """128-bit beats that hold so many words, the first one in a high half or not."""
    return (words + high + 1) >> 1


class SplitReads(wiring.Component):
    """Any one word of any one request comes from its half of its beat, in order.

    ``mark`` chooses a request, ``word`` its word.
    """

    def __init__(self):
        self.block = ReadSplitter()
        super().__init__({**self.block.signature.members, "mark": In(1), "word": In(7)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self.block
        for name in ("request", "i"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(block, name))
        wiring.connect(m, block.o, wiring.flipped(self.o))
        request, i, o = block.request, block.i, block.o
        # Requests are legal: the burst generator's proof. Beats are held: the register slice.
        m.d.comb += Assume(request.p.beats.any() & (request.p.beats <= SHORT))
        hold_stream(m, "i", i, Assume)
        hold_stream(m, "o", o)

        high, length = request.p.address[3], request.p.beats
        asked = moves(request)
        words = tally(m, "words", COUNT, Mux(asked, length, 0), moves(o))  # to come
        beats = tally(m, "beats", COUNT, Mux(asked, beats_of(high, length), 0), moves(i))
        m.d.comb += Assume(~asked | (words + length <= MOST))
        m.d.comb += Assert(~o.valid | words.any())
        m.d.comb += Assert(~i.ready | beats.any())
        m.d.comb += Assert(words.any() == beats.any())

        pending, word = Signal(), self.word
        words_ahead, beats_ahead, half = Signal(COUNT), Signal(COUNT), Signal()
        m.d.sync += words_ahead.eq(words_ahead - moves(o))
        m.d.sync += beats_ahead.eq(beats_ahead - moves(i))
        due = pending & (words_ahead == 0)
        with m.If(due & moves(o)):
            m.d.sync += pending.eq(0)
        with m.If(asked & self.mark & ~pending & (word < length)):
            m.d.sync += [pending.eq(1), words_ahead.eq(words - moves(o) + word)]
            m.d.sync += beats_ahead.eq(beats - moves(i) + ((word + high) >> 1))
            m.d.sync += half.eq(word[0] ^ high)
        with m.If(due & o.valid):
            m.d.comb += Assert(beats_ahead == 0)
            m.d.comb += Assert(o.p.data == i.p.data.word_select(half, MEMORY_BITS))
            m.d.comb += Assert(o.p.error == i.p.error)
        # A beat that is there waits a cycle at most for its burst to be looked at.
        late = cycles(m, "late", words.any() & i.valid & ~o.valid, 2)
        m.d.comb += Assert(late < 2)
        m.d.comb += [Cover(due & moves(o) & half), Cover(due & moves(o) & ~half & (words > 1))]
        return m


PROOFS = [
    *(
        Proof(
            block="axi_width",
            name=name,
            configuration="all",
            statement=statement,
            top=top,
            depth=2,
            cover_depth=6,
        )
        for name, top, statement in (
            ("read joiner", JoinedReads, "beats 2n and 2n + 1 are word n, with their errors"),
            ("write splitter", SplitWrites, "word n is beats 2n and 2n + 1, the low half first"),
            ("write joiner", JoinedWrites, "two words are a beat, an odd last one has its own"),
        )
    ),
    Proof(
        block="axi_width",
        name="read splitter",
        configuration=f"requests of at most {SHORT} words, at most {MOST} words under way",
        statement="any word of any request comes from its half of its beat, in order; none is lost"
        " or invented",
        top=SplitReads,
        depth=7,
        induction=False,
        quick=False,
    ),
]
