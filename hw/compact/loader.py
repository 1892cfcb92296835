"""Reads the program's stream: checks it once, then feeds the engine with it for every image."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.channel_stream import CHANNEL, CHANNEL_WORDS, LAYER, STEP_WORDS
from penstock.hw.compact.crc import CYCLES, WordCrc32
from penstock.hw.compact.layouts import BLOCK_BITS, PIXEL_BITS, fields_layout
from penstock.program import MAGIC, VERSION
from penstock.registers import Code

BLOCK_WORDS = 32
LAYER_WORDS = 8
CHECKED_FROM = 12
"""First 16-bit word under the CRC."""

TABLES = ("window", "place", "residual")
"""Memories with an entry for each pixel of a layer."""


class LoaderState(enum.Enum, shape=4):
    """What the loader is reading, or waiting for."""

    IDLE = 0
    HEADER = 1
    BODY = 2
    CHECK = 3
    LAYER = 4
    TABLE = 5
    ALIGN = 6
    IMAGE = 7
    WEIGHTS = 8
    CHANNEL = 9
    FINISH = 10
    DRAIN = 11


_READING = (
    *(LoaderState.HEADER, LoaderState.BODY, LoaderState.LAYER, LoaderState.TABLE),
    *(LoaderState.IMAGE, LoaderState.WEIGHTS, LoaderState.CHANNEL),
)


def store_layout() -> data.StructLayout:
    """A word on its way into tables, weights and the multipliers' registers."""
    return data.StructLayout(
        {
            "word": 16,
            "entry": PIXEL_BITS,
            "tables": data.StructLayout({name: 1 for name in TABLES}),
            "weights": STEP_WORDS,  # one bit of five
            "half": 1,  # of the weights
            "layer": LAYER_WORDS,  # one bit of eight
            "channel": CHANNEL_WORDS,  # one bit of seven
        }
    )


class StreamLoader(wiring.Component):
    """LOAD reads the whole program and checks it; START reads it once for each image.

    ``load`` ends with ``load_done`` and ``load_code``, ``run`` with ``run_done``. While a channel
    is computed the next one's weights are loaded; its CHANNEL record, LAYER records and tables
    wait for ``idle``, the engine. ``start`` starts a channel, on the half of the weights that
    ``half`` names. ``image_byte`` is one byte of the image, for pixel ``store.entry``.
    """

    def __init__(self, config_hash: int):
        self.config_hash = config_hash
        super().__init__(
            {
                "load": In(1),
                "run": In(1),
                "last_image": In(1),
                "halt": In(1),
                "idle": In(1),
                "word": In(stream.Signature(16)),
                "boundary": In(1),  # no block is being read
                "want": Out(1),
                "ahead": Out(1),  # what follows the current block will be wanted, too
                "from_image": Out(1),
                "rewind": Out(1),
                "store": Out(store_layout()),
                "layer": Out(fields_layout(LAYER)),
                "channel": Out(fields_layout(CHANNEL)),
                "start": Out(1),
                "half": Out(1),
                "image_valid": Out(1),
                "image_byte": Out(8),
                "flush": Out(1),
                "load_done": Out(1),
                "load_code": Out(Code),
                "run_done": Out(1),
                "image_done": Out(1),
                "layer_number": Out(6),
            }
        )
        self.state = Signal(LoaderState)
        self.entry = Signal(PIXEL_BITS)
        self.sub = Signal(3)
        self.imaged = Signal()  # the image has been loaded
        self.ended = Signal()  # a channel of the image, its last byte on its way

    def elaborate(self, platform):
        m = Module()
        state, sub, entry, word = self.state, self.sub, self.entry, self.word
        reading = Signal()
        m.d.comb += [
            reading.eq(_any(state, *_READING)),
            self.want.eq(reading),
            self.ahead.eq(self.imaged & (state != LoaderState.IMAGE)),
            self.from_image.eq(state == LoaderState.IMAGE),
            self.store.word.eq(word.payload),
            self.store.entry.eq(entry),
            self.store.half.eq(~self.half),
        ]
        m.d.sync += self.ended.eq(0)
        with m.If(self.ended):
            m.d.sync += self.channel.channel.eq(self.channel.channel + 1)
        loading = self._check(m)
        with m.Switch(state):
            with m.Case(LoaderState.IDLE):
                m.d.sync += [entry.eq(0), sub.eq(0), self.imaged.eq(0)]
                with m.If(self.load | self.run):
                    m.d.comb += self.rewind.eq(1)
                    m.d.sync += [loading.eq(self.load), state.eq(LoaderState.HEADER)]
            with m.Case(LoaderState.LAYER):
                self._layer(m)
            with m.Case(LoaderState.TABLE):
                self._table(m)
            with m.Case(LoaderState.ALIGN):
                m.d.comb += word.ready.eq(1)
                with m.If(self.boundary):
                    m.d.sync += state.eq(Mux(self.imaged, LoaderState.LAYER, LoaderState.IMAGE))
            with m.Case(LoaderState.IMAGE):
                self._image(m)
            with m.Case(LoaderState.WEIGHTS):
                self._weights(m)
            with m.Case(LoaderState.CHANNEL):
                self._channel(m)
            with m.Case(LoaderState.FINISH):
                m.d.comb += word.ready.eq(1)  # the rest of the block
                with m.If(self.idle & self.boundary):
                    m.d.comb += self.flush.eq(1)
                    m.d.sync += state.eq(LoaderState.DRAIN)
            with m.Case(LoaderState.DRAIN), m.If(self.idle):
                m.d.comb += self.image_done.eq(1)
                m.d.sync += [entry.eq(0), sub.eq(0), self.imaged.eq(0)]
                with m.If(self.last_image):
                    m.d.comb += self.run_done.eq(1)
                    m.d.sync += state.eq(LoaderState.IDLE)
                with m.Else():
                    m.d.comb += self.rewind.eq(1)
                    m.d.sync += state.eq(LoaderState.HEADER)
        with m.If(self.halt):
            m.d.sync += state.eq(LoaderState.IDLE)
        return m

    def _check(self, m: Module):
        """Header and body of a LOAD; a START skips the header."""
        state, sub, entry, word = self.state, self.sub, self.entry, self.word
        loading = Signal()
        left = Signal(BLOCK_BITS, reset_less=True)  # blocks
        m.submodules.crc = crc = WordCrc32()
        m.d.comb += [
            crc.word.eq(word.payload),
            crc.part.eq(sub),
            crc.restart.eq(state == LoaderState.IDLE),
        ]
        expected = {0: MAGIC & 0xFFFF, 1: MAGIC >> 16, 2: VERSION}
        expected |= {4: self.config_hash & 0xFFFF, 5: self.config_hash >> 16}
        wrong = {
            **{index: word.payload != value for index, value in expected.items()},
            6: word.payload[:3].any(),
            7: word.payload[1:].any() | (Cat(left[:13], word.payload[0]) < 2),
        }
        codes = {0: Code.BAD_MAGIC, 1: Code.BAD_MAGIC, 2: Code.BAD_VERSION}
        codes |= {4: Code.BAD_CONFIG, 5: Code.BAD_CONFIG, 6: Code.BAD_LENGTH, 7: Code.BAD_LENGTH}
        last = Signal()
        checking, taken = Signal(), Signal()
        m.d.comb += [
            last.eq(sub == CYCLES - 1),
            checking.eq((state == LoaderState.HEADER) | (state == LoaderState.BODY)),
        ]
        with m.If(checking):
            m.d.comb += [
                taken.eq(word.valid & (last | ~loading)),
                word.ready.eq(last | ~loading),
                crc.step.eq(word.valid & ((state == LoaderState.BODY) | (entry >= CHECKED_FROM))),
            ]
            with m.If(word.valid & loading):
                m.d.sync += sub.eq(Mux(last, 0, sub + 1))
            with m.If(taken):
                m.d.sync += entry.eq(entry + 1)
                with m.If(entry[:5] == BLOCK_WORDS - 1):
                    m.d.sync += [entry.eq(0), left.eq(left - 1)]
                    with m.If(~loading):
                        m.d.sync += [state.eq(LoaderState.LAYER), self.layer_number.eq(-2)]
                    with m.Elif(left == 1):
                        m.d.sync += state.eq(LoaderState.CHECK)
                    with m.Else():
                        m.d.sync += state.eq(LoaderState.BODY)
        with m.If((state == LoaderState.HEADER) & loading & taken), m.Switch(entry):
            for index, condition in wrong.items():
                with m.Case(index):
                    with m.If(condition):
                        m.d.comb += [self.load_done.eq(1), self.load_code.eq(codes[index])]
                    if index == 6:
                        m.d.sync += left[:13].eq(word.payload[3:])
                    if index == 7:
                        m.d.sync += left[13].eq(word.payload[0])
        with m.If(state == LoaderState.CHECK):
            m.d.comb += [
                self.load_done.eq(1),
                self.load_code.eq(Mux(crc.ok, Code.OK, Code.BAD_CRC)),
            ]
            m.d.sync += state.eq(LoaderState.IDLE)
        return loading

    def _layer(self, m: Module):
        sub, word, layer = self.sub, self.word, self.layer.as_value()
        m.d.comb += word.ready.eq(self.idle)
        with m.If(word.valid & self.idle):
            m.d.sync += sub.eq(sub + 1)
            m.d.sync += self.channel.channel.eq(0)
            m.d.comb += self.store.layer.eq(1 << sub)
            with m.Switch(sub):
                for index in range(LAYER_WORDS - 3):
                    with m.Case(index):
                        m.d.sync += layer[16 * index :][:16].eq(word.payload)
                with m.Case(LAYER_WORDS - 2):
                    m.d.sync += self.layer_number.eq(self.layer_number + 1)
                with m.Case(LAYER_WORDS - 1):
                    m.d.sync += self.state.eq(LoaderState.TABLE)

    def _table(self, m: Module):
        sub, entry, layer = self.sub, self.entry, self.layer
        m.d.comb += self.word.ready.eq(1)
        with m.If(self.word.valid):
            m.d.comb += self.store.tables.eq(1 << sub[:2])
            m.d.sync += sub.eq(sub + 1)
            with m.If(sub[:2] == Mux(layer.residual, 2, 1)):
                m.d.sync += [sub.eq(0), entry.eq(entry + 1)]
                with m.If(entry == layer.pixels):
                    m.d.sync += entry.eq(0)
                    m.d.sync += self.state.eq(
                        Mux(layer.image, LoaderState.ALIGN, LoaderState.WEIGHTS)
                    )

    def _image(self, m: Module):
        sub, entry, layer, channel = self.sub, self.entry, self.layer, self.channel.channel
        m.d.comb += [
            self.image_byte.eq(self.word.payload.word_select(sub[0], 8)),
            self.image_valid.eq(self.word.valid),
            self.word.ready.eq(sub[0]),
        ]
        with m.If(self.word.valid):
            m.d.sync += [sub[0].eq(~sub[0]), entry.eq(entry + 1)]
            with m.If(entry == layer.pixels):
                m.d.sync += [entry.eq(0), self.ended.eq(1)]
                with m.If(channel == layer.wrap):
                    m.d.sync += [sub.eq(0), self.imaged.eq(1), self.state.eq(LoaderState.ALIGN)]

    def _weights(self, m: Module):
        sub, entry = self.sub, self.entry
        m.d.comb += self.word.ready.eq(1)
        with m.If(self.word.valid):
            m.d.comb += self.store.weights.eq(1 << sub)
            m.d.sync += sub.eq(sub + 1)
            with m.If(sub == STEP_WORDS - 1):
                m.d.sync += [sub.eq(0), entry.eq(entry + 1)]
                with m.If(entry == self.layer.steps):
                    m.d.sync += [entry.eq(0), self.state.eq(LoaderState.CHANNEL)]

    def _channel(self, m: Module):
        sub, word, channel = self.sub, self.word, self.channel.as_value()
        m.d.comb += word.ready.eq(self.idle)
        with m.If(word.valid & self.idle):
            m.d.sync += sub.eq(sub + 1)
            m.d.comb += self.store.channel.eq(1 << sub)
            with m.Switch(sub):
                for index in range(3, CHANNEL_WORDS):
                    with m.Case(index):
                        m.d.sync += channel[16 * index :][:16].eq(word.payload)
            with m.If(sub == CHANNEL_WORDS - 1):
                m.d.comb += self.start.eq(1)
                m.d.sync += [
                    sub.eq(0),
                    self.half.eq(~self.half),
                    self.state.eq(LoaderState.WEIGHTS),
                ]
                with m.If(self.channel.last):
                    m.d.sync += self.state.eq(
                        Mux(self.layer.last, LoaderState.FINISH, LoaderState.LAYER)
                    )


def _any(value, *choices):
    total = value == choices[0]
    for choice in choices[1:]:
        total |= value == choice
    return total
