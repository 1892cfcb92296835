"""What goes wrong between a host and a simulated board; the next run works every time."""

import os
import random
import subprocess

import cocotb
from cocotb.triggers import RisingEdge, Timer

from penstock.sim.runner import bench_parameters
from penstock.sim.tb_board import (
    BIT,
    HOST_BAUD,
    Cable,
    check_run,
    finished,
    run_arguments,
    start_host,
    started,
)


async def loading(cable: Cable, host: subprocess.Popen):
    """Wait until the host is in the middle of the program."""
    begun = bench_parameters()["program_bytes"] // 2 + random.randrange(300)
    while cable.sent < begun:
        assert host.poll() is None, host.communicate()
        await Timer(3 * BIT, "ns")


@cocotb.test()
async def a_host_that_dies_and_a_cable_that_is_pulled(dut):
    """In the middle of the load: one line tells it, and the next run works."""
    cable = await started(dut)
    host = start_host(*run_arguments(cable, "program.bin", "outputs.npz"))
    await loading(cable, host)
    host.kill()
    host.communicate()
    await check_run(cable)

    cable.sent = 0
    host = start_host(*run_arguments(cable, "program.bin", "outputs.npz"))
    await loading(cable, host)
    cable.pull()
    code, errors = await finished(host)
    assert code == 1
    lines = errors.splitlines()
    assert lines[-1].startswith(f"penstock: port {cable.port}: lost while the board was in use")
    assert len(lines) == 2, "progress, then the error"
    assert not os.path.exists("outputs.npz")
    await check_run(Cable(dut))


@cocotb.test()
async def noise_on_the_line(dut):
    """Bytes before the run that nobody sent, flipped bits during it: repeated, and right."""
    cable = await started(dut)
    await cable.insert(random.randbytes(300) + b"\x50\x03\x00")
    cable.noisy = True
    await check_run(cable)
    assert min(cable.flipped.values()) > 0, cable.flipped


@cocotb.test()
async def a_wrong_program(dut):
    """One of another configuration is refused by the host, a corrupt one by the core."""
    cable = await started(dut)
    code, errors = await finished(start_host(*run_arguments(cable, "wrong.bin", "outputs.npz")))
    assert code == 2
    assert "was compiled for configuration" in errors.splitlines()[-1]
    code, errors = await finished(start_host("corrupt.py", cable.port, HOST_BAUD))
    assert (code, errors) == (0, "")
    await check_run(cable)


@cocotb.test()
async def no_board(dut):
    """A port that nobody answers on is given up."""
    cable = await started(dut)
    dut.button.value = 1
    code, errors = await finished(start_host(*run_arguments(cable, "program.bin", "outputs.npz")))
    assert code == 1
    assert errors.splitlines()[-1].startswith(f"penstock: port {cable.port}: no answer in 4")
    dut.button.value = 0
    await RisingEdge(dut.clk)
    await check_run(cable)
