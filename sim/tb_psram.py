"""Bench of the PSRAM controller: bytes are kept, the chip's rules too, at the pins' speed."""

import json
import random
from pathlib import Path

import cocotb

from penstock.config import BURST_BEATS
from penstock.sim.memory_scenarios import (
    cycles_of_stream,
    equal_turns,
    first_beat,
    neighbours,
    no_side_waits,
    outside_among_others,
    random_parts,
    read_what_is_done,
)
from penstock.sim.memory_traffic import BLOCK, Memory
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_clock

SHORT_BEATS = 8
"""Of every request of the compact engine."""


async def started(dut, stalls: float = 0.0, seed: int = 1) -> Memory:
    """A memory after a power cycle; requests wait until the chip is configured."""
    memory = Memory(dut, bench_parameters()["bytes"], stalls, seed)
    await start_clock(dut)
    return memory


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.5])
async def bytes_are_kept(dut, stalls):
    await random_parts(await started(dut, stalls, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def places_one_bit_apart(dut):
    await neighbours(await started(dut, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def a_write_that_is_done_is_read(dut):
    await read_what_is_done(await started(dut, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def outside_is_an_error(dut):
    await outside_among_others(await started(dut, stalls=0.3, seed=random.getrandbits(32)))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def turns(dut):
    await equal_turns(await started(dut))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def no_side_waits_for_the_others_partner(dut):
    await no_side_waits(await started(dut), bench_parameters()["cycles"])


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def streams_at_the_speed_of_the_pins(dut):
    """Requests of 64 beats and of 8: cycles of each on average, into ``measured.json``."""
    count = 40
    memory = await started(dut)
    for index in range(count):
        memory.write(index * BLOCK, BURST_BEATS)
    measured = {"write of 64": await cycles_of_stream(memory, count, memory.done, 1)}
    await memory.finished()
    for beats in (BURST_BEATS, SHORT_BEATS):
        memory.data.words.clear()
        memory.expected.clear()
        for index in range(count):
            memory.read(index * BLOCK, beats)
        cycles = await cycles_of_stream(memory, count, memory.data, beats)
        measured[f"read of {beats}"] = cycles
        await memory.finished()
    measured["first beat"] = await first_beat(memory, 0)
    Path("measured.json").write_text(json.dumps(measured))
