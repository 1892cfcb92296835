"""The one module that makes the large memories, so that a target can give its primitive."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

LATENCY = 2
"""Cycles from an address to its data."""


class Ram(wiring.Component):
    """A memory with one write port and one read port: ``read_data = memory[read_address]``.

    One read and one write per cycle, read latency 2 cycles (the memory's own register and an
    output register), no backpressure. Nobody may rely on what is read from an address in the cycle
    in which it is written: the memory then needs no collision logic. ``style`` is "block", or
    "distributed" for small memories that a target should build from logic.
    """

    def __init__(
        self, *, width: int, depth: int, lanes: int = 1, style: str = "block", target: str
    ):
        self.depth = depth
        self.width = width
        self.lanes = lanes
        self.style = style
        self.target = target
        address_bits = ceil_log2(depth)
        super().__init__(
            {
                "read_address": In(address_bits),
                "read_data": Out(width),
                "write_enable": In(lanes),
                "write_address": In(address_bits),
                "write_data": In(width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        attrs = {"no_rw_check": 1}
        if self.target == "ecp5":
            attrs["ram_style"] = self.style
        m.submodules.memory = memory = Memory(
            shape=unsigned(self.width), depth=self.depth, init=[], attrs=attrs
        )
        write = memory.write_port(granularity=self.width // self.lanes)
        read = memory.read_port()
        output = Signal(self.width, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(1),
            read.addr.eq(self.read_address),
            self.read_data.eq(output),
        ]
        m.d.sync += output.eq(read.data)
        return m
