"""Bench of the AXI4-Lite driver, on the registers of an accelerator."""

import cocotb

from penstock.registers import IDENTITY, Code, Command
from penstock.sim.axi_memory import AxiMemoryModel
from penstock.sim.driver import AxiDriver
from penstock.sim.streams import start_axi_clock


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def registers(dut):
    """What is written is read, a command ends with its code, a refused access raises."""
    AxiMemoryModel(dut)
    driver = AxiDriver(dut)
    await start_axi_clock(dut)
    assert await driver.read("IDENTITY") == IDENTITY
    for value in (0xFFFFFFC0, 0x1234_5640):
        await driver.write("INPUT", value)
        await driver.write("OUTPUT", value ^ 0xFFC0)
        assert await driver.read("INPUT") == value
        assert await driver.read("OUTPUT") == value ^ 0xFFC0
    assert await driver.command(Command.START) == Code.NOT_LOADED
    try:
        await driver.write("IDENTITY", 1)
    except RuntimeError as error:
        assert str(error) == "write of IDENTITY must be answered with OKAY, not SLVERR"
    else:
        raise AssertionError("a write of a read-only register must raise")


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def empty_memory(dut):
    """A LOAD from where no memory is ends with a bus error."""
    AxiMemoryModel(dut)
    driver = AxiDriver(dut)
    await start_axi_clock(dut)
    assert await driver.command(Command.LOAD) == Code.BUS_ERROR
