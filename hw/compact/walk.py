"""The steps of an output channel: base phase over all pixels, conditional phase over the tasks."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from penstock.channel_stream import LAYER
from penstock.hw.compact.layouts import PIXEL_BITS, fields_layout


class _Phase(enum.Enum, shape=2):
    IDLE = 0
    BASE = 1
    CONDITIONAL = 2


def flags_layout() -> data.StructLayout:
    """What goes with a step through the pipeline."""
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "conditional": 1})


class ChannelWalk(wiring.Component):
    """Issues the steps of one channel, one a cycle, from ``start`` until ``busy`` falls.

    Base phase: every pixel in order, all its base steps. Conditional phase: the tasks of the queue
    up to ``written``, all their conditional steps; it ends when the queue is empty and ``drained``
    says that nothing is under way. In a pooling layer all pixels are the steps of one sum.
    ``pixel`` is that of a base step, ``task`` the queue's place of a conditional one.
    """

    def __init__(self):
        super().__init__(
            {
                "layer": In(fields_layout(LAYER)),
                "start": In(1),
                "halt": In(1),
                "written": In(PIXEL_BITS + 1),
                "drained": In(1),
                "busy": Out(1),
                "flags": Out(flags_layout()),
                "pixel": Out(PIXEL_BITS),
                "task": Out(PIXEL_BITS + 1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer, flags = self.layer, self.flags
        phase = Signal(_Phase)
        left = Signal(8, reset_less=True)  # steps of this sum behind the current one
        fresh = Signal(reset_less=True)  # the current step is its first
        base, end, last_pixel, waiting = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            base.eq(phase == _Phase.BASE),
            waiting.eq(self.task != self.written),
            flags.conditional.eq(~base),
            flags.valid.eq(base | ((phase == _Phase.CONDITIONAL) & waiting)),
            end.eq(left == 0),
            last_pixel.eq(self.pixel == layer.pixels),
            flags.first.eq(Mux(layer.pool, self.pixel == 0, fresh)),
            flags.last.eq(Mux(layer.pool, last_pixel, end)),
            self.busy.eq(phase != _Phase.IDLE),
        ]
        with m.If(flags.valid):
            m.d.sync += [left.eq(left - 1), fresh.eq(end)]
            with m.If(end):
                m.d.sync += left.eq(
                    Mux(base & ~last_pixel, layer.base_steps, layer.conditional_steps)
                )
                with m.If(base):
                    m.d.sync += self.pixel.eq(self.pixel + 1)
                    with m.If(last_pixel):
                        m.d.sync += phase.eq(_Phase.CONDITIONAL)
                with m.Else():
                    m.d.sync += self.task.eq(self.task + 1)
        with m.Elif((phase == _Phase.CONDITIONAL) & self.drained):
            m.d.sync += phase.eq(_Phase.IDLE)
        with m.If(self.start):
            m.d.sync += [
                phase.eq(_Phase.BASE),
                self.pixel.eq(0),
                self.task.eq(0),
                left.eq(layer.base_steps),
                fresh.eq(1),
            ]
        with m.If(self.halt):
            m.d.sync += phase.eq(_Phase.IDLE)
        return m
