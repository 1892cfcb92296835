"""Bench of the SDRAM controller: bytes are kept, the chip's rules too, at the pins' speed."""

import json
import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles

from penstock.config import BURST_BEATS
from penstock.sim.memory_scenarios import (
    cycle,
    cycles_of_stream,
    equal_turns,
    first_beat,
    neighbours,
    no_side_waits,
    outside_among_others,
    quiet,
    random_parts,
    read_what_is_done,
)
from penstock.sim.memory_traffic import BLOCK, Memory
from penstock.sim.streams import start_clock

SIZE = 1 << 25


async def started(dut, stalls: float = 0.0, seed: int = 1) -> Memory:
    """A memory after a power cycle; requests wait until its start-up sequence has ended."""
    memory = Memory(dut, SIZE, stalls, seed)
    await start_clock(dut)
    return memory


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.3, 0.8])
async def bytes_are_kept(dut, stalls):
    await random_parts(await started(dut, stalls, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def places_one_bit_apart(dut):
    await neighbours(await started(dut, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def both_directions_in_one_row(dut):
    """Short writes to one half of a row, short reads of the other, all of them waiting at once."""
    memory = await started(dut, seed=random.getrandbits(32))
    block = memory.blocks(1)[0]
    memory.write(block, BURST_BEATS)
    await memory.finished()
    for _ in range(40):
        beats = memory.random.choice([1, 2, 5])
        memory.write(block ^ BLOCK, beats)
        memory.read(block, beats)
    await memory.finished()
    memory.read(block ^ BLOCK, 1)
    await memory.finished()
    await quiet(memory)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def a_write_that_is_done_is_read(dut):
    await read_what_is_done(await started(dut, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.5])
async def outside_is_an_error(dut, stalls):
    await outside_among_others(await started(dut, stalls, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def streams_at_the_speed_of_the_pins(dut):
    """Requests of 64 beats, 256 words each: cycles of each on average, into ``measured.json``."""
    count = 60
    memory = await started(dut)
    base = 4 * BLOCK
    for index in range(count):
        memory.write(base + index * BLOCK, BURST_BEATS)
    measured = {"write": await cycles_of_stream(memory, count, memory.done, 1)}
    await memory.finished()
    for index in range(count):
        memory.read(base + index * BLOCK, BURST_BEATS)
    measured["read"] = await cycles_of_stream(memory, count, memory.data, BURST_BEATS)
    await memory.finished()
    order = memory.random.sample(range(count), count)
    for index in order:
        memory.read(base + index * BLOCK, BURST_BEATS)
    memory.data.words.clear()
    memory.expected = memory.expected[count * BURST_BEATS :]
    measured["read of random blocks"] = await cycles_of_stream(
        memory, count, memory.data, BURST_BEATS
    )
    await memory.finished()
    measured["first beat"] = await first_beat(memory, base)  # a refresh has closed the row
    Path("measured.json").write_text(json.dumps(measured))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def turns(dut):
    await equal_turns(await started(dut))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def no_side_waits_for_the_others_partner(dut):
    await no_side_waits(await started(dut), cycles=320)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def a_slow_side_does_not_cost_the_other_its_rows(dut):
    """Writes whose data come one in 20 cycles, beside reads at full speed: both end soon."""
    memory = await started(dut)
    for index in range(12):
        memory.write(index * BLOCK, BURST_BEATS)
    await memory.finished()
    memory.words.stalls = 0.95
    memory.write(20 * BLOCK, 10)
    first = cycle()
    for index in range(12):
        memory.read(index * BLOCK, BURST_BEATS)
    await memory.data.wait_for(len(memory.expected))
    assert cycle() - first < 12 * 300, f"twelve reads took {cycle() - first} cycles"
    await memory.finished()
    await quiet(memory)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def rows_refresh_while_nobody_asks(dut):
    """20,000 cycles without a request; what was written is still there."""
    memory = await started(dut)
    memory.write(8 * BLOCK, 5)
    await memory.finished()
    await ClockCycles(dut.clk, 20_000)
    memory.read(8 * BLOCK, 5)
    await memory.finished()
    await quiet(memory)
