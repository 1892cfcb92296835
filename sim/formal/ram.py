"""Memories give back what was written: in one piece, split, and as distributed memory."""

import functools
from unittest import mock

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Fragment, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from penstock.hw import ram as hardware
from penstock.hw.pipeline import delay
from penstock.hw.ram import LATENCY, STYLES, Ram, ram_modules
from penstock.sim.formal.prover import Proof

KINDS = (("generic", "block"), ("ecp5", "block"), ("ecp5", "distributed"))
"""Target and style of the memories that a proof compares."""


def watched_modules() -> str:
    """The memory modules with one more port, which shows a word without reading it."""
    text = ram_modules("".join(f"penstock_ram_{suffix} #(" for suffix in STYLES))
    ports = "input wire [ADDRESS-1:0] watch, output wire [WIDTH-1:0] watched, input wire clk,"
    for old, new in (
        (" #(\n", "_watched #(\n"),
        ("input wire clk,", ports),
        ("endmodule", "assign watched = memory[watch];\nendmodule"),
    ):
        assert text.count(old) == len(STYLES)
        text = text.replace(old, new)
    return text


class Contents(wiring.Component):
    """A read gives, two cycles later, what was last written to each lane of the address.

    Shown for one address that the solver chooses, so for all of them; memories of all kinds take
    the same writes and reads, so they are equal to each other as well.
    """

    def __init__(self, *, width: int, depth: int, lanes: int):
        self.width, self.depth, self.lanes = width, depth, lanes
        bits = ceil_log2(depth)
        super().__init__(
            {
                "address": In(bits),  # the one that the proof looks at
                "read_address": In(bits),
                "write_enable": In(lanes),
                "write_address": In(bits),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        address, started = Signal.like(self.address), Signal()
        m.d.sync += [address.eq(self.address), started.eq(1)]
        m.d.comb += Assume(self.address < self.depth)
        with m.If(started):
            m.d.comb += Assume(self.address == address)
        # Nobody reads an address in the cycle in which it is written: the contract of Ram.
        here = self.write_enable.any() & (self.write_address == self.address)
        read_here = self.read_address == self.address
        m.d.comb += Assume(~(here & read_here))

        known, shadow = Signal(self.lanes), Signal(self.width)
        with m.If(here):
            m.d.sync += known.eq(known | self.write_enable)
        part = self.width // self.lanes
        mask = Cat(known[lane].replicate(part) for lane in range(self.lanes))
        for lane in range(self.lanes):
            with m.If(here & self.write_enable[lane]):
                m.d.sync += shadow[lane * part :][:part].eq(self.write_data[lane * part :][:part])

        told = delay(m, Mux(read_here, mask, 0), LATENCY, name="told", control=True)
        expected = delay(m, shadow, LATENCY, name="expected")
        # Of a distributed memory also in the cycle behind.
        met = delay(m, read_here, 1, name="read_before", control=True) & here
        met = delay(m, met, LATENCY - 1, name="met", control=True)
        for target, style in KINDS:
            ram, watched = self._watched(m, target, style)
            with m.If(~met if style == "distributed" else Const(1)):
                m.d.comb += Assert((ram.read_data & told) == (expected & told))
            m.d.comb += Assert((watched & mask) == (shadow & mask))
        m.d.comb += Cover(told.all() & expected.any() & (self.address == self.depth - 1))
        return m

    def _watched(self, m: Module, target: str, style: str):
        """A memory, and the word that it holds at the address of the proof."""
        ram = Ram(width=self.width, depth=self.depth, lanes=self.lanes, style=style, target=target)
        parts = []

        def instance(name, **ports):
            word = Signal(self.width)
            parts.append((ports["p_DEPTH"], word))
            watch = self.address[: ports["p_ADDRESS"]]
            return Instance(f"{name}_watched", i_watch=watch, o_watched=word, **ports)

        with mock.patch.object(hardware, "Instance", instance):
            m.submodules[f"{target}_{style}"] = Fragment.get(ram, None)
        first, watched = 0, parts[0][1]
        for depth, word in parts:
            watched = Mux(self.address >= first, word, watched)
            first += depth
        m.d.comb += [
            ram.read_address.eq(self.read_address),
            ram.write_enable.eq(self.write_enable),
            ram.write_address.eq(self.write_address),
            ram.write_data.eq(self.write_data),
        ]
        return ram, watched


PROOFS = [
    Proof(
        block="ram",
        name="contents",
        configuration=f"{depth} words of {lanes} x {width // lanes} bits",
        statement="a read gives what was last written to each lane of its address, 2 cycles later; "
        "generic, ecp5 block (split where several powers of two) and ecp5 distributed",
        top=functools.partial(Contents, width=width, depth=depth, lanes=lanes),
        depth=4,
        cover_depth=6,
        sources=watched_modules(),
        quick=depth <= 16,
    )
    for width, depth, lanes in ((4, 16, 2), (4, 22, 2), (8, 13, 1), (2, 7680, 1), (4, 512, 4))
]
