"""The weights on chip."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.config import Config
from penstock.hw.layouts import WEIGHT_ADDRESS_BITS, ram_write_signature
from penstock.hw.pipeline import WAY, delay, spread
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.hw.ram import Ram

PARTS = 8
"""Parts that a large memory is of."""

ADDRESS_WAY = (PARTS - 1).bit_length()
"""Cycles of an address on its way to the parts."""

LATENCY = ADDRESS_WAY + RAM_LATENCY + WAY
"""Cycles from an address to its word at the rows."""


class WeightMemory(wiring.Component):
    """``word = memory[read_address]``.

    One read and one write a cycle, latency 7 cycles; a write is done three cycles after it came. No
    backpressure. What is read from an address that is written in the same cycle, or in one of the
    two before, is undefined.

    A large memory takes much of a chip: it is of up to PARTS parts, each with registers of its own
    for addresses, and a word is two cycles on its way to all rows, wherever they lie.
    """

    def __init__(self, cfg: Config):
        self.cfg = cfg
        self.parts = min(2 * cfg.word, PARTS)
        super().__init__(
            {
                "write": In(ram_write_signature(WEIGHT_ADDRESS_BITS, 8 * cfg.lanes)),
                "read_address": In(WEIGHT_ADDRESS_BITS),
                "word": Out(8 * cfg.lanes),
            }
        )

    def elaborate(self, platform):
        cfg, write = self.cfg, self.write
        m = Module()
        width = 8 * cfg.lanes // self.parts
        reads = spread(m, self.read_address, self.parts, cycles=ADDRESS_WAY, name="read_address")
        place = Cat(write.enable, write.address)
        writes = spread(m, place, self.parts, cycles=ADDRESS_WAY, name="write")
        written = delay(m, write.data, ADDRESS_WAY, name="write_data")
        words = []
        for part in range(self.parts):
            ram = Ram(width=width, depth=cfg.weight_words, target=cfg.target)
            m.submodules[f"part_{part}"] = ram
            m.d.comb += [
                ram.read_address.eq(reads[part]),
                ram.write_enable.eq(writes[part][0]),
                ram.write_address.eq(writes[part][1:]),
                ram.write_data.eq(written[width * part :][:width]),
            ]
            words.append(ram.read_data)
        m.d.comb += self.word.eq(delay(m, Cat(words), WAY, name="word"))
        return m
