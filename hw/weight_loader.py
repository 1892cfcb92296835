"""Weights from memory to the chip: assembly of weight words, and the loader of streamed weights."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS, Config
from penstock.hw.layouts import ram_write_signature, read_data_layout, request_layout
from penstock.hw.memory import BurstGenerator, times

ADDRESS_BITS = 16
WORDS_BITS = 20


class WeightAssembler(wiring.Component):
    """Joins ``weight_beats`` beats, low bytes first, to a weight word, written to the next address.

    One beat per cycle, latency 0 cycles behind the last beat of a word; no backpressure. ``start``
    sets the first ``address`` and forgets an open word; no beat with ``skip`` is of a word, none
    comes inside of one.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "address": In(ADDRESS_BITS),
                "i": In(stream.Signature(MEMORY_BITS, always_ready=True)),
                "skip": In(1),
                "write": Out(ram_write_signature(ADDRESS_BITS, 8 * cfg.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = self.cfg.weight_beats
        held = Signal(MEMORY_BITS * (beats - 1), reset_less=True)
        count = Signal(range(beats))
        joined = Cat(held, self.i.payload)
        m.d.comb += self.write.data.eq(joined)
        with m.If(self.i.valid):
            m.d.sync += held.eq(joined[MEMORY_BITS:])
        with m.If(self.i.valid & ~self.skip):
            m.d.sync += count.eq(count + 1)
            with m.If(count == beats - 1):
                m.d.sync += count.eq(0)
                m.d.comb += self.write.enable.eq(1)
                m.d.sync += self.write.address.eq(self.write.address + 1)
        with m.If(self.start):
            m.d.sync += count.eq(0)
            m.d.sync += self.write.address.eq(self.address)
        return m


class WeightLoader(wiring.Component):
    """Copies ``words`` weight words from byte ``address`` to ``destination`` and up on chip.

    One beat per cycle: a weight word every ``cfg.weight_beats`` cycles, written one cycle after its
    last beat. Data are always accepted; requests run ahead of them, as many as the memory takes.

    ``busy`` from the cycle after ``start`` to the last write. ``error`` rises when a beat fails and
    holds until ``halt``, which stops the loader at once: what still comes must not reach it.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        super().__init__(
            {
                "start": In(1),
                "address": In(32),
                "words": In(WORDS_BITS),
                "destination": In(ADDRESS_BITS),
                "halt": In(1),
                "busy": Out(1),
                "error": Out(1),
                "request": Out(stream.Signature(request_layout())),
                "data": In(stream.Signature(read_data_layout())),
                "weight_write": Out(ram_write_signature(ADDRESS_BITS, 8 * cfg.lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = times(self.words, self.cfg.weight_beats)
        m.submodules.reader = reader = BurstGenerator(len(beats))
        m.submodules.assembler = assembler = WeightAssembler(self.cfg)
        left = Signal(WORDS_BITS)  # weight words still to write

        m.d.comb += [
            reader.start.eq(self.start),
            reader.address.eq(self.address),
            reader.beats.eq(beats),
            reader.halt.eq(self.halt),
            assembler.start.eq(self.start),
            assembler.address.eq(self.destination),
            self.busy.eq(left.any()),
            self.data.ready.eq(1),
        ]
        m.d.comb += [
            self.request.valid.eq(reader.request.valid),
            self.request.payload.eq(reader.request.payload),
            reader.request.ready.eq(self.request.ready),
            self.weight_write.enable.eq(assembler.write.enable),
            self.weight_write.address.eq(assembler.write.address),
            self.weight_write.data.eq(assembler.write.data),
        ]
        m.d.sync += assembler.i.valid.eq(self.data.valid & self.busy & ~self.halt)
        m.d.sync += assembler.i.payload.eq(self.data.p.data)

        with m.If(self.data.valid & self.data.p.error & self.busy):
            m.d.sync += self.error.eq(1)
        with m.If(assembler.write.enable):
            m.d.sync += left.eq(left - 1)
        with m.If(self.start):
            m.d.sync += left.eq(self.words)
        with m.If(self.halt):
            m.d.sync += left.eq(0)
            m.d.sync += self.error.eq(0)
        return m
