"""Bench of the SDRAM controller: bytes are kept, the chip's rules too, at the pins' speed.

The chip's model tells in ``violation`` which rule was broken first.
"""

import json
import random
from pathlib import Path

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge, ValueChange
from cocotb.utils import get_sim_time

from penstock.config import BURST_BEATS
from penstock.hw.layouts import (
    memory_signature,
    read_data_layout,
    request_layout,
    write_data_layout,
)
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    payload_layout,
    start_clock,
)

BLOCK = 8 * BURST_BEATS
"""Bytes that no request leaves: half a row."""

SIZE = 1 << 25


class Memory:
    """The core's side: sends requests, keeps a model of the bytes, checks what comes back."""

    def __init__(self, dut, stalls: float = 0.0, seed: int = 1):
        self.dut = dut
        self.content: dict[int, int] = {}  # address of a beat -> its data
        self.random = random.Random(seed)
        knobs = {"stalls": stalls}
        self.reads = StreamSource(dut, "memory__read_request", request_layout(), **knobs, seed=2)
        self.writes = StreamSource(dut, "memory__write_request", request_layout(), **knobs, seed=3)
        self.words = StreamSource(dut, "memory__write_data", write_data_layout(), **knobs, seed=4)
        self.data = StreamSink(dut, "memory__read_data", read_data_layout(), **knobs, seed=5)
        done = payload_layout(memory_signature().members["write_done"].signature)
        self.done = StreamMonitor(dut, "memory__write_done", done)
        self.taken = StreamMonitor(dut, "memory__write_data", write_data_layout())
        self.expected: list[dict] = []  # of `data`
        self.failing: list[dict] = []  # of `done`
        cocotb.start_soon(self._rules())
        cocotb.start_soon(self._done_after_data())

    async def _rules(self):
        await ValueChange(self.dut.violation)
        while not (text := int(self.dut.violation.value)):
            await ValueChange(self.dut.violation)
        message = text.to_bytes(-(-text.bit_length() // 8), "big").decode()
        raise AssertionError(f"the chip's rules must be kept: {message}")

    async def _done_after_data(self):
        while True:
            count = len(self.done.words) + 1
            await self.done.wait_for(count)
            taken = sum(word["last"] for word in self.taken.words)
            assert taken >= count, f"write {count} is done before its last beat is taken"

    def write(self, address: int, beats: int):
        """Queue a write of random beats; returns at once."""
        self.writes.send({"address": address, "beats": beats})
        for index in range(beats):
            word = self.random.getrandbits(64)
            if address < SIZE:
                self.content[address + 8 * index] = word
            self.words.send({"data": word, "last": index == beats - 1})
        self.failing.append({"error": int(address >= SIZE)})

    def read(self, address: int, beats: int):
        """Queue a read; what it must bring is what the model holds now."""
        self.reads.send({"address": address, "beats": beats})
        for place in range(address, address + 8 * beats, 8):
            self.expected.append(
                {"data": None, "error": 1}
                if address >= SIZE
                else {"data": self.content[place], "error": 0}
            )

    async def finished(self):
        """Wait until all that was queued is answered; check it."""
        await self.data.wait_for(len(self.expected))
        await self.done.wait_for(len(self.failing))
        self.check()

    def check(self):
        """What has come so far is right, and no more than was asked for."""
        assert len(self.data.words) <= len(self.expected), "a beat that nobody asked for"
        assert len(self.done.words) <= len(self.failing), "a write is acknowledged twice"
        for index, (came, due) in enumerate(zip(self.data.words, self.expected, strict=False)):
            assert came["error"] == due["error"], f"error of beat {index}: {came}"
            assert due["error"] or came["data"] == due["data"], (
                f"beat {index} must be {due['data']:#x}, not {came['data']:#x}"
            )
        assert self.done.words == self.failing[: len(self.done.words)]

    def blocks(self, count: int) -> list[int]:
        """Addresses of blocks: near each other, far apart, both halves of rows, both ends."""
        near = self.random.randrange(0, SIZE - 16 * BLOCK, BLOCK)
        places = [0, BLOCK, SIZE - BLOCK, SIZE - 2 * BLOCK, *range(near, near + 8 * BLOCK, BLOCK)]
        places += [near ^ 1 << bit for bit in range(9, 25)]  # one bit of the place differs
        return self.random.sample(sorted(set(places)), count)

    def part(self, block: int) -> tuple[int, int]:
        """Address and beats of a request within a block."""
        beats = self.random.choice([1, 2, 3, BURST_BEATS, self.random.randint(1, BURST_BEATS)])
        return block + 8 * self.random.randint(0, BURST_BEATS - beats), beats


def cycle() -> int:
    return round(get_sim_time("ns")) // CLOCK_PERIOD


async def started(dut, stalls: float = 0.0, seed: int = 1) -> Memory:
    """A memory after a power cycle; requests wait until its start-up sequence has ended."""
    memory = Memory(dut, stalls, seed)
    await start_clock(dut)
    return memory


async def quiet(memory: Memory):
    """Some time later nothing more has come."""
    await ClockCycles(memory.dut.clk, 60)
    memory.check()
    assert len(memory.data.words) == len(memory.expected)
    assert len(memory.done.words) == len(memory.failing)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.3, 0.8])
async def bytes_are_kept(dut, stalls):
    """Rounds of reads and writes of different blocks, both under way at once."""
    memory = await started(dut, stalls, seed=random.getrandbits(32))
    blocks = memory.blocks(20)
    for block in blocks:
        memory.write(block, BURST_BEATS)
    await memory.finished()
    for _ in range(6):
        memory.random.shuffle(blocks)
        requests = [(k % 2, *memory.part(block)) for k, block in enumerate(blocks)]
        for is_write, address, beats in requests:
            (memory.write if is_write else memory.read)(address, beats)
        await memory.finished()
    for block in blocks:
        memory.read(block, BURST_BEATS)
    await memory.finished()
    await quiet(memory)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def places_one_bit_apart(dut):
    """Two places that differ in one bit of bank, row or half, one right after the other."""
    memory = await started(dut, seed=random.getrandbits(32))
    block = memory.blocks(1)[0]
    others = [block ^ 1 << bit for bit in range(9, 25)]
    for other in others:
        for place in (block, other, block):
            memory.write(place, 2)
    await memory.finished()
    for other in others:
        for place in (block, other, block):
            memory.read(place, 2)
    await memory.finished()
    await quiet(memory)


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
    """A read of the same place is offered in the cycle after done; the place is written again."""
    memory = await started(dut, seed=random.getrandbits(32))
    blocks = memory.blocks(4)
    for _ in range(30):
        address, beats = memory.part(memory.random.choice(blocks))
        memory.write(address, beats)
        await memory.done.wait_for(len(memory.failing))
        memory.read(address, beats)
        await memory.finished()
    await quiet(memory)


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(stalls=[0.0, 0.5])
async def outside_is_an_error(dut, stalls):
    """Requests beyond the chip among others: as many error beats, one done, no byte changed."""
    memory = await started(dut, stalls, seed=random.getrandbits(32))
    inside = memory.blocks(6)
    for block in inside:
        memory.write(block, BURST_BEATS)
    await memory.finished()
    for _ in range(40):
        block = memory.random.choice(inside)
        bit = memory.random.choice([0, 0, *(1 << bit for bit in range(25, 32))])
        memory.read(block + bit, memory.random.randint(1, 20))
        if bit:
            block = memory.random.choice(inside)
            memory.write(block + bit, memory.random.randint(1, 20))
    await memory.finished()
    await quiet(memory)


async def cycles_of_stream(memory: Memory, requests: int, monitor: StreamMonitor, each: int):
    """Cycles of all but the first of some requests that wait at once, ``each`` answers of one."""
    await monitor.wait_for(each)
    begin = cycle()
    await monitor.wait_for(requests * each)
    return (cycle() - begin) / (requests - 1)


async def latency(memory: Memory, address: int) -> int:
    """Cycles from a read's offer to its first beat, where a refresh has closed the row."""
    await ClockCycles(memory.dut.clk, 2000)
    memory.read(address, 1)
    await RisingEdge(memory.dut.memory__read_request__valid)
    begin = cycle()
    await RisingEdge(memory.dut.memory__read_data__valid)
    taken = cycle() - begin
    await memory.finished()
    return taken


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
    measured["first beat"] = await latency(memory, base)
    Path("measured.json").write_text(json.dumps(measured))


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def turns(dut):
    """While both sides ask without a pause, each is served one request in two."""
    memory = await started(dut)
    count = 24
    for index in range(count):
        memory.write(index * BLOCK, BURST_BEATS)
    await memory.finished()
    first = len(memory.done.words)
    for index in range(count):
        memory.write(SIZE - (1 + index) * BLOCK, BURST_BEATS)
        memory.read(index * BLOCK, BURST_BEATS)
    while len(memory.data.words) < count * BURST_BEATS:
        await ClockCycles(dut.clk, 50)
        reads = len(memory.data.words) / BURST_BEATS
        writes = len(memory.done.words) - first
        assert abs(reads - writes) < 2.2, f"{reads} reads and {writes} writes"
    await memory.finished()
    await quiet(memory)


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def no_side_waits_for_the_others_partner(dut):
    """Read data are refused, then write data do not come: the other side goes on, rows refresh."""
    memory = await started(dut)
    for index in range(12):
        memory.write(index * BLOCK, BURST_BEATS)
    await memory.finished()
    memory.data.stalls = 1.0
    for index in range(6):
        memory.read(index * BLOCK, BURST_BEATS)
    await ClockCycles(dut.clk, 2000)
    first = cycle()
    for index in range(6, 12):
        memory.write(index * BLOCK, BURST_BEATS)
    await memory.done.wait_for(len(memory.failing))
    assert cycle() - first < 6 * 320, f"six writes took {cycle() - first} cycles"
    await ClockCycles(dut.clk, 5_000)
    memory.data.stalls = 0.0
    await memory.finished()

    memory.words.stalls = 1.0
    memory.write(20 * BLOCK, BURST_BEATS)
    await ClockCycles(dut.clk, 2000)
    first = cycle()
    for index in range(12):
        memory.read(index * BLOCK, BURST_BEATS)
    await memory.data.wait_for(len(memory.expected))
    assert cycle() - first < 12 * 320, f"twelve reads took {cycle() - first} cycles"
    memory.words.stalls = 0.0
    memory.read(0, 1)
    await memory.finished()
    memory.read(20 * BLOCK, BURST_BEATS)
    await memory.finished()
    await quiet(memory)


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
