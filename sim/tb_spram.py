"""Bench of the SPRAMs as the core's memory, on their twin and on yosys' model of an iCE40's."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time

from penstock.boards.spram import BYTE_ADDRESS_BITS
from penstock.config import BURST_BEATS
from penstock.hw.layouts import memory_signature
from penstock.sim.compact_blocks import TARGETS
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    payload_layout,
    start_clock,
)

SIZE = 1 << BYTE_ADDRESS_BITS
BLOCK = 8 * BURST_BEATS
"""Bytes that no request leaves."""


def layout(stream: str):
    """Payload layout of one of the memory's streams."""
    return payload_layout(memory_signature().members[stream].signature)


class Client:
    """The core's side: sends requests, keeps a model of the words, checks what comes back."""

    def __init__(self, dut, target: str, stalls: float):
        self.words: dict[int, int] = {}  # address of a beat -> its data
        port = f"spram_{target}__memory__"
        self.port, self.dut = port, dut
        knobs = {"stalls": stalls, "seed": random.getrandbits(32)}
        made = {
            name: StreamSource(dut, port + name, layout(name), **knobs)
            for name in ("read_request", "write_request", "write_data")
        }
        self.reads, self.writes, self.data = made.values()
        self.came = StreamSink(dut, f"{port}read_data", layout("read_data"), **knobs)
        self.done = StreamMonitor(dut, f"{port}write_done", layout("write_done"))
        self.expected: list[dict] = []  # of `came`
        self.failing: list[dict] = []  # of `done`

    def write(self, address: int, beats: int):
        """Queue a write of random beats; returns at once."""
        self.writes.send({"address": address, "beats": beats})
        for index in range(beats):
            word = random.getrandbits(64)
            if address < SIZE:
                self.words[address + 8 * index] = word
            self.data.send({"data": word, "last": index == beats - 1})
        self.failing.append({"error": int(address >= SIZE)})

    def read(self, address: int, beats: int):
        """Queue a read; what it must bring is what the model holds now."""
        self.reads.send({"address": address, "beats": beats})
        for place in range(address, address + 8 * beats, 8):
            word = None if address >= SIZE else self.words[place]
            self.expected.append({"data": word, "error": int(address >= SIZE)})

    async def finished(self):
        """Wait until all that was queued is answered; check it, and that nothing else comes."""
        await self.came.wait_for(len(self.expected))
        await self.done.wait_for(len(self.failing))
        await ClockCycles(self.dut.clk, 10)
        assert self.done.words == self.failing
        assert len(self.came.words) == len(self.expected)
        for came, due in zip(self.came.words, self.expected, strict=True):
            assert came["error"] == due["error"]
            assert due["error"] or came["data"] == due["data"]


async def started(dut, target: str, stalls: float = 0.0) -> tuple[Client, list[int]]:
    """A client, and the addresses of blocks that it has written, one bit of them different."""
    client = Client(dut, target, stalls)
    await start_clock(dut)
    first = random.randrange(0, SIZE, BLOCK)
    blocks = [first, *(first ^ 1 << bit for bit in range(9, BYTE_ADDRESS_BITS))]
    for block in blocks:
        client.write(block, BURST_BEATS)
    await client.finished()
    return client, blocks


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(target=TARGETS, stalls=[0.0, 0.3, 0.8])
async def words_are_kept(dut, target, stalls):
    """Reads and writes of different blocks, both under way at once, some outside of the RAMs."""
    client, blocks = await started(dut, target, stalls)
    for _ in range(4):
        random.shuffle(blocks)
        for index, block in enumerate(blocks):
            beats = random.choice([1, 8, random.randint(1, BURST_BEATS)])
            outside = random.choice([0, 0, *(1 << bit for bit in range(BYTE_ADDRESS_BITS, 32))])
            address = block + 8 * random.randint(0, BURST_BEATS - beats) + outside
            (client.write if index % 2 else client.read)(address, beats)
        await client.finished()
    for block in blocks:
        client.read(block, BURST_BEATS)
    await client.finished()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(target=TARGETS)
async def cycles(dut, target):
    """Those of the docstring."""

    def cycle() -> int:
        return round(get_sim_time("ns")) // CLOCK_PERIOD

    client, blocks = await started(dut, target)
    client.read(blocks[0], 8)
    offered = getattr(dut, f"{client.port}read_request__valid")
    beat = RisingEdge(getattr(dut, f"{client.port}read_data__valid"))
    await RisingEdge(offered)
    begin, came = cycle(), []
    for _ in range(8):
        await beat
        came.append(cycle() - begin)
    assert came == [3 + 3 * index for index in range(8)]
    await client.finished()
    client.write(blocks[0], 8)
    await RisingEdge(getattr(dut, f"{client.port}write_request__valid"))
    begin = cycle()
    await RisingEdge(getattr(dut, f"{client.port}write_done__valid"))
    assert cycle() - begin == 1 + 8
    await client.finished()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(target=TARGETS)
async def no_side_waits_for_the_others_partner(dut, target):
    """Read data are refused, then write data do not come: the other side goes on."""
    client, blocks = await started(dut, target)
    client.came.stalls = 1.0
    client.read(blocks[0], 8)
    await ClockCycles(dut.clk, 20)
    client.write(blocks[1], 8)
    await client.done.wait_for(len(client.failing))
    client.came.stalls = 0.0
    await client.finished()
    client.data.stalls = 1.0
    client.write(blocks[1], 8)
    await ClockCycles(dut.clk, 20)
    client.read(blocks[0], 8)
    await client.came.wait_for(len(client.expected))
    client.data.stalls = 0.0
    await client.finished()
