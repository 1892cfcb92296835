"""The core's memory streams become bursts by the rules of an AXI4 master."""

import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.axi import BURST_INCREMENTING, axi_signature
from penstock.hw.axi_memory import AxiMemory
from penstock.hw.axi_width import read_beat_layout
from penstock.hw.layouts import memory_signature
from penstock.sim.formal.axi_width import WORDS
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import hold, hold_stream, moves, tally

PAGE = 4096
"""Bytes; no burst crosses a boundary of that size (A3.4.1)."""

ALIGNMENT = 64
"""Bytes; a write begins at a multiple of them."""

READ_COUNT = 11
"""Bits of the counters for words and beats to come."""

WRITES = 3
"""Writes whose data the core may still owe, one more than the output writer ever does."""


def legal(request, alignment=MEMORY_BITS // 8):
    """What the core promises of a request, and the burst generator's proof has."""
    words = (request.address // (MEMORY_BITS // 8)) % BURST_BEATS + request.beats
    return request.beats.any() & (words <= BURST_BEATS) & (request.address % alignment == 0)


def beats_of(bits: int, request):
    """Aligned beats that hold all of a request's bytes, from the first one's to the last one's."""
    size = bits // 8
    return (request.address % size + request.beats * (MEMORY_BITS // 8) + size - 1) // size


class _Master(wiring.Component):
    """The block between a free core and a free memory; either keeps what the checks assume."""

    def __init__(self, bits: int):
        self.bits = bits
        core = {name: member.flip() for name, member in memory_signature().members.items()}
        del core["write_done"]  # is always taken
        bus = {"axi": Out(axi_signature(bits))}
        super().__init__(core | bus | {"mark": In(1), "word": In(7), "part": In(1)})
        self.streams = tuple(core)

    def elaborate(self, platform):
        m = Module()
        m.submodules.master = master = AxiMemory(self.bits)
        inside, memory, axi = Inside(master), master.memory, master.axi
        for name in self.streams:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(memory, name))
        wiring.connect(m, axi, wiring.flipped(self.axi))
        for name in self.streams:
            if name != "read_data":  # proofs of the read arbiter and of the output writer
                hold_stream(m, name, getattr(memory, name), Assume)
        m.d.comb += Assume(legal(memory.read_request.p))
        m.d.comb += Assume(legal(memory.write_request.p, ALIGNMENT))
        self._check(m, inside, memory, axi)
        return m


class Addresses(_Master):
    """Each request is one legal burst, offered in the next cycle and held until it is taken."""

    def _check(self, m, inside, memory, axi):
        self._channel(m, "ar", axi, memory.read_request)
        self._channel(m, "aw", axi, memory.write_request)
        started = Signal()
        m.d.sync += started.eq(1)
        with m.If(~started):
            m.d.comb += Assert(~axi.arvalid & ~axi.awvalid)  # A3.1.2

    def _channel(self, m, channel, axi, request):
        size = self.bits // 8
        names = ("valid", "ready", "addr", "len", "size", "burst", "cache", "prot", "id")
        valid, ready, *fields = (getattr(axi, channel + name) for name in names)
        address, length, log_size, burst, cache, prot, number = fields
        hold(m, channel, valid, ready, Cat(fields))
        asked = Signal.like(request.payload, name=f"{channel}_asked")  # the request taken last
        with m.If(moves(request)):
            m.d.sync += asked.eq(request.payload)
        offered = tally(m, f"{channel}_offered", 2, moves(request), valid & ready)
        m.d.comb += Assert(offered == valid)  # one for one, and without waiting for READY: A3.3.1
        m.d.comb += Assert(~request.ready | ~valid | ready)
        with m.If(valid):
            m.d.comb += Assert(legal(asked))  # for the induction
            m.d.comb += Assert(address == asked.address // size * size)
            m.d.comb += Assert(length + 1 == beats_of(self.bits, asked))
            m.d.comb += Assert((1 << log_size) == size)  # A3.4.1
            m.d.comb += Assert(burst == BURST_INCREMENTING)
            m.d.comb += Assert(address % PAGE + (length + 1) * size <= PAGE)
            m.d.comb += Assert((cache == 0b0011) & (prot == 0) & (number == 0))
        m.d.comb += Cover(valid & (asked.beats == BURST_BEATS))


class Writes(_Master):
    """Data of each burst: AWLEN + 1 beats, WLAST on the last, the core's words; one done each."""

    def _check(self, m, inside, memory, axi):
        request, word, done = memory.write_request, memory.write_data, memory.write_done
        asked, ends = moves(request), moves(word) & word.p.last
        beat = axi.wvalid & axi.wready
        lengths, open_ = self._owed(m, asked, request.p.beats, ends)
        words, beats = Signal(7), Signal(8)  # of the oldest burst that moved already
        m.d.sync += words.eq(Mux(ends, 0, words + moves(word)))
        m.d.sync += beats.eq(Mux(ends, 0, beats + beat))
        before = Signal.like(word.p.data)
        with m.If(moves(word)):
            m.d.sync += before.eq(word.p.data)

        # The core: data behind their request, the last word marked. The output writer's proof.
        m.d.comb += Assume(~word.valid | open_.any())
        m.d.comb += Assume(word.p.last == (words + 1 == lengths[0]))
        # The bus.
        hold(m, "w", axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb, axi.wlast))
        length = (lengths[0] * (MEMORY_BITS // 8) + self.bits // 8 - 1) // (self.bits // 8)
        with m.If(axi.wvalid):
            m.d.comb += Assert(open_.any() & (axi.wlast == (beats + 1 == length)))
        m.d.comb += Assert((beat & axi.wlast) == ends)
        self._content(m, axi, word, words, beats, before)
        self._answers(m, axi, done, asked, ends, open_)
        m.d.comb += [
            Cover(beat & axi.awvalid & ~axi.awready),  # before the address is taken
            Cover(beat & axi.wlast & (beats > 1)),
            Cover(ends & (open_ == 2)),
        ]

        # For the induction.
        m.d.comb += Assert(Mux(open_.any(), words < lengths[0], ~words.any()))
        if self.bits == MEMORY_BITS:
            m.d.comb += Assert(beats == words)
            return
        converter = inside.block("words")
        if self.bits < MEMORY_BITS:
            m.d.comb += Assert(beats == 2 * words + converter["high"])
            return
        m.d.comb += Assert(words == 2 * beats + converter["has_low"])
        m.d.comb += Assert(~converter["has_low"] | (converter["low"] == before))

    def _owed(self, m, asked, length, ends):
        """Lengths of the bursts whose data are still to come, the oldest first, and their number.

        The core may have asked for up to WRITES of them.
        """
        lengths = [Signal.like(length, name=f"length_{place}") for place in range(WRITES)]
        number = Signal(range(WRITES + 1))
        m.d.comb += Assume(~asked | (number < WRITES))
        m.d.sync += number.eq(number + asked - ends)
        for place, (here, behind) in enumerate(zip(lengths, [*lengths[1:], length], strict=True)):
            with m.If(ends):
                m.d.sync += here.eq(behind)
            with m.If(asked & (number - ends == place)):
                m.d.sync += here.eq(length)
            with m.If(number > place):  # for the induction
                m.d.comb += Assert(here.any() & (here <= BURST_BEATS))
        m.d.comb += Assert(number <= WRITES)
        return lengths, number

    def _content(self, m, axi, word, words, beats, before):
        """Beats carry the words as they come; strobes tell which bytes count."""
        if self.bits <= MEMORY_BITS:
            part = word.p.data.word_select(beats[0], self.bits) if self.bits < 64 else word.p.data
            m.d.comb += Assert(axi.wvalid == word.valid)  # A3.3.1: waits for nothing
            m.d.comb += Assert(~axi.wvalid | (axi.wdata == part) & axi.wstrb.all())
            return
        odd = words[0]
        m.d.comb += Assert(axi.wvalid == (word.valid & (odd | word.p.last)))
        with m.If(axi.wvalid):
            m.d.comb += Assert(axi.wstrb == Mux(odd, 0xFFFF, 0x00FF))
            m.d.comb += Assert(axi.wdata[:64] == Mux(odd, before, word.p.data))
            m.d.comb += Assert(~odd | (axi.wdata[64:] == word.p.data))

    def _answers(self, m, axi, done, asked, ends, open_):
        """Each answer is one done; the memory answers a burst that it has whole (A3.3.1)."""
        answer = axi.bvalid & axi.bready
        address = tally(m, "addresses", 12, axi.awvalid & axi.awready, answer)
        whole = tally(m, "wholes", 12, ends, answer)
        unanswered = tally(m, "unanswered", 12, asked, done.valid)
        m.d.comb += Assume(~axi.bvalid | (address.any() & whole.any()))
        m.d.comb += Assume(~asked | ~unanswered.all())  # the output writer has no more beats
        m.d.comb += Assert(axi.bready & (done.valid == axi.bvalid))
        m.d.comb += Assert(~done.valid | unanswered.any())
        m.d.comb += Assert(done.p.error == axi.bresp.as_value().any())
        m.d.comb += [Cover(done.valid & done.p.error), Cover(answer & (unanswered == 2))]
        m.d.comb += Assert(address + axi.awvalid == unanswered)  # for the induction
        m.d.comb += Assert(whole + open_ == unanswered)


class Reads(_Master):
    """Any part of any word of any request is that of its beat of its burst, in order.

    ``mark`` chooses a request, ``word`` its word, ``part`` which half of it at 32 bits. At 128 bits
    there is a ReadSplitter behind the register slice, too: a proof of its own.
    """

    def _check(self, m, inside, memory, axi):
        request, word = memory.read_request, memory.read_data
        parts = MEMORY_BITS // self.bits  # beats of a word
        asked, beat, length = moves(request), axi.rvalid & axi.rready, request.p.beats
        burst = Mux(axi.arvalid & axi.arready, axi.arlen + 1, 0)
        words = tally(m, "words", READ_COUNT, Mux(asked, length, 0), moves(word))  # to come
        beats = tally(m, "beats", READ_COUNT, Mux(asked, beats_of(self.bits, request.p), 0), beat)
        due = tally(m, "due", READ_COUNT, burst, beat)
        # The core asks for no more than that; the memory answers what it was asked.
        m.d.comb += Assume(~asked | (words + length <= WORDS))
        m.d.comb += Assume(~axi.rvalid | due.any())
        hold(m, "r", axi.rvalid, axi.rready, Cat(axi.rdata, axi.rresp), Assume)
        hold_stream(m, "delivered", word, in_row=parts == 1)
        m.d.comb += Assert(~word.valid | words.any())
        # When the bus has answered all, the last words are there.
        m.d.comb += Assert(~words.any() | beats.any() | word.valid)

        pending, seen, place = Signal(), Signal(), Signal()
        words_ahead, beats_ahead = Signal(READ_COUNT), Signal(READ_COUNT)
        content = Signal(read_beat_layout(self.bits))
        m.d.sync += words_ahead.eq(words_ahead - moves(word))
        m.d.sync += beats_ahead.eq(beats_ahead - beat)
        with m.If(pending & ~seen & beat & ~beats_ahead.any()):
            m.d.sync += [seen.eq(1), content.data.eq(axi.rdata)]
            m.d.sync += content.error.eq(axi.rresp.as_value().any())
        arrives = pending & ~words_ahead.any()
        with m.If(arrives & moves(word)):
            m.d.sync += [pending.eq(0), seen.eq(0)]
        part = self.part if parts > 1 else 0
        with m.If(asked & self.mark & ~pending & (self.word < length)):
            m.d.sync += [pending.eq(1), place.eq(part)]
            m.d.sync += words_ahead.eq(words - moves(word) + self.word)
            m.d.sync += beats_ahead.eq(beats - beat + parts * self.word + part)
        with m.If(arrives & word.valid):
            told = word.p.data.word_select(place, self.bits) if parts > 1 else word.p.data
            m.d.comb += Assert(seen & (told == content.data))
            m.d.comb += Assert(word.p.error | ~content.error)
            if parts == 1:  # else it may be the other beat's: the joiner's proof
                m.d.comb += Assert(word.p.error == content.error)
        m.d.comb += [Cover(arrives & moves(word) & content.error), Cover(arrives & (words > 2))]
        m.d.comb += Cover(axi.rvalid & ~axi.rready)

        # For the induction.
        offered = Mux(axi.arvalid, axi.arlen + 1, 0)
        m.d.comb += Assert((beats == due + offered) & (words <= WORDS) & (seen <= pending))
        m.d.comb += Assert(place < parts)
        ahead = words_ahead * parts + place  # beats that are to become words before the marked one
        held = self._held(m, inside, pending & seen, ahead, content)
        m.d.comb += Assert(words * parts == beats + held)
        with m.If(pending & ~seen):
            m.d.comb += Assert((beats_ahead < beats) & (ahead == beats_ahead + held))

    def _held(self, m, inside, marked, ahead, content):
        """How many beats came and are not yet words delivered; the ``marked`` one is among them."""
        beats, slots = inside.block("beats"), []
        free, o = beats["free"], beats.component.o
        m.d.comb += Assert(free | o.valid)
        if self.bits < MEMORY_BITS:
            joiner = inside.block("joiner")
            slots = [(joiner["has_low"], joiner["low"])]
        slots += [(o.valid, o.payload), (~free, beats["spare"])]
        held = 0
        for there, beat in slots:
            m.d.comb += Assert(~(marked & there & (ahead == held)) | (beat == content))
            held = held + there
        # At 32 bits a word's first beat may have gone to the joiner, its second not yet.
        m.d.comb += Assert(~marked | (ahead < held))
        return held


PROOFS = [
    *(
        Proof(
            block="axi_memory",
            name="addresses",
            configuration=f"{bits}-bit bus",
            statement="each request becomes one legal burst, offered in the next cycle, held until"
            " it is taken",
            top=functools.partial(Addresses, bits),
            depth=2,
            cover_depth=9,
            quick=bits == MEMORY_BITS,
        )
        for bits in (32, 64, 128)
    ),
    *(
        Proof(
            block="axi_memory",
            name="writes",
            configuration=f"{bits}-bit bus, data of at most {WRITES} requests to come",
            statement="bursts have AWLEN + 1 beats, the core's words, WLAST on the last alone; each"
            " answer is one done, with its error; VALID waits for no READY",
            top=functools.partial(Writes, bits),
            depth=2,
            cover_depth=9,
            quick=bits == MEMORY_BITS,
        )
        for bits in (32, 64, 128)
    ),
    *(
        Proof(
            block="axi_memory",
            name="reads",
            configuration=f"{bits}-bit bus, at most {WORDS} words under way",
            statement="any word of any request is that of its beat of its burst, in order, with its"
            " error; none is lost or invented",
            top=functools.partial(Reads, bits),
            depth=2,
            cover_depth=9,
            quick=False,
        )
        for bits in (32, 64)
    ),
]
