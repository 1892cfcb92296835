"""A simulated board on a pseudo-terminal, which the real host opens as its serial port.

The host runs in processes of its own, as on any PC; between its terminal and the pins the bench
draws bits, disturbs them, and pulls the cable.
"""

import itertools
import os
import random
import subprocess
import sys
import time
import tty

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer, ValueChange

from penstock.sim.runner import bench_parameters
from penstock.sim.streams import CLOCK_PERIOD, start_clock

BIT = CLOCK_PERIOD * bench_parameters()["divisor"]  # ns
HOST_BAUD = "2400"  # what the host believes: it waits for answers accordingly
FLIPS_TO_BOARD, FLIPS_TO_HOST = range(1100, 1500), range(540, 650)
"""Bytes from one flipped bit to the next, on a noisy line: no request suffers twice on end."""

WALL_TIME = 400  # seconds for one run of the host


class Cable:
    """A pseudo-terminal whose bytes go over the board's pins, and back.

    ``noisy``: now and then a bit flips, either way; ``flipped`` counts them. ``sent``: bytes that
    the board was sent so far.
    """

    def __init__(self, dut):
        self._dut = dut
        self.noisy = False
        self.flipped = {"to_board": 0, "to_host": 0}
        self.sent = 0
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._tasks = [cocotb.start_soon(self._to_board()), cocotb.start_soon(self._to_host())]

    def pull(self):
        """The port is gone, in the middle of a byte or not."""
        for task in self._tasks:
            task.cancel()
        os.close(self._slave)
        os.close(self._master)
        self._dut.rx.value = 1

    async def insert(self, noise: bytes):
        """Bytes on the line that no host has sent."""
        for byte in noise:
            await self._send(byte)

    async def _to_board(self):
        disturb = self._disturber("to_board", FLIPS_TO_BOARD)
        while True:
            try:
                came = os.read(self._master, 4096)
            except BlockingIOError:
                await Timer(20 * BIT, "ns")
                continue
            for byte in came:
                await self._send(disturb(byte))
                self.sent += 1

    async def _send(self, byte: int):
        bits = (0, *(byte >> bit & 1 for bit in range(8)), 1)
        for value, equal in itertools.groupby(bits):
            self._dut.rx.value = value
            await Timer(BIT * len(tuple(equal)), "ns")

    async def _to_host(self):
        tx = self._dut.tx
        disturb = self._disturber("to_host", FLIPS_TO_HOST)
        while True:
            await FallingEdge(tx)
            await Timer(BIT + BIT // 2, "ns")
            byte = 0
            for bit in range(8):
                byte |= int(tx.value) << bit
                await Timer(BIT, "ns")
            assert tx.value, "a stop bit must be high"
            os.write(self._master, bytes((disturb(byte),)))

    def _disturber(self, way: str, between: range):
        """A function that flips a bit of some of the bytes that it is given."""
        left = random.choice(between)

        def disturb(byte: int) -> int:
            nonlocal left
            left -= self.noisy
            if left:
                return byte
            left = random.choice(between)
            self.flipped[way] += 1
            return byte ^ 1 << random.randrange(8)

        return disturb


def start_host(*arguments: str) -> subprocess.Popen:
    """A process of the host: python with these arguments."""
    command = [sys.executable, "-P", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


async def finished(host: subprocess.Popen) -> tuple[int, str]:
    """(exit code, standard error) of a host's process, while the board goes on."""
    deadline = time.monotonic() + WALL_TIME
    while host.poll() is None:
        await Timer(100 * BIT, "ns")
        assert time.monotonic() < deadline, "the host must end"
    return host.returncode, host.communicate()[1]


def run_arguments(cable: Cable, program: str, output: str) -> list[str]:
    """Those of `penstock run` on the bench's images."""
    port = ["--port", cable.port, "--baud", HOST_BAUD]
    return ["-m", "penstock", "run", *port, program, "images.npy", "--output", output]


async def check_run(cable: Cable):
    """The whole way: load, run, outputs equal to the golden model's."""
    host = start_host(*run_arguments(cable, "program.bin", "outputs.npz"))
    code, errors = await finished(host)
    assert code == 0, errors
    with np.load("outputs.npz") as outputs, np.load("golden.npz") as golden:
        np.testing.assert_array_equal(outputs["outputs"], golden["on"])
    os.remove("outputs.npz")


async def started(dut) -> Cable:
    """A cable to the board, whose clock runs; no chip's rule is ever broken."""
    cable = Cable(dut)
    dut.rx.value = 1
    dut.button.value = 0
    await start_clock(dut, cycles=8)  # as the pads' registers have none, they follow later
    if hasattr(dut, "violation"):
        cocotb.start_soon(_rules(dut))
    return cable


async def _rules(dut):
    await ValueChange(dut.violation)
    text = int(dut.violation.value)
    raise AssertionError(text.to_bytes(-(-text.bit_length() // 8), "big").decode())


@cocotb.test()
async def runs_equal_the_golden_model(dut):
    """A program loaded once; gating on and off, one run after the other without a reset."""
    cable = await started(dut)
    code, errors = await finished(start_host("both.py", cable.port, HOST_BAUD))
    assert code == 0, errors
    with np.load("outputs.npz") as outputs, np.load("golden.npz") as golden:
        assert outputs.files == golden.files
        for way in golden.files:
            np.testing.assert_array_equal(outputs[way], golden[way])
