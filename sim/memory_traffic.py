"""The core's side of a memory controller under test: requests, and a model of the bytes.

The simulated chip tells in ``violation`` which of its rules was broken first.
"""

import random

import cocotb
from cocotb.triggers import ValueChange

from penstock.config import BURST_BEATS
from penstock.hw.layouts import (
    memory_signature,
    read_data_layout,
    request_layout,
    write_data_layout,
)
from penstock.sim.streams import StreamMonitor, StreamSink, StreamSource, payload_layout

BLOCK = 8 * BURST_BEATS
"""Bytes that no request leaves."""


class Memory:
    """The core's side: sends requests, keeps a model of the bytes, checks what comes back."""

    def __init__(self, dut, size: int, stalls: float = 0.0, seed: int = 1):
        self.dut = dut
        self.size = size  # bytes
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
            if address < self.size:
                self.content[address + 8 * index] = word
            self.words.send({"data": word, "last": index == beats - 1})
        self.failing.append({"error": int(address >= self.size)})

    def read(self, address: int, beats: int):
        """Queue a read; what it must bring is what the model holds now."""
        self.reads.send({"address": address, "beats": beats})
        for place in range(address, address + 8 * beats, 8):
            self.expected.append(
                {"data": None, "error": 1}
                if address >= self.size
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
        """Addresses of blocks: near each other, far apart, in one row, at both ends."""
        size = self.size
        near = self.random.randrange(0, size - 16 * BLOCK, BLOCK)
        places = [0, BLOCK, size - BLOCK, size - 2 * BLOCK, *range(near, near + 8 * BLOCK, BLOCK)]
        places += [near ^ bit for bit in self.block_bits()]
        return self.random.sample(sorted(set(places)), count)

    def block_bits(self) -> list[int]:
        """Each bit of an address that tells blocks apart."""
        return [1 << bit for bit in range((BLOCK - 1).bit_length(), (self.size - 1).bit_length())]

    def part(self, block: int) -> tuple[int, int]:
        """Address and beats of a request within a block."""
        beats = self.random.choice([1, 2, 3, BURST_BEATS, self.random.randint(1, BURST_BEATS)])
        return block + 8 * self.random.randint(0, BURST_BEATS - beats), beats
