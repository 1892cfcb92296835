"""Reads the program and the images from memory, block by block, as 16-bit words."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.compact.layouts import BLOCK_BEATS, BLOCK_BITS
from penstock.hw.layouts import read_data_layout, request_layout
from penstock.hw.register_slice import RegisterSlice


class BlockReader(wiring.Component):
    """16-bit words of one of two sequences of blocks, the next block read when ``want`` asks.

    ``rewind`` sets the program's next block, ``set_image`` the images' one; ``from_image`` chooses
    when a block is asked for. A word per cycle while a block lasts; between blocks the memory's
    latency and 3 cycles, unless ``ahead`` allows to ask for a second one before it is needed.
    ``halt`` drops what is still to come; ``idle`` tells when that is over. No combinational path
    from ``word`` to ``data`` or back.
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
        m.submodules.words = words = RegisterSlice(data.StructLayout({"word": 16, "last": 1}))
        part, beat = Signal(2), Signal(range(BLOCK_BEATS))
        asking, of_image = Signal(), Signal()
        pending = Signal(2)  # blocks whose words have not all been taken
        granted, ended = Signal(), Signal()
        m.d.comb += [
            block.eq(Mux(of_image, image, program)),
            following.eq(block + 1),
            self.request.p.address.eq(Cat(Const(0, 6), block)),
            self.request.p.beats.eq(BLOCK_BEATS),
            self.request.valid.eq(asking),
            granted.eq(asking & self.request.ready),
            words.i.p.word.eq(self.data.p.data.word_select(part, 16)),
            words.i.p.last.eq((part == 3) & (beat == BLOCK_BEATS - 1)),
            words.i.valid.eq(self.data.valid),
            self.data.ready.eq(words.i.ready & (part == 3)),
            self.word.payload.eq(words.o.p.word),
            self.word.valid.eq(words.o.valid & ~self.halt),
            words.o.ready.eq(self.word.ready | self.halt),
            ended.eq(words.o.valid & words.o.ready & words.o.p.last),
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
        with m.If(words.i.valid & words.i.ready):
            m.d.sync += part.eq(part + 1)
        with m.If(self.data.valid & self.data.ready):
            m.d.sync += beat.eq(beat + 1)
        with m.If(self.rewind):
            m.d.sync += program.eq(self.program)
        with m.If(self.set_image):
            m.d.sync += image.eq(self.image)
        return m
