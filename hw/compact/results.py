"""Writes the classifier's results to memory, a block at a time."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.compact.layouts import BLOCK_BEATS, BLOCK_BITS
from penstock.hw.layouts import request_layout, write_data_layout


class _State(enum.Enum, shape=2):
    IDLE = 0
    REQUEST = 1
    DATA = 2
    DONE = 3


class ResultWriter(wiring.Component):
    """Two 32-bit results to a 64-bit word, whole blocks, the last one filled up with anything.

    ``set_output`` sets the first block; every ``flush`` ends an image's block. ``put`` offers a
    result on ``result``, which holds until ``idle``; so does nothing else until then. ``halt``
    fills up a block that was begun. ``idle`` is low while memory is being written, ``outstanding``
    high from a block's request to its answer.
    """

    def __init__(self):
        super().__init__(
            {
                "output": In(BLOCK_BITS),
                "set_output": In(1),
                "result": In(32),
                "put": In(1),
                "flush": In(1),
                "halt": In(1),
                "idle": Out(1),
                "outstanding": Out(1),
                "error": Out(1),
                "request": Out(stream.Signature(request_layout())),
                "data": Out(stream.Signature(write_data_layout())),
                "done": In(stream.Signature(data.StructLayout({"error": 1}), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        block = Signal(BLOCK_BITS)
        held = Signal(32, reset_less=True)
        odd, filling = Signal(), Signal()
        open_ = Signal()  # a block was requested
        beat = Signal(range(BLOCK_BEATS))
        state = Signal(_State)
        m.d.comb += [
            self.idle.eq(state == _State.IDLE),
            self.outstanding.eq((state != _State.IDLE) | open_),
            self.error.eq(self.done.valid & self.done.p.error),
            self.request.p.address.eq(Cat(Const(0, 6), block)),
            self.request.p.beats.eq(BLOCK_BEATS),
            self.request.valid.eq(state == _State.REQUEST),
            self.data.p.data.eq(Cat(held, self.result)),
            self.data.p.last.eq(beat == BLOCK_BEATS - 1),
            self.data.valid.eq(state == _State.DATA),
        ]
        with m.If(self.put):
            m.d.sync += odd.eq(~odd)
            with m.If(~odd):
                m.d.sync += held.eq(self.result)
            with m.Else():
                m.d.sync += state.eq(_State.REQUEST)
                with m.If(open_):
                    m.d.sync += state.eq(_State.DATA)
        with m.If(self.idle & (self.flush | self.halt)):
            m.d.sync += odd.eq(0)
            with m.If(open_):
                m.d.sync += [state.eq(_State.DATA), filling.eq(1)]
            with m.Elif(odd & ~self.halt):
                m.d.sync += [state.eq(_State.REQUEST), filling.eq(1)]
        with m.Switch(state):
            with m.Case(_State.REQUEST), m.If(self.request.ready):
                m.d.sync += [state.eq(_State.DATA), open_.eq(1), block.eq(block + 1)]
            with m.Case(_State.DATA), m.If(self.data.ready):
                m.d.sync += beat.eq(beat + 1)
                with m.If(self.data.p.last):
                    m.d.sync += [state.eq(_State.DONE), open_.eq(0), filling.eq(0)]
                with m.Elif(~filling):
                    m.d.sync += state.eq(_State.IDLE)
            with m.Case(_State.DONE), m.If(self.done.valid):
                m.d.sync += state.eq(_State.IDLE)
        with m.If(self.set_output):
            m.d.sync += block.eq(self.output)
        return m
