"""Reads the program and the images from memory, block by block, as 16-bit words."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.compact.layouts import BLOCK_BEATS, BLOCK_BITS
from penstock.hw.layouts import read_data_layout, request_layout


class BlockReader(wiring.Component):
    """16-bit words of one of two sequences of blocks, the next block read when ``want`` asks.

    ``rewind`` sets the program's next block, ``set_image`` the images' one; ``from_image`` chooses
    when a block is asked for. A word per cycle while a block lasts; between blocks the memory's
    latency and 2 cycles, unless ``ahead`` allows to ask for a second one before it is needed.
    ``halt`` drops what is still to come; ``idle`` tells when that is over.
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
                "ahead": In(1),
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
        program, image = Signal(BLOCK_BITS), Signal(BLOCK_BITS)
        block, following = Signal(BLOCK_BITS), Signal(BLOCK_BITS)
        part, beat = Signal(2), Signal(range(BLOCK_BEATS))
        asking, of_image = Signal(), Signal()
        pending = Signal(2)  # blocks whose data have not all come
        granted, ended = Signal(), Signal()
        m.d.comb += [
            block.eq(Mux(of_image, image, program)),
            following.eq(block + 1),
            self.request.p.address.eq(Cat(Const(0, 6), block)),
            self.request.p.beats.eq(BLOCK_BEATS),
            self.request.valid.eq(asking),
            granted.eq(asking & self.request.ready),
            self.word.payload.eq(self.data.p.data.word_select(part, 16)),
            self.word.valid.eq(self.data.valid & ~self.halt),
            self.data.ready.eq((self.word.ready & (part == 3)) | self.halt),
            ended.eq(self.data.valid & self.data.ready & (beat == BLOCK_BEATS - 1)),
            self.idle.eq(~asking & (pending == 0)),
            self.error.eq(self.data.valid & self.data.p.error),
        ]
        with m.If(granted):
            m.d.sync += asking.eq(0)
            with m.If(of_image):
                m.d.sync += image.eq(following)
            with m.Else():
                m.d.sync += program.eq(following)
        with m.Elif(~asking & self.want & ~self.halt & ~pending[1] & (self.ahead | ~pending[0])):
            m.d.sync += [asking.eq(1), of_image.eq(self.from_image)]
        m.d.sync += pending.eq(pending + granted - ended)
        with m.If(self.word.valid & self.word.ready):
            m.d.sync += part.eq(part + 1)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += [part.eq(0), beat.eq(beat + 1)]
        with m.If(self.rewind):
            m.d.sync += program.eq(self.program)
        with m.If(self.set_image):
            m.d.sync += image.eq(self.image)
        return m
