"""Runs jobs on the core alone; see simulate.py."""

import cocotb

from penstock.sim.driver import CoreDriver
from penstock.sim.jobs import run_jobs
from penstock.sim.memory import MemoryModel
from penstock.sim.streams import start_clock


@cocotb.test()
async def jobs(dut):
    memory, driver = MemoryModel(dut, seed=cocotb.RANDOM_SEED), CoreDriver(dut)
    dut.mark.value = 0
    await start_clock(dut)
    await run_jobs(dut, memory, driver)
