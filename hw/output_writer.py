"""Results of the classifier to memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.layouts import memory_signature, record_layout
from penstock.program import HEADER


def raw_result_layout() -> data.StructLayout:
    """One raw result, and whether it is the last one of its image."""
    return data.StructLayout({"data": signed(32), "last": 1})


class _Phase(enum.Enum, shape=2):
    IDLE = 0
    REQUEST = 1
    DATA = 2
    WAIT = 3  # for the memory's answer


class OutputWriter(wiring.Component):
    """Writes the results of one image to memory, two to a 64-bit word, the first in the low half.

    An odd last result is padded with 0. ``start`` takes the byte ``address`` of the next image's
    output, whose first result begins one write of the header's ``output_beats`` words. It may come
    as soon as the previous image's first result was taken.

    One result per cycle while the memory keeps up, latency 1 cycle; applies backpressure, also
    from the last result of an image until the memory has answered.

    ``busy`` from the cycle after the first result is offered until the memory's answer. ``error``
    rises with an answer that reports one and holds until ``halt``. While ``halt`` is high results
    are dropped, and a write under way is filled up with zeros: ``busy`` falls with its answer.
    """

    def __init__(self):
        memory = memory_signature().members
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "header": In(record_layout(HEADER)),
                "halt": In(1),
                "busy": Out(1),
                "error": Out(1),
                "i": In(stream.Signature(raw_result_layout())),
                "write_request": memory["write_request"],
                "write_data": memory["write_data"],
                "write_done": memory["write_done"],
            }
        )

    def elaborate(self, platform):
        m = Module()
        phase = Signal(_Phase)
        address = Signal.like(self.address)  # of the next image's output
        request, word = self.write_request, self.write_data
        left = Signal.like(request.p.beats)  # beats not yet placed into `word`
        low, has_low = Signal(32), Signal()
        free, complete, pad = Signal(), Signal(), Signal()
        m.d.comb += free.eq((phase == _Phase.DATA) & left.any() & (~word.valid | word.ready))
        m.d.comb += self.busy.eq(phase != _Phase.IDLE)
        m.d.comb += self.i.ready.eq(free | self.halt)
        m.d.comb += complete.eq(self.i.valid & (has_low | self.i.p.last))
        m.d.comb += pad.eq(self.halt)

        with m.If(self.start):
            m.d.sync += address.eq(self.address)
        with m.If(word.ready):
            m.d.sync += word.valid.eq(0)
        with m.If(free):
            with m.If(self.i.valid):
                m.d.sync += low.eq(self.i.p.data)
                m.d.sync += has_low.eq(~complete)
            with m.If(complete | pad):
                m.d.sync += left.eq(left - 1)
                m.d.sync += word.valid.eq(1)
                m.d.sync += word.p.last.eq(left == 1)
                m.d.sync += word.p.data.eq(
                    Mux(has_low, Cat(low, self.i.p.data), self.i.p.data.as_unsigned())
                )
            with m.If(pad):
                m.d.sync += word.p.data.eq(0)

        with m.Switch(phase):
            with m.Case(_Phase.IDLE):
                m.d.sync += has_low.eq(0)
                m.d.sync += left.eq(self.header.output_beats)
                m.d.sync += request.p.address.eq(address)
                m.d.sync += request.p.beats.eq(self.header.output_beats)
                with m.If(self.i.valid & ~self.halt):
                    m.d.sync += request.valid.eq(1)
                    m.d.sync += phase.eq(_Phase.REQUEST)
            with m.Case(_Phase.REQUEST), m.If(request.ready):
                m.d.sync += request.valid.eq(0)
                m.d.sync += phase.eq(_Phase.DATA)
            with m.Case(_Phase.DATA), m.If(word.valid & word.ready & word.p.last):
                m.d.sync += phase.eq(_Phase.WAIT)
            with m.Case(_Phase.WAIT), m.If(self.write_done.valid):
                m.d.sync += self.error.eq(self.error | self.write_done.p.error)
                m.d.sync += phase.eq(_Phase.IDLE)
        with m.If(self.halt):
            m.d.sync += self.error.eq(0)
        return m
