"""Between the core's 64-bit words and the beats of an AXI4 data bus of another width."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS
from penstock.hw.layouts import read_data_layout, request_layout, write_data_layout

HALF, DOUBLE = MEMORY_BITS // 2, MEMORY_BITS * 2

OUTSTANDING = 8
"""Read bursts that a ReadSplitter keeps in mind."""


def read_beat_layout(bits: int) -> data.StructLayout:
    """One beat of the read data channel: data, and whether its answer is an error."""
    return data.StructLayout({"data": bits, "error": 1})


def write_beat_layout(bits: int) -> data.StructLayout:
    """One beat of the write data channel."""
    return data.StructLayout({"data": bits, "strobes": bits // 8, "last": 1})


def burst_beats(bits: int, request):
    """Beats of ``bits`` that a request takes; those of 128 bits begin at multiples of 16 bytes."""
    if bits == HALF:
        return request.beats << 1
    if bits == MEMORY_BITS:
        return request.beats
    return (request.beats + request.address[3] + 1) >> 1


class ReadJoiner(wiring.Component):
    """Two beats of 32 bits to a word, the first in its low half; an error in either is the word's.

    A word in two cycles, latency 0 cycles behind its second beat, applies backpressure.
    """

    def __init__(self):
        i = stream.Signature(read_beat_layout(HALF))
        super().__init__({"i": In(i), "o": Out(stream.Signature(read_data_layout()))})

    def elaborate(self, platform):
        m = Module()
        low = Signal(self.i.payload.shape())
        has_low = Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & has_low),
            self.o.p.data.eq(Cat(low.data, self.i.p.data)),
            self.o.p.error.eq(low.error | self.i.p.error),
            self.i.ready.eq(~has_low | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += has_low.eq(~has_low)
            m.d.sync += low.eq(self.i.payload)
        return m


class ReadSplitter(wiring.Component):
    """A beat of 128 bits to its words, the low one first, of which ``request`` tells which count.

    Each request, in order, is one burst, from the beat that holds its first word to the beat that
    holds its last. A word per cycle, latency 0 cycles, applies backpressure; OUTSTANDING requests
    may wait.
    """

    def __init__(self):
        super().__init__(
            {
                "request": In(stream.Signature(request_layout())),
                "i": In(stream.Signature(read_beat_layout(DOUBLE))),
                "o": Out(stream.Signature(read_data_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        burst = data.StructLayout({"high": 1, "words": self.request.p.beats.shape()})
        m.submodules.fifo = fifo = SyncFIFO(width=burst.size, depth=OUTSTANDING)
        current = Signal(burst)  # which half comes next, how many words; 0: none
        last, moves = Signal(), Signal()
        m.d.comb += [
            fifo.w_data.eq(Cat(self.request.p.address[3], self.request.p.beats)),
            fifo.w_en.eq(self.request.valid),
            self.request.ready.eq(fifo.w_rdy),
            last.eq(current.words == 1),
            self.o.valid.eq(self.i.valid & current.words.any()),
            self.o.p.data.eq(self.i.p.data.word_select(current.high, MEMORY_BITS)),
            self.o.p.error.eq(self.i.p.error),
            moves.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(self.o.ready & current.words.any() & (current.high | last)),
            fifo.r_en.eq(~current.words.any() | (moves & last)),
        ]
        with m.If(moves):
            m.d.sync += current.high.eq(~current.high)
            m.d.sync += current.words.eq(current.words - 1)
        with m.If(fifo.r_en & fifo.r_rdy):
            m.d.sync += current.eq(fifo.r_data)
        return m


class WriteSplitter(wiring.Component):
    """A word to two beats of 32 bits, the low half first.

    A beat per cycle, latency 0 cycles, applies backpressure.
    """

    def __init__(self):
        o = stream.Signature(write_beat_layout(HALF))
        super().__init__({"i": In(stream.Signature(write_data_layout())), "o": Out(o)})

    def elaborate(self, platform):
        m = Module()
        high = Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.o.p.data.eq(self.i.p.data.word_select(high, HALF)),
            self.o.p.strobes.eq(~0),
            self.o.p.last.eq(self.i.p.last & high),
            self.i.ready.eq(self.o.ready & high),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += high.eq(~high)
        return m


class WriteJoiner(wiring.Component):
    """Two words of a request to a beat of 128 bits, the first in its low half.

    Requests begin at multiples of 16 bytes; the beat of an odd last word has strobes for that word
    alone. A word per cycle, latency 0 cycles behind a beat's last word, applies backpressure.
    """

    def __init__(self):
        o = stream.Signature(write_beat_layout(DOUBLE))
        super().__init__({"i": In(stream.Signature(write_data_layout())), "o": Out(o)})

    def elaborate(self, platform):
        m = Module()
        low = Signal(MEMORY_BITS)
        has_low, complete = Signal(), Signal()
        m.d.comb += [
            complete.eq(has_low | self.i.p.last),
            self.o.valid.eq(self.i.valid & complete),
            self.o.p.data.eq(Mux(has_low, Cat(low, self.i.p.data), self.i.p.data)),
            self.o.p.strobes.eq(Mux(has_low, 0xFFFF, 0x00FF)),
            self.o.p.last.eq(self.i.p.last),
            self.i.ready.eq(~complete | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += has_low.eq(~complete)
            m.d.sync += low.eq(self.i.p.data)
        return m
