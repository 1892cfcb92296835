"""Runs the whole core on one job after the other, without a reset between; see simulate.py."""

import json
import time
from pathlib import Path

import cocotb
from cocotb.utils import get_sim_time

from penstock.registers import REGISTERS, Code, Command
from penstock.sim.driver import CoreDriver
from penstock.sim.memory import MemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import CLOCK_PERIOD, start_clock

_COUNTERS = [register.name for register in REGISTERS if register.access == "ro"]


@cocotb.test()
async def run_jobs(dut):
    """Every job ends with the interrupt; results are left in files."""
    memory = MemoryModel(dut, seed=cocotb.RANDOM_SEED)
    dut.mark.value = 0
    driver = CoreDriver(dut)
    await start_clock(dut)
    results = []
    for index, job in enumerate(bench_parameters()["jobs"]):
        dut.mark.value = index + 1
        results.append(await run_job(memory, driver, job))
    Path("results.json").write_text(json.dumps(results))


async def run_job(memory: MemoryModel, driver: CoreDriver, job: dict) -> dict:
    """LOAD and, after its success, START; code, counters and speed of the START."""
    memory.content = bytearray(Path(job["memory"]).read_bytes())
    memory.latency, memory.stalls = job["latency"], job["stalls"]
    for name, value in job["registers"].items():
        await driver.write(name, value)
    code = await driver.command(Command.LOAD)
    cycles = seconds = 0
    if code == Code.OK:
        began, wall = get_sim_time("ns"), time.monotonic()
        code = await driver.command(Command.START)
        seconds = time.monotonic() - wall
        cycles = (get_sim_time("ns") - began) / CLOCK_PERIOD
    counters = {name: await driver.read(name) for name in _COUNTERS}
    Path(job["output"]).write_bytes(memory.content[job["registers"]["OUTPUT"] :])
    return {
        "code": int(code),
        "counters": counters,
        "simulated_cycles": cycles,
        "seconds": seconds,
    }
