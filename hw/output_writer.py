"""Results of the classifier to memory."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.layouts import memory_signature, record_layout
from penstock.hw.memory import BurstGenerator
from penstock.program import HEADER


def raw_result_layout() -> data.StructLayout:
    """One raw result, and whether it is the last one of its image."""
    return data.StructLayout({"data": signed(32), "last": 1})


OUTPUT_BEATS_BITS = 12
"""Bits of the beats of one image's results: up to 4,095 of them, two a beat."""


class _Phase(enum.Enum, shape=2):
    IDLE = 0
    DATA = 1
    WAIT = 2  # for the memory's answers


class OutputWriter(wiring.Component):
    """Writes the results of one image to memory, two to a 64-bit word, the first in the low half.

    An odd last result is padded with 0. ``start`` takes the byte ``address`` of the next image's
    output, whose first result begins writes of together the header's ``output_beats`` words. It may
    come as soon as the previous image's first result was taken.

    One result per cycle while the memory keeps up, a few cycles' pause between bursts, latency 1
    cycle; applies backpressure, also from the last result of an image until the memory has answered
    every burst. A burst's data follow when its request has been taken.

    ``busy`` from the cycle after the first result is offered until the memory's last answer.
    ``error`` rises with an answer that reports one and holds until ``halt``. While ``halt`` is high
    results are dropped, a burst that was requested is filled up with zeros, and no other is begun:
    ``busy`` falls with the last answer.
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
        m.submodules.bursts = bursts = BurstGenerator(OUTPUT_BEATS_BITS)
        phase = Signal(_Phase)
        address = Signal.like(self.address)  # of the next image's output
        request, word = self.write_request, self.write_data
        left = Signal.like(request.p.beats)  # beats of the burst not yet placed into `word`
        unanswered = Signal(OUTPUT_BEATS_BITS)  # bursts
        taken, free, complete = Signal(), Signal(), Signal()
        low, has_low = Signal(32), Signal()
        m.d.comb += [
            self.busy.eq(phase != _Phase.IDLE),
            request.valid.eq(bursts.request.valid & ~left.any()),
            request.payload.eq(bursts.request.payload),
            bursts.request.ready.eq(request.ready & ~left.any()),
            bursts.address.eq(address),
            bursts.beats.eq(self.header.output_beats),
            bursts.halt.eq(self.halt & ~request.valid),  # what is offered stays offered
            taken.eq(request.valid & request.ready),
            free.eq(left.any() & (~word.valid | word.ready)),
            self.i.ready.eq(free | self.halt),
            complete.eq(self.i.valid & (has_low | self.i.p.last)),
        ]
        m.d.sync += unanswered.eq(unanswered + taken - self.write_done.valid)

        with m.If(word.ready):
            m.d.sync += word.valid.eq(0)
        with m.If(free):
            with m.If(self.i.valid):
                m.d.sync += low.eq(self.i.p.data)
                m.d.sync += has_low.eq(~complete)
            with m.If(complete | self.halt):
                m.d.sync += left.eq(left - 1)
                m.d.sync += word.valid.eq(1)
                m.d.sync += word.p.last.eq(left == 1)
                m.d.sync += word.p.data.eq(
                    Mux(has_low, Cat(low, self.i.p.data), self.i.p.data.as_unsigned())
                )
            with m.If(self.halt):
                m.d.sync += word.p.data.eq(0)
        with m.If(taken):
            m.d.sync += left.eq(request.p.beats)

        with m.Switch(phase):
            with m.Case(_Phase.IDLE):
                m.d.sync += has_low.eq(0)
                with m.If(self.i.valid & ~self.halt):
                    m.d.comb += bursts.start.eq(1)
                    m.d.sync += phase.eq(_Phase.DATA)
            with m.Case(_Phase.DATA), m.If(~bursts.busy & ~left.any() & ~word.valid):
                m.d.sync += phase.eq(_Phase.WAIT)
            with m.Case(_Phase.WAIT), m.If(~unanswered.any()):
                m.d.sync += phase.eq(_Phase.IDLE)
        with m.If(self.start):
            m.d.sync += address.eq(self.address)
        with m.If(self.write_done.valid & self.write_done.p.error):
            m.d.sync += self.error.eq(1)
        with m.If(self.halt):
            m.d.sync += self.error.eq(0)
        return m
