"""Images from memory into an activation buffer: pixel words, and their walk over the banks."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS, Config
from penstock.hw.layouts import bank_word_layout, read_data_layout, record_layout, request_layout
from penstock.hw.memory import BurstGenerator
from penstock.hw.pipeline import add3
from penstock.program import HEADER

IMAGE_BEATS_BITS = 16
"""Bits of the beats of one image that fits into a buffer."""


class PixelUnpacker(wiring.Component):
    """Cuts 64-bit beats into words of ``word`` bytes, low bytes first, or joins them to wider ones.

    One word per cycle, or one beat per cycle where a word is wider; latency 1 cycle; applies
    backpressure. ``clear`` drops what is left of the last beat.
    """

    def __init__(self, cfg: Config):
        self.word_bits = 8 * cfg.word
        super().__init__(
            {
                "clear": In(1),
                "i": In(stream.Signature(MEMORY_BITS)),
                "o": Out(stream.Signature(8 * cfg.word)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.word_bits < MEMORY_BITS:
            self._cut(m)
        else:
            self._join(m)
        return m

    def _cut(self, m):
        words = MEMORY_BITS // self.word_bits
        rest = Signal(MEMORY_BITS, reset_less=True)
        count = Signal(range(words + 1))  # words in it
        m.d.comb += self.o.valid.eq(count.any())
        m.d.comb += self.o.payload.eq(rest)
        m.d.comb += self.i.ready.eq(~count.any() | ((count == 1) & self.o.ready))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += rest.eq(rest >> self.word_bits)
            m.d.sync += count.eq(count - 1)
        with m.If(self.i.ready):  # a beat or not
            m.d.sync += rest.eq(self.i.payload)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += count.eq(words)
        with m.If(self.clear):
            m.d.sync += count.eq(0)

    def _join(self, m):
        beats = self.word_bits // MEMORY_BITS
        count = Signal(range(beats + 1))  # beats of the word that are there
        m.d.comb += self.o.valid.eq(count == beats)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += count.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.o.payload.eq(Cat(self.o.payload, self.i.payload)[MEMORY_BITS:])
            m.d.sync += count.eq(Mux(self.o.valid, 1, count + 1))
        with m.If(self.clear):
            m.d.sync += count.eq(0)


class MapWalk(wiring.Component):
    """Bank and address of every word of a map, channel words c = 0.., each in raster order.

    With n = x + width * (y // 3), for pixel (y, x)::

        u = (y + c // 3) % 3    v = (n + c) % 3    address = base + c * plane + n // 3

    by counters alone. ``start`` goes to the first word of the shape, which must hold meanwhile;
    ``step`` moves on, one word per cycle. Behind the ``last`` word the walk is undefined.
    """

    def __init__(self):
        header = record_layout(HEADER)
        super().__init__(
            {
                "start": In(1),
                "base": In(header["input_base"].shape),
                "planes": In(header["input_planes"].shape),
                "height": In(header["input_height"].shape),
                "width": In(header["input_width"].shape),
                "plane": In(header["input_plane"].shape),
                "step": In(1),
                "u": Out(2),
                "v": Out(2),
                "address": Out(header["input_base"].shape),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place_layout = data.StructLayout({"cell": self.address.shape(), "phase": 2})
        place = Signal(place_layout)  # cell = address, phase = n % 3 of this pixel
        row_place = Signal(place_layout)  # the same for the first pixel of the row
        following = Signal(place_layout)  # the same for n + 1
        next_plane = Signal.like(self.base)  # address of the next channel word
        planes_left, rows_left, pixels_left = (
            Signal.like(size) for size in (self.planes, self.height, self.width)
        )
        row_phase, word_u, word_v = Signal(2), Signal(2), Signal(2)  # y, c // 3, c; all modulo 3

        m.d.comb += [
            following.phase.eq(add3(place.phase, 1)),
            following.cell.eq(place.cell + (place.phase == 2)),
            self.last.eq((pixels_left == 1) & (rows_left == 1) & (planes_left == 1)),
            self.u.eq(add3(row_phase, word_u)),
            self.v.eq(add3(place.phase, word_v)),
            self.address.eq(place.cell),
        ]
        with m.If(self.step):
            with m.If(pixels_left != 1):
                m.d.sync += pixels_left.eq(pixels_left - 1)
                m.d.sync += place.eq(following)
            with m.Elif(rows_left != 1):
                m.d.sync += pixels_left.eq(self.width)
                m.d.sync += rows_left.eq(rows_left - 1)
                m.d.sync += row_phase.eq(add3(row_phase, 1))
                m.d.sync += place.eq(row_place)
                with m.If(row_phase == 2):
                    m.d.sync += place.eq(following)
                    m.d.sync += row_place.eq(following)
            with m.Else():
                m.d.sync += pixels_left.eq(self.width)
                m.d.sync += rows_left.eq(self.height)
                m.d.sync += planes_left.eq(planes_left - 1)
                m.d.sync += next_plane.eq(next_plane + self.plane)
                m.d.sync += row_phase.eq(0)
                m.d.sync += place.eq(Cat(next_plane, Const(0, 2)))
                m.d.sync += row_place.eq(Cat(next_plane, Const(0, 2)))
                m.d.sync += word_v.eq(add3(word_v, 1))
                with m.If(word_v == 2):
                    m.d.sync += word_u.eq(add3(word_u, 1))
        with m.If(self.start):
            m.d.sync += pixels_left.eq(self.width)
            m.d.sync += rows_left.eq(self.height)
            m.d.sync += planes_left.eq(self.planes)
            m.d.sync += next_plane.eq(self.base + self.plane)
            m.d.sync += row_phase.eq(0)
            m.d.sync += word_u.eq(0)
            m.d.sync += word_v.eq(0)
            m.d.sync += place.eq(Cat(self.base, Const(0, 2)))
            m.d.sync += row_place.eq(Cat(self.base, Const(0, 2)))
        return m


class InputLoader(wiring.Component):
    """Copies one image from byte ``address`` into the map that the program's ``header`` describes.

    One word per cycle, or one beat per cycle where a word is wider; a word is offered two cycles
    after its last beat; applies backpressure. ``header`` must hold while ``busy``, and its
    ``input_beats`` be the beats that the words of the map take.

    ``busy`` from the cycle after ``start`` until the last word has been accepted. ``error`` rises
    when a beat fails and holds until ``halt``, which stops the loader at once: the offered word is
    withdrawn, and what still comes from memory must not reach it.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "header": In(record_layout(HEADER)),
                "halt": In(1),
                "busy": Out(1),
                "error": Out(1),
                "request": Out(stream.Signature(request_layout())),
                "data": In(stream.Signature(read_data_layout())),
                "write": Out(stream.Signature(bank_word_layout(cfg))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = BurstGenerator(IMAGE_BEATS_BITS)
        m.submodules.unpacker = unpacker = PixelUnpacker(self.cfg)
        m.submodules.walk = walk = MapWalk()
        walking = Signal()  # words of the map are still to be offered
        taken = Signal()  # a word moves from the unpacker to the output

        m.d.comb += [
            reader.start.eq(self.start),
            reader.address.eq(self.address),
            reader.beats.eq(self.header.input_beats),
            reader.halt.eq(self.halt),
            self.request.valid.eq(reader.request.valid),
            self.request.payload.eq(reader.request.payload),
            reader.request.ready.eq(self.request.ready),
            unpacker.clear.eq(self.start | self.halt),
            unpacker.i.valid.eq(self.data.valid),
            unpacker.i.payload.eq(self.data.p.data),
            self.data.ready.eq(unpacker.i.ready),
            unpacker.o.ready.eq(walking & (~self.write.valid | self.write.ready)),
            taken.eq(unpacker.o.valid & unpacker.o.ready),
            walk.start.eq(self.start),
            walk.base.eq(self.header.input_base),
            walk.planes.eq(self.header.input_planes),
            walk.height.eq(self.header.input_height),
            walk.width.eq(self.header.input_width),
            walk.plane.eq(self.header.input_plane),
            walk.step.eq(taken),
            self.busy.eq(walking | self.write.valid),
        ]
        with m.If(self.write.ready):
            m.d.sync += self.write.valid.eq(0)
        with m.If(taken):
            m.d.sync += [
                self.write.valid.eq(1),
                self.write.p.buffer.eq(self.header.input_buffer),
                self.write.p.u.eq(walk.u),
                self.write.p.v.eq(walk.v),
                self.write.p.address.eq(walk.address),
                self.write.p.data.eq(unpacker.o.payload),
            ]
            with m.If(walk.last):
                m.d.sync += walking.eq(0)
        with m.If(self.data.valid & self.data.ready & self.data.p.error):
            m.d.sync += self.error.eq(1)
        with m.If(self.start):
            m.d.sync += walking.eq(1)
        with m.If(self.halt):
            m.d.sync += walking.eq(0)
            m.d.sync += self.write.valid.eq(0)
            m.d.sync += self.error.eq(0)
        return m
