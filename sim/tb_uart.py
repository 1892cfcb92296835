"""Bench of the serial receiver and transmitter against lines drawn in time, not in clock cycles."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge, Timer

from penstock.boards.uart import baud_divisor
from penstock.sim.link_blocks import LINES
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import CLOCK_PERIOD, StreamSink, StreamSource, start_clock

PS = 1000 * CLOCK_PERIOD  # of a clock cycle
PATTERNS = (0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80)


class Line:
    """Drives ``rx`` with bits of ``1 + error`` times their nominal length, at any time."""

    def __init__(self, dut, name: str, error: float):
        clock_hz, baud = LINES[name]
        self._rx = getattr(dut, f"{name}_in__rx")
        self._bit = PS * clock_hz / baud * (1 + error)
        self._late = 0.0  # ps that rounding left over
        self._rx.value = 1

    async def level(self, value: int, bits: float = 1):
        """Hold a level for so many bits."""
        self._rx.value = value
        length = self._bit * bits + self._late
        self._late = length - round(length)
        await Timer(round(length), "ps")

    async def send(self, byte: int, stop: int = 1):
        for value in (0, *(byte >> bit & 1 for bit in range(8)), stop):
            await self.level(value)


async def started(dut, error: float = 0.0, stalls: float = 0.0):
    name = bench_parameters()["line"]
    line = Line(dut, name, error)
    sink = StreamSink(dut, f"{name}_in__o", 8, stalls=stalls, seed=1)
    errors = []
    await start_clock(dut)
    cocotb.start_soon(count_errors(dut, getattr(dut, f"{name}_in__error"), errors))
    await line.level(1, random.uniform(1, 3))
    return line, sink, errors


async def count_errors(dut, error, errors: list):
    while True:
        await RisingEdge(dut.clk)
        if error.value:
            errors.append(1)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(error=[-0.02, 0.0, 0.02], pause=[0.0, 1.7])
async def bytes_arrive(dut, error, pause):
    """Every byte, back to back or not, from a line that is as fast or slow as is allowed."""
    line, sink, errors = await started(dut, error)
    sent = [*PATTERNS, *(random.getrandbits(8) for _ in range(100))]
    for byte in sent:
        await line.send(byte)
        if pause:
            await line.level(1, random.uniform(0, pause))
    await line.level(1, 2)
    assert sink.words == sent
    assert not errors


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_byte_without_its_stop_bit_is_dropped(dut):
    """It is told, and so is a line held low, once; the next byte arrives."""
    line, sink, errors = await started(dut)
    for expected in range(1, 20):
        await line.send(random.getrandbits(8), stop=0)
        await line.level(0, random.uniform(0, 30))
        await line.level(1, random.uniform(1, 3))
        assert len(errors) == expected
        await line.send(expected)
        await line.level(1, 2)
        assert sink.words == list(range(1, expected + 1))


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_short_pulse_is_no_start_bit(dut):
    """Less than half a bit low, then a byte."""
    line, sink, errors = await started(dut)
    for _ in range(50):
        await line.level(0, 0.2)
        await line.level(1, random.uniform(1, 2))
    await line.send(0x3C)
    await line.level(1, 2)
    assert sink.words == [0x3C]
    assert not errors


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def a_refused_byte_stays_and_the_next_is_lost(dut):
    """The lost one is told."""
    line, sink, errors = await started(dut, stalls=1.0)
    for byte in (1, 2, 3):
        await line.send(byte)
    await line.level(1, 2)
    sink.stalls = 0.0
    await line.level(1, 2)
    assert sink.words == [1]
    assert len(errors) == 2
    await line.send(4)
    await line.level(1, 2)
    assert sink.words == [1, 4]


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.98])
async def bytes_leave(dut, stalls):
    """Every bit lasts its cycles exactly; at full speed no cycle between bytes is idle."""
    name = bench_parameters()["line"]
    divisor = baud_divisor(*LINES[name])
    source = StreamSource(dut, f"{name}_out__i", 8, stalls=stalls, seed=1)
    tx = getattr(dut, f"{name}_out__tx")
    await start_clock(dut)
    sent = [*PATTERNS, *(random.getrandbits(8) for _ in range(30))]
    source.send(*sent)
    for index, byte in enumerate(sent):
        idle = 0
        await RisingEdge(dut.clk)
        while tx.value:
            idle += 1
            await RisingEdge(dut.clk)
        assert not (index and not stalls and idle), f"{idle} idle cycles before byte {index}"
        levels = [0]
        for _ in range(10 * divisor - 1):
            await RisingEdge(dut.clk)
            levels.append(int(tx.value))
        bits = [0, *(byte >> bit & 1 for bit in range(8)), 1]
        assert levels == [bit for bit in bits for _ in range(divisor)], f"byte {index}"
    await ClockCycles(dut.clk, 100)
    assert tx.value
