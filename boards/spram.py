"""The single-port RAMs of an iCE40 UltraPlus, 128 KiB, as the memory of a small board."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from penstock.config import MEMORY_BITS
from penstock.hw.layouts import memory_signature

PARTS = 4
"""SB_SPRAM256KA side by side, 16 bits of a beat each; as many as there are."""

ADDRESS_BITS = 14
"""Of a beat."""

BYTE_ADDRESS_BITS = ADDRESS_BITS + (MEMORY_BITS // 8 - 1).bit_length()
"""Of a byte: log2 of the bytes that there are."""


class Spram(wiring.Component):
    """``memory[address] = write_data`` while ``write``, else ``read_data = memory[address]``.

    One of them per cycle, latency 1 cycle, no backpressure. What is read in the cycle behind a
    write is never used. Unknown contents at the start: a bitstream cannot give any.
    """

    def __init__(self, *, target: str):
        self.target = target
        super().__init__(
            {
                "address": In(ADDRESS_BITS),
                "write": In(1),
                "write_data": In(MEMORY_BITS),
                "read_data": Out(MEMORY_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        if self.target == "ice40":
            bits = MEMORY_BITS // PARTS
            for index in range(PARTS):
                m.submodules[f"part_{index}"] = Instance(
                    "SB_SPRAM256KA",
                    i_ADDRESS=self.address,
                    i_DATAIN=self.write_data.word_select(index, bits),
                    i_MASKWREN=Const(-1, 4),
                    i_WREN=self.write,
                    i_CHIPSELECT=Const(1, 1),
                    i_CLOCK=ClockSignal(),
                    i_STANDBY=Const(0, 1),
                    i_SLEEP=Const(0, 1),
                    i_POWEROFF=Const(1, 1),  # active low
                    o_DATAOUT=self.read_data.word_select(index, bits),
                )
        else:
            m.submodules.memory = memory = Memory(
                shape=MEMORY_BITS, depth=1 << ADDRESS_BITS, init=[]
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.addr.eq(self.address),
                write.data.eq(self.write_data),
                write.en.eq(self.write),
                read.addr.eq(self.address),
                self.read_data.eq(read.data),
            ]
        return m


class SpramMemory(wiring.Component):
    """Serves the core's memory streams from the RAMs.

    A beat of read data every 3 cycles, the first one 3 cycles behind its request; a beat of write
    data per cycle, but for one in three while a read is under way, ``write_done`` a cycle behind
    the last; applies backpressure. One request each way at a time. A request outside of the RAMs
    moves no word: each of its beats is an error, or its done is. No combinational path from input
    to output.
    """

    def __init__(self, *, target: str):
        self.target = target
        super().__init__({"memory": In(memory_signature())})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = Spram(target=self.target)
        memory = self.memory
        read_address, fetch = self._read(m, ram)
        request, word, done = memory.write_request, memory.write_data, memory.write_done
        address, outside = Signal(ADDRESS_BITS), Signal()
        busy = Signal()
        m.d.comb += [
            request.ready.eq(~busy),
            word.ready.eq(busy & ~fetch),
            ram.address.eq(Mux(fetch, read_address, address)),
            ram.write.eq(busy & word.valid & ~fetch & ~outside),
            ram.write_data.eq(word.p.data),
        ]
        m.d.sync += done.valid.eq(0)
        with m.If(request.valid & request.ready):
            first, beyond = _beat(request.p.address)
            m.d.sync += [busy.eq(1), address.eq(first), outside.eq(beyond)]
        with m.If(word.valid & word.ready):
            m.d.sync += address.eq(address + 1)
            with m.If(word.p.last):
                m.d.sync += [busy.eq(0), done.valid.eq(1), done.p.error.eq(outside)]
        return m

    def _read(self, m: Module, ram: Spram) -> tuple:
        """Address of the next beat, and high where the RAMs are asked for it."""
        request, word = self.memory.read_request, self.memory.read_data
        address, outside = Signal(ADDRESS_BITS), Signal()
        left = Signal.like(request.p.beats)
        fetch, fetched = Signal(), Signal()
        m.d.comb += [
            request.ready.eq(left == 0),
            fetch.eq((left != 0) & ~fetched & ~word.valid),
        ]
        m.d.sync += fetched.eq(fetch)
        with m.If(request.valid & request.ready):
            first, beyond = _beat(request.p.address)
            m.d.sync += [address.eq(first), outside.eq(beyond), left.eq(request.p.beats)]
        with m.If(word.ready):
            m.d.sync += word.valid.eq(0)
        with m.If(fetched):
            m.d.sync += [word.valid.eq(1), word.p.data.eq(ram.read_data)]
            m.d.sync += [word.p.error.eq(outside), address.eq(address + 1), left.eq(left - 1)]
        return address, fetch


def _beat(address) -> tuple:
    """(address of a beat, whether it lies outside) from a byte address."""
    bits = address[BYTE_ADDRESS_BITS - ADDRESS_BITS :]
    return bits[:ADDRESS_BITS], bits[ADDRESS_BITS:].any()
