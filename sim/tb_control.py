"""Bench of the register port alone, with its cycle counter in sight, which 2**32 cycles fill."""

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from penstock.hw.layouts import REGISTER_LATENCY
from penstock.registers import ADDRESS, Code, Command
from penstock.sim.streams import start_clock

INPUTS = ("load_done", "load_code", "run_done", "outstanding", "bus_error", "progress")
INPUTS += ("events", "layer", "image")


class Host:
    """Writes and reads registers."""

    def __init__(self, dut):
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        for name in ("bus__write", *INPUTS):
            getattr(dut, name).value = 0

    async def write(self, name: str, value: int):
        self.dut.bus__address.value = ADDRESS[name]
        self.dut.bus__write_data.value = value
        await self.pulse("bus__write")

    async def read(self, name: str) -> int:
        self.dut.bus__address.value = ADDRESS[name]
        await ClockCycles(self.dut.clk, REGISTER_LATENCY + 1)
        return int(self.dut.bus__read_data.value)

    async def pulse(self, name: str):
        getattr(self.dut, name).value = 1
        await self.edge
        getattr(self.dut, name).value = 0

    async def run(self, later: int) -> int:
        """Cycles of a run, by its registers, that counts ``later`` cycles too many in its midst."""
        dut = self.dut
        await self.write("COMMAND", Command.START)
        await ClockCycles(dut.clk, 10)
        await FallingEdge(dut.clk)
        dut.cycles.value = int(dut.cycles.value) + later
        await ClockCycles(dut.clk, 20)
        await self.pulse("run_done")
        await ClockCycles(dut.clk, 4)
        assert dut.interrupt.value and await self.read("STATUS") & 0xFF == Code.OK
        return await self.read("CYCLES_HIGH") << 32 | await self.read("CYCLES")


@cocotb.test(timeout_time=100, timeout_unit="us")
async def cycles_have_64_bits(dut):
    """The carry, wherever it falls in a run, in its last cycle too; the next run begins at 0."""
    host = Host(dut)
    await start_clock(dut)
    await host.write("COMMAND", Command.LOAD)
    await ClockCycles(dut.clk, 3)
    await host.pulse("load_done")
    await host.write("IMAGES", 1)
    plain = await host.run(0)
    assert 28 < plain < 40
    for behind in (-2, -1, 0, 1, 2, 10):  # cycles of the run behind the carry
        total = (1 << 32) + behind
        assert await host.run(total - plain) == total
        assert await host.run(0) == plain, f"behind a run of {total:#x} cycles"
