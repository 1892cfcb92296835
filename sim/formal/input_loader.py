"""The input loader asks for its image alone, and every word of it goes to its place, once."""

import dataclasses
import functools

from amaranth.asserts import AnyConst
from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.config import BANKS, BURST_BEATS, MEMORY_BITS, Config, preset
from penstock.hw.input_loader import IMAGE_BEATS_BITS, InputLoader, MapWalk
from penstock.hw.layouts import ADDRESS_BITS
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import ALGEBRA, Proof
from penstock.sim.formal.rules import hold_stream, moves, tally, unasked

PLACE = ("u", "v", "address")
PLACE_BITS = 2 + 2 + ADDRESS_BITS

LINE = 255 * 85
"""Bound of W * (y // 3) in the formulas of a place."""


class Raster:
    """Pixel (y, x) and channel word c of a map's next word, of which ``step`` takes one.

    ``shape`` is anything with a height, a width and planes.
    """

    def __init__(self, m: Module, start, step, shape):
        self.x, self.y, self.c = Signal(8), Signal(8), Signal(12)
        self.left = [
            shape["input_width"] - self.x,
            shape["input_height"] - self.y,
            shape["input_planes"] - self.c,
        ]
        self.row_ends, self.ends, self.last = Signal(), Signal(), Signal()  # of row, plane, map
        m.d.comb += [
            self.row_ends.eq(self.left[0] == 1),
            self.ends.eq(self.row_ends & (self.left[1] == 1)),
            self.last.eq(self.ends & (self.left[2] == 1)),
        ]
        with m.If(step):
            m.d.sync += self.x.eq(Mux(self.row_ends, 0, self.x + 1))
            m.d.sync += self.y.eq(Mux(self.ends, 0, self.y + self.row_ends))
            m.d.sync += self.c.eq(self.c + self.ends)
        with m.If(start):
            m.d.sync += [self.x.eq(0), self.y.eq(0), self.c.eq(0)]

    def tie(self, m: Module, walk: Inside):
        """The walk counts what is left; for the induction, while words are."""
        for name, left in zip(("pixels", "rows", "planes"), self.left, strict=True):
            m.d.comb += Assert((left > 0) & (walk[f"{name}_left"] == left))


class Images(wiring.Component):
    """The words of an image, as its beats have them, each to its place of the map, in order.

    The loader has a free start while it is idle, a memory that answers what it was asked, and a
    free halt; so image follows image, each with a header of its own. ``words`` are those of the
    map that the header describes. Of all words the chosen one is followed.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.block = InputLoader(cfg)
        names = ("address", "header", "halt", "request", "data", "write")
        ports = {name: self.block.signature.members[name] for name in names}
        super().__init__({**ports, "words": In(16), "begin": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self.block
        inside = Inside(block)
        for name in ("request", "write"):
            wiring.connect(m, getattr(block, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.data), block.data)
        self.start = start = Signal()
        m.d.comb += [
            start.eq(self.begin & ~block.busy),  # Sequencer
            block.start.eq(start),
            block.address.eq(self.address),
            block.header.eq(self.header),
            block.halt.eq(self.halt),
        ]
        self._header(m)
        self._requests(m)
        self._words(m, inside["taken"])
        self._map(m, inside["taken"], inside.block("walk"))
        self._induction(m, inside)
        return m

    def _header(self, m: Module):
        # It holds while the loader is busy: the program loader writes it during LOAD alone.
        here = Cat(self.header, self.words)
        started, before = Signal(), Signal.like(here)
        m.d.sync += [started.eq(self.start | self.block.busy), before.eq(here)]
        with m.If(started & self.block.busy):
            m.d.comb += Assume(here == before)
        # The compiler: no map is empty, every one fits into its buffer (placement), and
        # input_beats are those of its words.
        header, words = self.header, self.words
        m.d.comb += [
            Assume(words.any() & (words <= BANKS * self.cfg.map_words)),
            Assume(header.input_planes.any() & header.input_height.any()),
            Assume(header.input_width.any() & (header.input_beats == self._beats(words))),
        ]

    def _beats(self, words):
        """That so many words take."""
        bits = 8 * self.cfg.word
        if bits >= MEMORY_BITS:
            return words * (bits // MEMORY_BITS)
        return (words + MEMORY_BITS // bits - 1) // (MEMORY_BITS // bits)

    def _count(self, m: Module, name: str, bits: int, up):
        """The sum of ``up`` in this image, as long as no halt ends it."""
        return tally(m, name, bits, up, cleared=self.start | self.halt)

    def _captured(self, m: Module, name: str, value):
        """``value`` as it is at the start; 0 where no image has been started, or one halted."""
        captured = Signal(len(value), name=name)
        with m.If(self.start):
            m.d.sync += captured.eq(value)
        with m.If(self.halt):
            m.d.sync += captured.eq(0)
        return captured

    def _requests(self, m: Module):
        """They cover the image from its first word to its last, in order, and nothing else."""
        block, request, beat = self.block, self.block.request, self.block.data
        bits = IMAGE_BEATS_BITS + 1
        self.beats = self._captured(m, "beats", self.header.input_beats[:bits])
        self.asked = self._count(m, "asked", bits, Mux(moves(request), request.p.beats, 0))
        self.came = self._count(m, "came", bits, moves(beat))
        base, self.place = self._captured(m, "base", self.address[3:]), Signal(29)
        m.d.comb += self.place.eq(base + self.asked)
        hold_stream(m, "request", request, unless=self.halt, in_row=False)
        with m.If(request.valid):
            m.d.comb += [
                Assert(request.p.address == self.place << 3),
                Assert(self.asked + request.p.beats <= self.beats),
                Assert(request.p.beats.any() & (request.p.beats <= BURST_BEATS)),
                Assert(self.place % BURST_BEATS + request.p.beats <= BURST_BEATS),
            ]
        # The read arbiter: beats that were asked for, none during a halt, and none behind one.
        hold_stream(m, "data", beat, Assume, unless=self.halt, dropped=self.halt)
        m.d.comb += Assume(~beat.valid | ((self.came < self.asked) & ~self.halt))
        m.d.comb += Assert(block.busy | ((self.asked == self.beats) & (self.came == self.beats)))
        failed = Signal()
        m.d.sync += failed.eq((failed | moves(beat) & beat.p.error) & ~self.halt)
        m.d.comb += Assert(block.error == failed)
        m.d.comb += Cover(moves(request) & (self.asked != 0) & (self.place % BURST_BEATS == 0))

    def _words(self, m: Module, taken):
        """They are written in order, as they are in the beats; busy until the last one is."""
        block, write, beat = self.block, self.block.write, self.block.data
        self.of_image = self._captured(m, "of_image", self.words)
        self.written = written = self._count(m, "written", 16, moves(write))
        self.taken = self._count(m, "taken_words", 16, taken)
        hold_stream(m, "write", write, unless=self.halt, in_row=self.cfg.word <= 8)
        m.d.comb += [
            Assert(block.busy == (written < self.of_image)),
            Assert(~write.valid | (written < self.of_image)),
            Cover(~block.busy & (self.of_image == 5)),
        ]
        # The chosen word, from the beats that have it.
        self.chosen, bits = AnyConst(16), 8 * self.cfg.word
        self.content = Signal(bits)
        if bits < MEMORY_BITS:
            words = MEMORY_BITS // bits
            with m.If(moves(beat) & (self.came == self.chosen // words)):
                m.d.sync += self.content.eq(beat.p.data.word_select(self.chosen % words, bits))
        else:
            parts = bits // MEMORY_BITS
            for part in range(parts):
                with m.If(moves(beat) & (self.came == self.chosen * parts + part)):
                    m.d.sync += self.content.word_select(part, MEMORY_BITS).eq(beat.p.data)
        with m.If(write.valid & (written == self.chosen)):
            m.d.comb += Assert(write.p.data == self.content)
            m.d.comb += Assert(write.p.buffer == self.header.input_buffer)
            m.d.comb += Cover(moves(write) & (self.chosen == 3))

    def _map(self, m: Module, taken, walk: Inside):
        """As many words as the map has, each to the place where the walk is (`Walk`)."""
        header, write = self.header, self.block.write
        raster = Raster(m, self.start, taken, header)
        walking = self.taken < self.of_image
        place, told = Cat(*(getattr(walk.component, name) for name in PLACE)), Signal(PLACE_BITS)
        with m.If(walking):  # `words` is the product of planes, height and width
            m.d.comb += Assume(raster.last == (self.taken == self.of_image - 1))
            raster.tie(m, walk)
        with m.If(taken):
            m.d.sync += told.eq(place)
        with m.If(write.valid):
            m.d.comb += Assert(Cat(*(write.p[name] for name in PLACE)) == told)
        for name in ("base", "planes", "height", "width", "plane"):
            m.d.comb += Assert(getattr(walk.component, name) == header[f"input_{name}"])

    def _induction(self, m: Module, inside: Inside):
        """Where the words are that came and were not yet written."""
        block, write = self.block, self.block.write
        reader, unpacker = inside.block("reader"), inside.block("unpacker")
        asked, came, taken = self.asked, self.came, self.taken
        remaining, position = unasked(reader)
        m.d.comb += [
            Assert((came <= asked) & (asked <= self.beats) & (taken <= self.of_image)),
            Assert(self.beats == self._beats(self.of_image)),
            Assert(self.of_image <= BANKS * self.cfg.map_words),
            Assert(remaining == self.beats - asked),
            Assert(~self.beats.any() | (position == self.place)),
            Assert(~reader["fresh"] | reader.component.request.valid),
            Assert(inside["walking"] == (taken < self.of_image)),
            Assert(taken == self.written + write.valid),
        ]
        with m.If(block.busy):
            m.d.comb += Assert(self.of_image == self.words)
        count, bits = unpacker["count"], 8 * self.cfg.word
        if bits < MEMORY_BITS:
            words, rest = MEMORY_BITS // bits, unpacker["rest"]
            m.d.comb += Assert((came * words == taken + count) & (count <= words))
            with m.If((came > self.chosen // words) & (taken <= self.chosen)):
                found = rest.word_select((self.chosen - taken)[: len(count)], bits)
                m.d.comb += Assert(found == self.content)
        else:
            parts, word = bits // MEMORY_BITS, unpacker.component.o.payload
            m.d.comb += Assert((came == taken * parts + count) & (count <= parts))
            for part in range(parts):
                content = self.content.word_select(part, MEMORY_BITS)
                found = word.word_select((parts - count + part)[: len(count)], MEMORY_BITS)
                with m.If((taken == self.chosen) & (count > part)):
                    m.d.comb += Assert(found == content)


class Walk(wiring.Component):
    """Bank and address of every word of a map, by the formulas, from the first to the last.

    ``quotient`` and ``row_quotient`` are n // 3 of the formulas, for the next word and for its
    row's first.
    """

    def __init__(self):
        self.block = MapWalk()
        members = self.block.signature.members
        self.names = [name for name, member in members.items() if member.flow == In]
        shape = {name: members[name] for name in self.names}
        super().__init__(shape | {"quotient": In(13), "row_quotient": In(13)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.block = block = self.block
        walk = Inside(block)
        for name in self.names:
            m.d.comb += getattr(block, name).eq(getattr(self, name))
        shape = {f"input_{name}": getattr(self, name) for name in ("height", "width", "planes")}
        raster = Raster(m, self.start, self.step, shape)
        walking, started = Signal(), Signal()
        with m.If(self.step & raster.last):
            m.d.sync += walking.eq(0)
        with m.If(self.start):
            m.d.sync += walking.eq(1)
        # The input loader: its header holds, and a step takes a word that is there.
        shape = Cat(self.base, self.planes, self.height, self.width, self.plane)
        before = Signal.like(shape)
        m.d.sync += [before.eq(shape), started.eq(self.start | walking)]
        m.d.comb += Assume(~(started & walking) | (shape == before))
        m.d.comb += Assume(~self.step | walking)
        m.d.comb += Assume(self.planes.any() & self.height.any() & self.width.any())
        with m.If(walking):
            raster.tie(m, walk)
            m.d.comb += Assert(block.last == raster.last)
        self._places(m, walk, raster, walking)
        return m

    def _places(self, m: Module, walk: Inside, raster: Raster, walking):
        """u = (y + c // 3) % 3, v = (n + c) % 3, address = base + c * plane + n // 3,

        with n = x + W * (y // 3), for channel word c of pixel (y, x).
        """
        row, third = Signal(2), Signal(2)  # y % 3, (c // 3) % 3
        rest = Signal(2)  # c % 3
        line, start = Signal(16), Signal(ADDRESS_BITS)  # W * (y // 3), base + c * plane
        with m.If(self.step & raster.row_ends):
            m.d.sync += row.eq(Mux(row == 2, 0, row + 1))
            m.d.sync += line.eq(Mux(row == 2, line + self.width, line))
        with m.If(self.step & raster.ends):
            m.d.sync += [row.eq(0), line.eq(0), start.eq(start + self.plane)]
            m.d.sync += rest.eq(Mux(rest == 2, 0, rest + 1))
            with m.If(rest == 2):
                m.d.sync += third.eq(Mux(third == 2, 0, third + 1))
        with m.If(self.start):
            m.d.sync += [row.eq(0), line.eq(0), start.eq(self.base)]
            m.d.sync += [rest.eq(0), third.eq(0)]

        places = []
        for n, quotient in ((raster.x + line, self.quotient), (line, self.row_quotient)):
            remainder = n - 3 * quotient
            m.d.comb += Assume((remainder >= 0) & (remainder < 3))
            places.append(Cat((start + quotient)[:ADDRESS_BITS], remainder[:2]))
        m.d.comb += Assume(line <= LINE)  # a product of W and y // 3
        here, row_here = walk["place"].as_value(), walk["row_place"].as_value()
        with m.If(walking):
            m.d.comb += [
                Assert((row < 3) & (third < 3) & (rest < 3)),
                Assert(self.block.u == (row + third) % 3),
                Assert(self.block.v == (places[0][ADDRESS_BITS:] + rest) % 3),
                Assert(self.block.address == places[0][:ADDRESS_BITS]),
                Cover((row == 1) & (rest == 1) & (line == 1) & (self.plane == 2)),
                # For the induction.
                Assert((here == places[0]) & (row_here == places[1])),
                Assert(walk["next_plane"] == (start + self.plane)[:ADDRESS_BITS]),
                Assert((walk["word_u"] == third) & (walk["word_v"] == rest)),
                Assert(walk["row_phase"] == row),
            ]


PROOFS = [
    *(
        Proof(
            block="input_loader",
            name="images",
            configuration=f"{name}, all maps",
            statement="requests cover the image's words in order and no others, each at most"
            f" {BURST_BEATS} words and within {BURST_BEATS * MEMORY_BITS // 8} bytes; every word is"
            " offered once, in order, as its beat has it, for the walk's next place; both"
            " held until taken or halted; busy until the last word is taken, or a halt; an error"
            " holds until halt",
            top=functools.partial(Images, cfg),
            depth=2,
            cover_depth=20,
            quick=False,
        )
        for name, cfg in (
            ("tiny", preset("tiny")),
            *(
                (f"words of {word} channels", dataclasses.replace(preset("asic"), word=word))
                for word in (1, 4, 8, 16)
            ),
        )
    ),
    Proof(
        block="input_loader",
        name="walk",
        configuration="all maps",
        statement="bank and address of every word of a map are those of the formulas, in the"
        " order of the image; the last one is told",
        top=Walk,
        depth=2,
        cover_depth=12,
        engine=ALGEBRA,
        quick=False,
    ),
]
