"""The core's memory streams become bursts by the rules of an AXI4 master."""

import functools

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import BURST_BEATS, MEMORY_BITS
from penstock.hw.axi import BURST_INCREMENTING, axi_signature
from penstock.hw.axi_memory import AxiMemory
from penstock.hw.layouts import memory_signature
from penstock.sim.formal.axi_rules import PAGE, Inside, cycles, hold, hold_stream, moves, tally
from penstock.sim.formal.axi_width import COUNT, SHORT, WORDS
from penstock.sim.formal.prover import Proof

ALIGNMENT = 64
"""Bytes; a write begins at a multiple of them."""

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
        inside = Inside(AxiMemory(self.bits))
        m.submodules.master = inside.module
        memory, axi = inside.component.memory, inside.component.axi
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

    ``mark`` chooses a request, ``word`` its word, ``part`` which half of it at 32 bits.
    """

    def _check(self, m, inside, memory, axi):
        request, word = memory.read_request, memory.read_data
        bits, count = min(self.bits, MEMORY_BITS), COUNT if self.bits > MEMORY_BITS else 11
        asked, beat, length = moves(request), axi.rvalid & axi.rready, request.p.beats
        burst = Mux(axi.arvalid & axi.arready, axi.arlen + 1, 0)
        words = tally(m, "words", count, Mux(asked, length, 0), moves(word))  # to come
        beats = tally(m, "beats", count, Mux(asked, beats_of(self.bits, request.p), 0), beat)
        due = tally(m, "due", count, burst, beat)
        # The core asks for no more than that; the memory answers what it was asked.
        most = 5 * SHORT if self.bits > MEMORY_BITS else WORDS
        m.d.comb += Assume(~asked | (words + length <= most))
        if self.bits > MEMORY_BITS:
            m.d.comb += Assume(length <= SHORT)
        m.d.comb += Assume(~axi.rvalid | due.any())
        hold(m, "r", axi.rvalid, axi.rready, Cat(axi.rdata, axi.rresp), Assume)
        hold_stream(m, "delivered", word, in_row=self.bits >= MEMORY_BITS)
        m.d.comb += Assert(~word.valid | words.any())
        # When the bus has answered all, the last words are there.
        late = cycles(m, "late", words.any() & ~beats.any() & ~word.valid, 1)
        m.d.comb += Assert(late <= (self.bits > MEMORY_BITS))

        high = request.p.address[3]
        first, part = {  # beat of its burst, and which part of that or of the word
            32: (2 * self.word + self.part, self.part),
            64: (self.word, 0),
            128: ((self.word + high) >> 1, (self.word + high)[0]),
        }[self.bits]
        pending, seen, place = Signal(), Signal(), Signal()
        words_ahead, beats_ahead = Signal(count), Signal(count)
        content = Signal(data.StructLayout({"data": bits, "error": 1}))
        m.d.sync += words_ahead.eq(words_ahead - moves(word))
        m.d.sync += beats_ahead.eq(beats_ahead - beat)
        with m.If(pending & ~seen & beat & ~beats_ahead.any()):
            m.d.sync += [seen.eq(1), content.error.eq(axi.rresp.as_value().any())]
            m.d.sync += content.data.eq(
                axi.rdata.word_select(place, bits) if self.bits > bits else axi.rdata
            )
        arrives = pending & ~words_ahead.any()
        with m.If(arrives & moves(word)):
            m.d.sync += [pending.eq(0), seen.eq(0)]
        with m.If(asked & self.mark & ~pending & (self.word < length)):
            m.d.sync += [pending.eq(1), place.eq(part)]
            m.d.sync += words_ahead.eq(words - moves(word) + self.word)
            m.d.sync += beats_ahead.eq(beats - beat + first)
        with m.If(arrives & word.valid):
            told = word.p.data.word_select(place, bits) if bits < MEMORY_BITS else word.p.data
            m.d.comb += Assert(seen & (told == content.data))
            m.d.comb += Assert(word.p.error | ~content.error)
            if self.bits >= MEMORY_BITS:  # else it may be the other beat's: the joiner's proof
                m.d.comb += Assert(word.p.error == content.error)
        m.d.comb += [Cover(arrives & moves(word) & content.error), Cover(arrives & (words > 2))]
        m.d.comb += Cover(axi.rvalid & ~axi.rready)
        if self.bits <= MEMORY_BITS:
            offered = Mux(axi.arvalid, axi.arlen + 1, 0)
            m.d.comb += Assert((beats == due + offered) & (words <= WORDS) & (seen <= pending))
            m.d.comb += Assert(~place | (bits < MEMORY_BITS))
            marked = words_ahead * (MEMORY_BITS // bits) + place, beats_ahead
            self._induction(m, inside, (words, beats), marked, pending, seen, content)

    def _induction(self, m, inside, totals, marked, pending, seen, content):
        """Where the beats are that came and were not yet delivered: joiner and register slice."""
        beats, slots = inside.block("beats"), []
        free, o = beats["free"], beats.component.o
        m.d.comb += Assert(free | o.valid)
        if self.bits < MEMORY_BITS:
            joiner = inside.block("joiner")
            slots = [(joiner["has_low"], joiner["low"])]
        slots += [(o.valid, o.payload), (~free, beats["spare"])]
        held = sum(there for there, _ in slots)
        (words, to_come), (position, ahead) = totals, marked
        m.d.comb += Assert(words * (MEMORY_BITS // len(content.data)) == to_come + held)
        with m.If(pending & ~seen):
            m.d.comb += Assert((ahead < to_come) & (position == ahead + held))
        with m.If(pending & seen):
            # At 32 bits a word's first beat may have gone to the joiner, its second not yet.
            m.d.comb += Assert(position < held)
            number = 0
            for there, beat in slots:
                m.d.comb += Assert(~there | (position != number) | (beat == content))
                number = number + there


PROOFS = [
    Proof(
        block="axi_memory",
        name=name,
        configuration=f"{bits} bits",
        statement=statement,
        top=functools.partial(top, bits),
        depth=2,
        cover_depth=9,
        quick=bits == MEMORY_BITS,
    )
    for name, top, statement in (
        (
            "addresses",
            Addresses,
            "each request becomes one legal burst, offered in the next cycle, held until taken",
        ),
        (
            "writes",
            Writes,
            (
                "bursts have AWLEN + 1 beats, the core's words, WLAST on the last alone; each "
                "answer is one done, with its error; VALID waits for no READY"
            ),
        ),
    )
    for bits in (32, 64, 128)
] + [
    Proof(
        block="axi_memory",
        name="reads",
        configuration=f"{bits} bits"
        + (f", requests of at most {SHORT} words" if bits > MEMORY_BITS else ""),
        statement="any word of any request is that of its beat of its burst, in order, with its "
        "error; none is lost or invented",
        top=functools.partial(Reads, bits),
        depth=2 if bits <= MEMORY_BITS else 6,
        induction=bits <= MEMORY_BITS,
        cover_depth=9,
        quick=False,
    )
    for bits in (32, 64)
]
