"""A short bench of the SDRAM controller with one fault; only without any may it pass."""

import cocotb

from penstock.config import BURST_BEATS
from penstock.sim.runner import bench_parameters
from penstock.sim.tb_sdram import BLOCK, SIZE, quiet, started


@cocotb.test(timeout_time=600, timeout_unit="us")
@cocotb.parametrize(fault=bench_parameters()["faults"])
async def traffic(dut, fault):
    """Every kind of request, with stalls and without, and what was written read at full speed."""
    dut.fault.value = fault
    memory = await started(dut, stalls=0.2)
    blocks = memory.blocks(10)
    for block in blocks:
        memory.write(block, BURST_BEATS)
    await memory.finished()
    for address, beats in (memory.part(block) for block in blocks):
        memory.read(address, beats)
    for block in range(SIZE, SIZE + 3 * BLOCK, BLOCK):
        memory.read(block, 3)
        memory.write(block, 2)
    await memory.finished()
    for source in (memory.reads, memory.writes, memory.words, memory.data):
        source.stalls = 0.0
    for block in blocks[::2]:
        memory.write(block, 1)
    for block in blocks[1::2]:
        memory.read(block, 5)
    await memory.finished()
    for block in blocks:
        memory.read(block, BURST_BEATS)
    await memory.finished()
    await quiet(memory)
