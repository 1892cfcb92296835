"""The register port as an AXI4-Lite slave."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.axi import Response, axi_lite_signature
from penstock.hw.layouts import REGISTER_LATENCY, register_signature
from penstock.registers import REGISTERS


class AxiRegisters(wiring.Component):
    """AXI4-Lite accesses become accesses of the register port, one at a time, writes first.

    Whole words only; the lowest two address bits are ignored. An address without a register, a
    write of a read-only one or of less than its four bytes gets SLVERR and changes nothing; a
    register that cannot be read gives 0.

    A write takes 3 cycles from its address and data to its answer, by which the interrupt follows a
    command, a read 5; the next of its kind is accepted when the answer has been taken. No
    combinational path from input to output.
    """

    def __init__(self):
        super().__init__({"axi": In(axi_lite_signature()), "bus": Out(register_signature())})

    def elaborate(self, platform):
        m = Module()
        axi, bus = self.axi, self.bus
        write_address, read_address = Signal.like(axi.awaddr), Signal.like(axi.araddr)
        address = Signal.like(axi.araddr)
        strobes = Signal.like(axi.wstrb)
        writes, reads, open_reads = Signal(), Signal(), Signal(REGISTER_LATENCY)
        answered = open_reads[-1]  # its data are there
        writable, readable = Signal(), Signal()
        acts = Signal()  # what was written, in this cycle: the answer comes when it shows

        with m.If(axi.awvalid & axi.awready):
            m.d.sync += [axi.awready.eq(0), write_address.eq(axi.awaddr)]
        with m.If(axi.wvalid & axi.wready):
            m.d.sync += [axi.wready.eq(0), bus.write_data.eq(axi.wdata), strobes.eq(axi.wstrb)]
        with m.If(axi.arvalid & axi.arready):
            m.d.sync += [axi.arready.eq(0), read_address.eq(axi.araddr)]

        m.d.comb += [
            writes.eq(~axi.awready & ~axi.wready & ~axi.bvalid & ~acts),
            reads.eq(~axi.arready & ~axi.rvalid & ~open_reads.any() & ~writes),
            address.eq(Mux(writes, write_address, read_address)),
            bus.address.eq(address & ~3),
            bus.write.eq(writes & writable & strobes.all()),
        ]
        with m.Switch(address[2:]):
            for register in REGISTERS:
                with m.Case(register.address // 4):
                    m.d.comb += writable.eq("w" in register.access)
                    m.d.comb += readable.eq(1)

        m.d.sync += acts.eq(writes)
        with m.If(acts):
            m.d.sync += axi.bvalid.eq(1)
        with m.If(writes):
            m.d.sync += axi.bresp.eq(Mux(bus.write, Response.OKAY, Response.SLVERR))
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += [axi.bvalid.eq(0), axi.awready.eq(1), axi.wready.eq(1)]

        m.d.sync += open_reads.eq(Cat(reads, open_reads[:-1]))
        with m.If(reads):
            m.d.sync += axi.rresp.eq(Mux(readable, Response.OKAY, Response.SLVERR))
        with m.If(answered):
            m.d.sync += [axi.rvalid.eq(1), axi.rdata.eq(bus.read_data)]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += [axi.rvalid.eq(0), axi.arready.eq(1)]
        return m
