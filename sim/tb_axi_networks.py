"""Runs jobs on the accelerator with cocotbext-axi at both ports; see simulate.py and jobs.py."""

import random

import cocotb

from penstock.sim.axi_clients import AxiChecker, AxiHost, AxiMemorySlave
from penstock.sim.jobs import run_jobs
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_axi_clock

SHORT = 1024
"""Bytes of a program whose requests need not overlap: a header and two bursts."""


class Memory(AxiMemorySlave):
    """With stalls latencies are random, a job's on average."""

    def _draw_latency(self) -> int:
        return random.randint(0, 2 * self.latency) if self.stalls else self.latency


@cocotb.test()
async def jobs(dut):
    """Results are left in files; every AXI transaction is held to the protocol."""
    memory = Memory(dut, seed=cocotb.RANDOM_SEED)
    host, checker = AxiHost(dut), AxiChecker(dut, bits=len(dut.m_axi_wdata))
    dut.mark.value = 0
    await start_axi_clock(dut)
    await run_jobs(dut, memory, host)
    registers = [job["registers"] for job in bench_parameters()["jobs"]]
    assert checker.idle
    assert bool(checker.bursts["aw"]) == any(job["OUTPUT_STRIDE"] for job in registers)
    assert checker.most_reads > 1 or all(job["INPUT"] <= SHORT for job in registers)
