"""A short bench of the SDRAM controller with one fault; only without any may it pass."""

import cocotb

from penstock.sim.memory_scenarios import short_traffic
from penstock.sim.runner import bench_parameters
from penstock.sim.tb_sdram import started


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(fault=bench_parameters()["faults"])
async def traffic(dut, fault):
    dut.fault.value = fault
    await short_traffic(await started(dut, stalls=0.2))
