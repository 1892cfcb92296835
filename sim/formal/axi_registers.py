"""The register port keeps the rules of an AXI4-Lite slave."""

from amaranth.hdl import Assert, Assume, Cat, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from penstock.hw.axi import REGISTER_ADDRESS_BITS, Response
from penstock.hw.axi_registers import AxiRegisters
from penstock.hw.layouts import REGISTER_LATENCY
from penstock.registers import REGISTERS
from penstock.sim.formal.inside import Inside
from penstock.sim.formal.prover import Proof
from penstock.sim.formal.rules import cycles, hold

_MASTER = {
    **{name: REGISTER_ADDRESS_BITS for name in ("awaddr", "araddr")},
    **{name: 3 for name in ("awprot", "arprot")},
    **{name: 1 for name in ("awvalid", "wvalid", "bready", "arvalid", "rready")},
    **{"wdata": 32, "wstrb": 4},
}
"""What the master drives, and how many bits."""

WRITE_LATENCY = 2
"""Cycles from the one in which a write's address and data are both there to its answer's."""

READ_LATENCY = 2 + REGISTER_LATENCY
"""Cycles from the one behind a read's address to its answer's; one more than without writes."""


class Slave(wiring.Component):
    """A free master, held to the rules of the bus, and registers with any contents."""

    def __init__(self):
        super().__init__({name: In(bits) for name, bits in _MASTER.items()} | {"read_data": In(32)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = AxiRegisters()
        inside = Inside(slave)
        axi, bus = slave.axi, slave.bus
        m.d.comb += [getattr(axi, name).eq(getattr(self, name)) for name in _MASTER]
        m.d.comb += bus.read_data.eq(self.read_data)

        # The master: A3.2.1. It may be slow for ever.
        hold(m, "aw", axi.awvalid, axi.awready, Cat(axi.awaddr, axi.awprot), Assume)
        hold(m, "w", axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb), Assume)
        hold(m, "ar", axi.arvalid, axi.arready, Cat(axi.araddr, axi.arprot), Assume)
        # The slave.
        hold(m, "b", axi.bvalid, axi.bready, axi.bresp, in_row=False)
        hold(m, "r", axi.rvalid, axi.rready, Cat(axi.rdata, axi.rresp), in_row=False)
        started = Signal()
        m.d.sync += started.eq(1)
        with m.If(~started):  # A3.1.2
            m.d.comb += Assert(~axi.bvalid & ~axi.rvalid)
        self._writes(m, axi, bus, inside)
        self._reads(m, axi, bus, inside)
        return m

    def _writes(self, m, axi, bus, inside):
        """One answer for each address and its data, and one access where it is allowed."""
        address, data, strobes = (
            Signal.like(port, name=f"written_{name}")
            for name, port in (("address", axi.awaddr), ("data", axi.wdata), ("some", axi.wstrb))
        )
        has_address, has_data = Signal(), Signal()  # accepted and not yet answered
        done = Signal()  # the access to the register of the open write
        with m.If(axi.awvalid & axi.awready):
            m.d.comb += Assert(~has_address)
            m.d.sync += [has_address.eq(1), address.eq(axi.awaddr)]
        with m.If(axi.wvalid & axi.wready):
            m.d.comb += Assert(~has_data)
            m.d.sync += [has_data.eq(1), data.eq(axi.wdata), strobes.eq(axi.wstrb)]
        with m.If(axi.bvalid & axi.bready):
            m.d.sync += [has_address.eq(0), has_data.eq(0), done.eq(0)]
        with m.If(bus.write):
            m.d.comb += Assert(has_address & has_data & ~done & ~axi.bvalid)
            m.d.comb += Assert((bus.address == address & ~3) & (bus.write_data == data))
            m.d.sync += done.eq(1)

        writable = [register.address for register in REGISTERS if "w" in register.access]
        allowed = Cat((address & ~3) == each for each in writable).any() & strobes.all()
        answers = axi.bvalid | inside["acts"]
        with m.If(answers):
            m.d.comb += Assert(has_address & has_data)  # A3.3.1
            m.d.comb += Assert(axi.bresp.as_value() == Mux(allowed, Response.OKAY, Response.SLVERR))
        m.d.comb += Assert(done == (answers & allowed))
        m.d.comb += Assert(~axi.bvalid | ~inside["acts"])
        with m.If(has_address):  # for the induction
            m.d.comb += Assert(inside["write_address"] == address)
        with m.If(has_data):
            m.d.comb += Assert(Cat(bus.write_data, inside["strobes"]) == Cat(data, strobes))
        # In time, and ready for the next.
        waited = cycles(m, "write_waited", has_address & has_data & ~axi.bvalid, WRITE_LATENCY)
        m.d.comb += Assert(waited <= WRITE_LATENCY)
        m.d.comb += Assert(axi.awready == ~has_address)
        m.d.comb += Assert(axi.wready == ~has_data)
        m.d.comb += [
            Cover(axi.bvalid & (axi.bresp == Response.OKAY)),
            Cover(axi.bvalid & ~allowed & strobes.all()),
            Cover(axi.bvalid & ~allowed & ~strobes.all() & ~address[2:].any()),
            Cover(has_data & axi.awvalid & axi.awready),
            Cover(has_address & axi.wvalid & axi.wready),
        ]

    def _reads(self, m, axi, bus, inside):
        """One answer for each address, with what the register told in time."""
        address, open_, valid = Signal.like(axi.araddr), Signal(), Signal()
        shown = [
            Signal.like(bus.address, name=f"shown_{age}") for age in range(REGISTER_LATENCY + 1)
        ]
        told = Signal.like(bus.read_data)
        with m.If(axi.arvalid & axi.arready):
            m.d.comb += Assert(~open_)
            m.d.sync += [open_.eq(1), address.eq(axi.araddr)]
        with m.If(axi.rvalid & axi.rready):
            m.d.sync += open_.eq(0)
        m.d.sync += [now.eq(old) for now, old in zip(shown, (bus.address, *shown), strict=False)]
        m.d.sync += told.eq(bus.read_data)
        m.d.sync += valid.eq(axi.rvalid)

        known = Cat((address & ~3) == register.address for register in REGISTERS).any()
        with m.If(axi.rvalid):
            m.d.comb += Assert(open_)  # A3.3.1
            m.d.comb += Assert(axi.rresp.as_value() == Mux(known, Response.OKAY, Response.SLVERR))
        with m.If(axi.rvalid & ~valid):
            m.d.comb += Assert(shown[-1] == (address & ~3)[: len(bus.address)])
            m.d.comb += Assert(axi.rdata == told)
        with m.If(open_):  # for the induction
            m.d.comb += Assert(inside["read_address"] == address)
        for age, each in enumerate(inside["open_reads"]):
            with m.If(each):
                m.d.comb += Assert(open_ & ~axi.rvalid & (shown[age] == (address & ~3)[:8]))
        m.d.comb += Assert(sum(inside["open_reads"]) <= 1)
        waited = cycles(m, "read_waited", open_ & ~axi.rvalid, READ_LATENCY)
        m.d.comb += Assert(waited <= READ_LATENCY)
        m.d.comb += Assert(axi.arready == ~open_)
        m.d.comb += [
            Cover(axi.rvalid & axi.bvalid & axi.rready),
            Cover(axi.rvalid & ~known),
            Cover(axi.rvalid & (waited == READ_LATENCY)),
        ]


PROOFS = [
    Proof(
        block="axi_registers",
        name="slave",
        configuration="all",
        statement="rules of an AXI4-Lite slave; one answer for each request, a write's at most "
        f"{WRITE_LATENCY + 1} cycles after its address and data, a read's at most "
        f"{READ_LATENCY + 1}; one register access for each write that is allowed, "
        "SLVERR and none for others",
        top=Slave,
        depth=READ_LATENCY + 1,
        cover_depth=10,
    )
]
