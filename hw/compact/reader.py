"""Reads the program and the images from memory, block by block, as 16-bit words."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.compact.layouts import BLOCK_BEATS, BLOCK_BITS
from penstock.hw.layouts import read_data_layout, request_layout


class _State(enum.Enum, shape=2):
    IDLE = 0
    REQUEST = 1
    DATA = 2


class BlockReader(wiring.Component):
    """16-bit words of one of two sequences of blocks, the next block read when ``want`` asks.

    ``rewind`` sets the program's next block, ``set_image`` the images' one; ``from_image`` chooses
    when a block is asked for. A word per cycle while a block lasts; the memory's latency and
    2 cycles between blocks. ``halt`` drops what is still to come; ``idle`` tells when that is over.
    """

    def __init__(self):
        super().__init__(
            {
                "program": In(BLOCK_BITS),
                "rewind": In(1),
                "image": In(BLOCK_BITS),
                "set_image": In(1),
                "from_image": In(1),
                "want": In(1),
                "halt": In(1),
                "word": Out(stream.Signature(16)),
                "idle": Out(1),
                "error": Out(1),
                "request": Out(stream.Signature(request_layout())),
                "data": In(stream.Signature(read_data_layout())),
            }
        )

    def elaborate(self, platform):
        m = Module()
        state = Signal(_State)
        program, image = Signal(BLOCK_BITS), Signal(BLOCK_BITS)
        block, following = Signal(BLOCK_BITS), Signal(BLOCK_BITS)
        part, beat = Signal(2), Signal(range(BLOCK_BEATS))
        taken, of_image = Signal(), Signal()
        m.d.comb += [
            block.eq(Mux(of_image, image, program)),
            following.eq(block + 1),
            self.request.p.address.eq(Cat(Const(0, 6), block)),
            self.request.p.beats.eq(BLOCK_BEATS),
            self.request.valid.eq(state == _State.REQUEST),
            self.word.payload.eq(self.data.p.data.word_select(part, 16)),
            self.word.valid.eq((state == _State.DATA) & self.data.valid & ~self.halt),
            taken.eq(self.word.valid & self.word.ready),
            self.data.ready.eq((taken & (part == 3)) | self.halt),
            self.idle.eq(state == _State.IDLE),
            self.error.eq(self.data.valid & self.data.p.error),
        ]
        with m.Switch(state):
            with m.Case(_State.IDLE), m.If(self.want & ~self.halt):
                m.d.sync += [state.eq(_State.REQUEST), of_image.eq(self.from_image)]
            with m.Case(_State.REQUEST), m.If(self.request.ready):
                m.d.sync += [state.eq(_State.DATA), part.eq(0), beat.eq(0)]
                with m.If(of_image):
                    m.d.sync += image.eq(following)
                with m.Else():
                    m.d.sync += program.eq(following)
            with m.Case(_State.DATA):
                with m.If(taken):
                    m.d.sync += part.eq(part + 1)
                with m.If(self.data.valid & self.data.ready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == BLOCK_BEATS - 1):
                        m.d.sync += state.eq(_State.IDLE)
        with m.If(self.rewind):
            m.d.sync += program.eq(self.program)
        with m.If(self.set_image):
            m.d.sync += image.eq(self.image)
        return m
