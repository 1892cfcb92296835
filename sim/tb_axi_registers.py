"""Bench of AxiRegisters: cocotbext-axi's channels on one side, a register port on the other."""

import random
from collections import deque

import cocotb
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiResp
from cocotbext.axi.axil_channels import (
    AxiLiteARSource,
    AxiLiteARTransaction,
    AxiLiteAWSource,
    AxiLiteAWTransaction,
    AxiLiteBSink,
    AxiLiteRSink,
    AxiLiteWSource,
    AxiLiteWTransaction,
)

from penstock.hw.axi import axi_lite_signature
from penstock.hw.layouts import REGISTER_LATENCY
from penstock.registers import ADDRESS, REGISTERS
from penstock.sim.axi_blocks import block_test
from penstock.sim.axi_clients import Stalls, check_registered, clocking, cycle, watch_channel
from penstock.sim.streams import CLOCK_PERIOD, start_clock

PREFIX = "registers__axi_"
ALL_BYTES = 0b1111
WRITABLE = {register.address for register in REGISTERS if "w" in register.access}
READABLE = {register.address for register in REGISTERS}
WRITE_LATENCY, READ_LATENCY = 3, 5


class Port:
    """The register port's other side: each read gives another random value.

    ``writes`` (address, data) in order; ``reads``: by value, when it was given for which address.
    """

    def __init__(self, dut, rng: random.Random):
        self.writes: list[tuple[int, int]] = []
        self.reads: dict[int, tuple[int, int]] = {}
        self._random = rng
        cocotb.start_soon(self._run(dut))

    async def _run(self, dut):
        edge = RisingEdge(dut.clk)
        addresses = deque([None] * REGISTER_LATENCY, maxlen=REGISTER_LATENCY)
        while True:
            await edge
            address = int(dut.registers__bus__address.value)
            addresses.append(address)
            if dut.registers__bus__write.value:
                self.writes.append((address, int(dut.registers__bus__write_data.value)))
            value = self._random.getrandbits(32)
            self.reads[value] = cycle(), addresses[0]
            dut.registers__bus__read_data.value = value


class Bench:
    """AxiRegisters between the five channels and a register port."""

    def __init__(self, dut, fault: int, stalls: float = 0):
        dut.fault.value = fault
        self.dut, self.stalls = dut, stalls
        self.random = random.Random(cocotb.RANDOM_SEED)
        self.answered = 0  # reads

    async def start(self) -> "Bench":
        dut = self.dut
        Clock(dut.clk, CLOCK_PERIOD, unit="ns").start()
        dut.rst.value = 1
        bus = AxiLiteBus.from_prefix(dut, PREFIX)
        self.aw = AxiLiteAWSource(bus.write.aw, **clocking(dut))
        self.w = AxiLiteWSource(bus.write.w, **clocking(dut))
        self.b = AxiLiteBSink(bus.write.b, **clocking(dut))
        self.ar = AxiLiteARSource(bus.read.ar, **clocking(dut))
        self.r = AxiLiteRSink(bus.read.r, **clocking(dut))
        self.channels = Stalls(
            {name: getattr(self, name) for name in ("aw", "w", "b", "ar", "r")},
            stalls=self.stalls,
            seed=self.random.getrandbits(32),
        )
        self.port = Port(dut, self.random)
        self.taken = {name: [] for name in ("aw", "w", "b", "ar", "r")}  # when each was taken
        for channel, names in {
            "aw": ("addr",),
            "w": ("data",),
            "b": ("resp",),
            "ar": ("addr",),
            "r": ("data", "resp"),
        }.items():
            times = self.taken[channel]
            note = lambda fields, times=times: times.append(cycle())  # noqa: E731
            cocotb.start_soon(watch_channel(dut, PREFIX, channel, names, note))
        await ClockCycles(dut.clk, 2)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        return self

    def address(self) -> int:
        """A random address of the page: mostly of a register, or one that differs in high bits."""
        address = self.random.choice(REGISTERS).address
        kind = self.random.random()
        if kind < 0.2:
            address += 256 * self.random.randrange(1, 16)
        elif kind < 0.3:
            address = self.random.randrange(0, 4096, 4)
        return address + self.random.choice((0, 0, 1, 2, 3))

    def send_write(self, address: int, data: int, strobes: int = ALL_BYTES):
        self.aw.send_nowait(AxiLiteAWTransaction(awaddr=address))
        self.w.send_nowait(AxiLiteWTransaction(wdata=data, wstrb=strobes))

    def send_read(self, address: int):
        self.ar.send_nowait(AxiLiteARTransaction(araddr=address))

    async def check_write(self, address: int, data: int, strobes: int = ALL_BYTES):
        """The next answer to a write, and what came of it, must be right."""
        answer = AxiResp(int((await self.b.recv()).bresp))
        done = address & ~3 in WRITABLE and strobes == ALL_BYTES
        wanted = AxiResp.OKAY if done else AxiResp.SLVERR
        assert answer == wanted, f"write {strobes:#x} of {address:#x}: {answer!r}"
        if done:
            assert self.port.writes.pop(0) == (address & ~3, data)

    async def check_read(self, address: int):
        """The next answer to a read must be right, and its value given between the two."""
        answer = await self.r.recv()
        response, value = AxiResp(int(answer.rresp)), int(answer.rdata)
        assert response == (AxiResp.OKAY if address & ~3 in READABLE else AxiResp.SLVERR)
        begun = self.taken["ar"][self.answered]
        self.answered += 1
        if response == AxiResp.OKAY:
            given, of = self.port.reads[value]
            assert of == address & ~3, f"read of {address:#x} gave a value of {of:#x}"
            assert begun < given < cycle()


@block_test(stalls=True)
async def random_accesses(dut, fault, stalls):
    """Reads and writes at once, address before data and behind, with any strobes, anywhere."""
    bench = await Bench(dut, fault, stalls[1]).start()
    rng = bench.random
    writes = [
        (bench.address(), rng.getrandbits(32), rng.choice((ALL_BYTES, rng.getrandbits(4))))
        for _ in range(400)
    ]
    reads = [bench.address() for _ in range(400)]
    for write in writes:
        bench.send_write(*write)
    for address in reads:
        bench.send_read(address)

    async def check_reads():
        for address in reads:
            await bench.check_read(address)

    reading = cocotb.start_soon(check_reads())
    for write in writes:
        await bench.check_write(*write)
    await reading
    await ClockCycles(dut.clk, 10)
    assert not bench.port.writes
    assert all(len(times) == 400 for times in bench.taken.values())
    orders = {a < w for a, w in zip(bench.taken["aw"], bench.taken["w"], strict=True) if a != w}
    assert orders == ({True, False} if stalls[1] else set())


@block_test()
async def neither_kind_waits_for_the_other(dut, fault):
    """An answer that nobody takes, or half of a write, blocks no access of the other kind."""
    bench = await Bench(dut, fault).start()
    for stuck in ("r", "ar"):
        bench.channels.silence(stuck)
        bench.send_read(ADDRESS["STATUS"])
        for value in range(20):
            bench.send_write(ADDRESS["INPUT"], value)
            await bench.check_write(ADDRESS["INPUT"], value)
        bench.channels.silence()
        await bench.check_read(ADDRESS["STATUS"])
    for stuck in ("b", "w", "aw"):
        bench.channels.silence(stuck)
        bench.send_write(ADDRESS["INPUT"], 77)
        for _ in range(20):
            bench.send_read(ADDRESS["STATUS"])
            await bench.check_read(ADDRESS["STATUS"])
        bench.channels.silence()
        await bench.check_write(ADDRESS["INPUT"], 77)


@block_test()
async def latencies(dut, fault):
    """From request to answer, and to the next request, in cycles; ready before it is asked."""
    bench = await Bench(dut, fault).start()
    await ClockCycles(dut.clk, 5)
    for channel in ("aw", "w", "ar"):
        assert getattr(dut, f"{PREFIX}_{channel}ready").value, channel
    taken = bench.taken
    for _ in range(12):
        bench.send_write(ADDRESS["INPUT"], 1)
    await ClockCycles(dut.clk, 100)
    for _ in range(12):
        bench.send_read(ADDRESS["INPUT"])
    await ClockCycles(dut.clk, 100)
    assert taken["aw"] == taken["w"] and all(len(times) == 12 for times in taken.values())
    for request, answer, latency in (("aw", "b", WRITE_LATENCY), ("ar", "r", READ_LATENCY)):
        begun, ended = taken[request], taken[answer]
        assert [e - b for b, e in zip(begun, ended, strict=True)] == [latency] * 12
        assert [e - b for b, e in zip(ended, begun[1:], strict=False)] == [1] * 11


@block_test()
async def the_bus_side_is_registered(dut, fault):
    """No combinational path from an input of the bus to an output of it."""
    dut.fault.value = fault
    await start_clock(dut)
    ports = axi_lite_signature().members
    inputs, outputs = (
        [getattr(dut, f"{PREFIX}_{name}") for name in ports if ports[name].flow == flow]
        for flow in (Out, In)  # as the master sees them
    )
    seed = cocotb.RANDOM_SEED
    await check_registered(dut.clk, inputs, outputs, cycles=500, seed=seed)
