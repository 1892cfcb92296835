"""Runs jobs on the accelerator, through AXI; see simulate.py."""

import cocotb

from penstock.sim.axi_memory import AxiMemoryModel
from penstock.sim.driver import AxiDriver
from penstock.sim.jobs import run_jobs
from penstock.sim.streams import start_axi_clock


@cocotb.test()
async def jobs(dut):
    memory, driver = AxiMemoryModel(dut, seed=cocotb.RANDOM_SEED), AxiDriver(dut)
    dut.mark.value = 0
    await start_axi_clock(dut)
    await run_jobs(dut, memory, driver)
