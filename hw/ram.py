"""The one module that makes the large memories, so that a target can give its primitive."""

from amaranth.hdl import Module, Mux, Signal, unsigned
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
        output = Signal(self.width, reset_less=True)
        m.d.sync += output.eq(self._split(m) if self._is_split() else self._memory(m, "memory", 0))
        m.d.comb += self.read_data.eq(output)
        return m

    def _is_split(self) -> bool:
        """Yosys rounds the depth of block RAMs up to a power of two.

        7680 words of 288 bits are 128 of them in one piece, 120 as 4096 + 2048 + 1024 + 512.
        """
        return self.target == "ecp5" and self.style == "block" and self.depth.bit_count() > 1

    def _split(self, m: Module):
        """The memory as several, of decreasing powers of two."""
        address = Signal.like(self.read_address, reset_less=True)
        m.d.sync += address.eq(self.read_address)
        first, data = 0, None
        for bit in reversed(range(self.depth.bit_length())):
            if self.depth >> bit & 1:
                part = self._memory(m, f"memory_{first}", first, 1 << bit)
                data = part if data is None else Mux(address >= first, part, data)
                first += 1 << bit
        return data

    def _memory(self, m: Module, name: str, first: int, depth: int | None = None):
        """The words from ``first`` on, read one cycle after their address."""
        attrs = {"no_rw_check": 1}
        if self.target == "ecp5":
            attrs["ram_style"] = self.style
        memory = Memory(shape=unsigned(self.width), depth=depth or self.depth, init=[], attrs=attrs)
        m.submodules[name] = memory
        write = memory.write_port(granularity=self.width // self.lanes)
        read = memory.read_port()
        enable = self.write_enable
        if depth:  # both addresses share their low bits with the part's, as parts are aligned
            inside = (self.write_address >= first) & (self.write_address < first + depth)
            enable = Mux(inside, enable, 0)
        m.d.comb += [
            write.en.eq(enable),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            read.en.eq(1),
            read.addr.eq(self.read_address),
        ]
        return read.data
