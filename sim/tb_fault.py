"""Sets the port ``fault`` to the parameter of that name, for the benches that follow in the run."""

import cocotb
from cocotb.triggers import Timer

from penstock.sim.runner import bench_parameters


@cocotb.test()
async def set_fault(dut):
    """The value stays for the other tests of this simulation."""
    dut.fault.value = bench_parameters()["fault"]
    await Timer(1, "ns")
