"""A stream cut by registers."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class RegisterSlice(wiring.Component):
    """A stream with no combinational path from one side to the other, in either direction.

    One word per cycle, latency 1 cycle, applies backpressure; holds up to two words.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal.like(self.i.payload, reset_less=True)
        payload = Signal.like(self.i.payload, reset_less=True)
        free = Signal(init=1)  # `spare` is
        m.d.comb += [self.i.ready.eq(free), self.o.payload.eq(payload)]
        moves = Signal()
        m.d.comb += moves.eq(~self.o.valid | self.o.ready)
        with m.If(moves):
            m.d.sync += free.eq(1)
            m.d.sync += self.o.valid.eq(self.i.valid | ~free)
            m.d.sync += payload.eq(Mux(free, self.i.payload, spare))
        with m.Elif(self.i.valid):
            m.d.sync += free.eq(0)
        with m.If(free):
            m.d.sync += spare.eq(self.i.payload)
        return m


class SkidBuffer(wiring.Component):
    """A stream whose ``i.ready`` is a register: no path from ``o.ready`` to it.

    One word per cycle, no latency, applies backpressure; holds up to one word.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare = Signal.like(self.i.payload, reset_less=True)
        free = Signal(init=1)  # `spare` is
        m.d.comb += [
            self.i.ready.eq(free),
            self.o.valid.eq(self.i.valid | ~free),
            self.o.payload.eq(Mux(free, self.i.payload, spare)),
        ]
        m.d.sync += free.eq(self.o.ready | ~self.o.valid)
        with m.If(free):
            m.d.sync += spare.eq(self.i.payload)
        return m


class LateReadySlice(wiring.Component):
    """A `RegisterSlice` for an ``o.ready`` that comes late in a cycle: it enables no payload.

    Each word that is offered is kept for the next cycle, in which it is offered again if it was not
    taken. One word per cycle, latency 1 cycle, applies backpressure; holds up to two words.

    The next word to be offered is ``o.payload`` if this one is not taken, else ``upcoming``; in the
    cycle in which it is, ``again`` tells which. So a user can judge both a cycle before.
    """

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})
        self.upcoming = Signal.like(self.i.payload)
        self.again = Signal()

    def elaborate(self, platform):
        m = Module()
        again = self.again
        kept = Signal.like(self.i.payload, reset_less=True)
        following = Signal.like(self.i.payload, reset_less=True)
        waiting = Signal()  # there is a `following` word
        free = Signal(init=1)  # for another one
        again_then, waiting_then = Signal(), Signal()
        m.d.comb += [
            again_then.eq(self.o.valid & ~self.o.ready),
            waiting_then.eq(Mux(free, self.i.valid, waiting)),
            self.i.ready.eq(free),
            self.o.valid.eq(again | waiting),
            self.o.payload.eq(Mux(again, kept, following)),
            self.upcoming.eq(Mux(free, self.i.payload, following)),
        ]
        m.d.sync += [
            kept.eq(self.o.payload),
            following.eq(self.upcoming),
            again.eq(again_then),
            waiting.eq(waiting_then),
            free.eq(~(again_then & waiting_then)),
        ]
        return m
