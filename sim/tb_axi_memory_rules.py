"""Masters that break a rule of AXI4, or none: the memory model must notice the former."""

import cocotb
from cocotb.triggers import ClockCycles

from penstock.sim.axi_master import AxiMaster
from penstock.sim.axi_memory import AxiMemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_axi_clock


@cocotb.test()
@cocotb.parametrize(words=bench_parameters()["cases"])
async def sends(dut, words):
    """Words that the model refuses at first, and some of which change meanwhile."""
    AxiMemoryModel(dut, "memory64", size=8192, stalls=0.9)
    master = AxiMaster(dut, "master64")
    await start_axi_clock(dut)
    for channel, fields, *then in words:
        master.send(channel, fields, *then)
    await ClockCycles(dut.aclk, 1000)
    assert sum(map(len, master.sent.values())) == len(words)
