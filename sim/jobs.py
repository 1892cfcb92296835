"""Runs jobs one after the other, without a reset between, on any design; see simulate.py.

A bench of its own bus gives its memory and driver:

    await run_jobs(dut, memory, driver)
"""

import json
import time
from pathlib import Path

from cocotb.utils import get_sim_time

from penstock.registers import REGISTERS, Code, Command
from penstock.sim.driver import RegisterDriver
from penstock.sim.memory import BusMemory
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import CLOCK_PERIOD

_COUNTERS = [register.name for register in REGISTERS if register.access == "ro"]


async def run_jobs(dut, memory: BusMemory, driver: RegisterDriver):
    """Every job ends with the interrupt; results are left in files.

    memory and driver may be others with ``content``, ``latency``, ``stalls``, ``bytes_read`` and
    ``bytes_written``, and ``write``, ``read`` and ``command``.
    """
    results = []
    for index, job in enumerate(bench_parameters()["jobs"]):
        dut.mark.value = index + 1
        results.append(await _run_job(memory, driver, job))
    Path("results.json").write_text(json.dumps(results))


async def _run_job(memory: BusMemory, driver: RegisterDriver, job: dict) -> dict:
    """LOAD and, after its success, START; code, counters and speed of the START."""
    memory.content = bytearray(Path(job["memory"]).read_bytes())
    memory.latency, memory.stalls = job["latency"], job["stalls"]
    for name, value in job["registers"].items():
        await driver.write(name, value)
    code = await driver.command(Command.LOAD)
    cycles = seconds = 0
    read, written = memory.bytes_read, memory.bytes_written
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
        "bytes_read": memory.bytes_read - read,
        "bytes_written": memory.bytes_written - written,
        "simulated_cycles": cycles,
        "seconds": seconds,
    }
