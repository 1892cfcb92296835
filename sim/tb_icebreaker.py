"""What an iCEBreaker's LEDs and button do, and what does not fit it; see tb_board.py."""

import cocotb
from cocotb.triggers import ClockCycles

from penstock.boards.system import LEDS
from penstock.sim.streams import unpack
from penstock.sim.tb_board import check_run, finished, run_arguments, start_host, started


@cocotb.test()
async def leds_and_button(dut):
    """A command that has ended, and no request that went wrong; then a reset."""
    cable = await started(dut)
    await check_run(cable)
    leds = unpack(LEDS, int(dut.leds.value))
    assert (leds["link"], leds["link_error"], leds["done"]) == (0, 0, 1)
    dut.button.value = 1
    await ClockCycles(dut.clk, 5)
    assert unpack(LEDS, int(dut.leds.value))["done"] == 0
    dut.button.value = 0
    await check_run(cable)


@cocotb.test()
async def more_images_than_memory_are_refused(dut):
    """In one line, before anything is run."""
    cable = await started(dut)
    arguments = run_arguments(cable, "program.bin", "outputs.npz")
    arguments[arguments.index("images.npy")] = "many.npy"
    code, errors = await finished(start_host(*arguments))
    assert code == 2
    assert errors.splitlines()[-1].endswith(f"the board on {cable.port} has 131,072")
