"""The core's memory streams as an AXI4 master."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from penstock.hw.axi import (
    BURST_INCREMENTING,
    CACHE_BUFFERABLE,
    PROTECTION_DATA,
    axi_signature,
)
from penstock.hw.axi_width import (
    DOUBLE,
    HALF,
    ReadJoiner,
    ReadSplitter,
    WriteJoiner,
    WriteSplitter,
    burst_beats,
    read_beat_layout,
)
from penstock.hw.layouts import memory_signature
from penstock.hw.register_slice import RegisterSlice


class AxiMemory(wiring.Component):
    """Each request of the core becomes one burst of ``bits`` wide beats; ID 0, all in order.

    Reads and writes run at the same time; as many reads may be under way as the core asks for, at
    128 bits no more than ReadSplitter takes. One 64-bit word per cycle each way, at 32 bits one in
    two cycles. Latency 1 cycle for requests and for read data, 0 for write data. Any answer but
    OKAY is an error.

    Applies backpressure. No combinational path from inputs to outputs of the AXI side; write data
    do not wait for AWREADY, as section A3.3.1 demands.
    """

    def __init__(self, bits: int):
        self.bits = bits
        super().__init__({"memory": In(memory_signature()), "axi": Out(axi_signature(bits))})

    def elaborate(self, platform):
        m = Module()
        self._reads(m)
        self._writes(m)
        return m

    def _reads(self, m: Module):
        axi, memory = self.axi, self.memory
        m.submodules.beats = beats = RegisterSlice(read_beat_layout(self.bits))
        m.d.comb += [
            beats.i.valid.eq(axi.rvalid),
            beats.i.p.data.eq(axi.rdata),
            beats.i.p.error.eq(axi.rresp.as_value().any()),
            axi.rready.eq(beats.i.ready),
        ]
        words, allowed = beats, 1
        if self.bits == HALF:
            m.submodules.joiner = words = ReadJoiner()
        if self.bits == DOUBLE:
            m.submodules.splitter = words = ReadSplitter()
            allowed = words.request.ready
        if words is not beats:
            wiring.connect(m, beats.o, words.i)
        wiring.connect(m, words.o, wiring.flipped(memory.read_data))
        accepted = self._bursts(m, "ar", memory.read_request, allowed)
        if self.bits == DOUBLE:
            m.d.comb += words.request.valid.eq(accepted)
            m.d.comb += words.request.payload.eq(memory.read_request.payload)

    def _writes(self, m: Module):
        axi, memory = self.axi, self.memory
        self._bursts(m, "aw", memory.write_request)
        m.d.comb += [
            axi.bready.eq(1),
            memory.write_done.valid.eq(axi.bvalid),
            memory.write_done.p.error.eq(axi.bresp.as_value().any()),
        ]
        if self.bits not in (HALF, DOUBLE):
            m.d.comb += [
                axi.wvalid.eq(memory.write_data.valid),
                axi.wdata.eq(memory.write_data.p.data),
                axi.wstrb.eq(~0),
                axi.wlast.eq(memory.write_data.p.last),
                memory.write_data.ready.eq(axi.wready),
            ]
            return
        m.submodules.words = beats = WriteSplitter() if self.bits == HALF else WriteJoiner()
        wiring.connect(m, wiring.flipped(memory.write_data), beats.i)
        m.d.comb += [
            axi.wvalid.eq(beats.o.valid),
            axi.wdata.eq(beats.o.p.data),
            axi.wstrb.eq(beats.o.p.strobes),
            axi.wlast.eq(beats.o.p.last),
            beats.o.ready.eq(axi.wready),
        ]

    def _bursts(self, m: Module, channel: str, request, allowed=1):
        """Offer requests as bursts on an address channel; high while one is accepted."""
        bus = {
            name: getattr(self.axi, channel + name)
            for name in ("valid", "ready", "addr", "len", "size", "burst", "cache", "prot")
        }
        free = Signal(name=f"{channel}_free")
        accepted = Signal(name=f"{channel}_accepted")
        m.d.comb += [
            free.eq(~bus["valid"] | bus["ready"]),
            request.ready.eq(free & allowed),
            accepted.eq(request.valid & request.ready),
            bus["size"].eq((self.bits // 8).bit_length() - 1),
            bus["burst"].eq(BURST_INCREMENTING),
            bus["cache"].eq(CACHE_BUFFERABLE),
            bus["prot"].eq(PROTECTION_DATA),
        ]
        with m.If(free):
            m.d.sync += bus["valid"].eq(accepted)
        with m.If(accepted):
            m.d.sync += bus["addr"].eq(request.p.address & ~(self.bits // 8 - 1))
            m.d.sync += bus["len"].eq(burst_beats(self.bits, request.p) - 1)
        return accepted
