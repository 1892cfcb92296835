"""The memory behind the core's streams, as a cocotb model that sleeps while nobody asks."""

import random
from collections import deque

import cocotb
from cocotb.triggers import Event, RisingEdge, Timer
from cocotb.utils import get_sim_time

from penstock.hw.layouts import memory_signature
from penstock.sim.streams import CLOCK_PERIOD, pack, payload_layout, unpack

WORD_BYTES = 8


class MemoryModel:
    """Serves the streams of `penstock.hw.layouts.memory_signature`, 64 bits wide.

    A read's first beat comes ``latency`` cycles after its request was taken, then one beat a cycle;
    requests queue without limit and their data follow in order. A write is done ``latency`` cycles
    after its last beat. ``stalls`` is the probability, each cycle, that a stream is held up; 0 is
    full speed. While no transfer is under way no Python runs.

    ``content`` (bytearray) may be replaced between transfers; ``errors`` is a set of byte addresses
    of 64-bit words that answer with an error. Raises AssertionError, which fails the test, where a
    transfer leaves the content, is not aligned, is empty, or ``last`` is wrong.
    """

    def __init__(
        self,
        dut,
        name: str = "memory",
        *,
        size: int = 0,
        latency: int = 32,
        stalls: float = 0.0,
        seed: int = 0,
    ):
        self.content = bytearray(size)
        self.errors: set[int] = set()
        self.latency = latency
        self.stalls = stalls
        self.beats_read = 0
        self.beats_written = 0
        self._edge = RisingEdge(dut.clk)
        self._random = random.Random(seed)
        self._reads, self._writes, self._beats = _Queue(), _Queue(), _Queue()
        for stream, queue in (
            ("read_request", self._reads),
            ("write_request", self._writes),
            ("write_data", self._beats),
        ):
            cocotb.start_soon(self._take(_Port(dut, name, stream), queue))
        for stream, serve in (("read_data", self._answer_reads), ("write_done", self._do_writes)):
            cocotb.start_soon(serve(_Port(dut, name, stream)))

    async def _take(self, port: "_Port", queue: "_Queue"):
        """Take words from one of the core's streams; asleep while its valid is low."""
        port.ready.value = accepting = self.stalls == 0
        while True:
            if not port.valid.value:
                await RisingEdge(port.valid)
            await self._edge
            if not port.valid.value:
                continue
            bits = int(port.payload.value)
            while not accepting:
                accepting = self._random.random() >= self.stalls
                port.ready.value = accepting
                await self._edge
                assert port.valid.value and bits == int(port.payload.value), (
                    f"{port.name}: a refused word must be held, {bits:#x} became another"
                )
            queue.put((_cycle(), unpack(port.layout, bits)))
            accepting = self._random.random() >= self.stalls
            port.ready.value = accepting

    async def _answer_reads(self, port: "_Port"):
        port.valid.value = 0
        while True:
            if not self._reads:
                port.valid.value = 0
            taken, request = await self._reads.get()
            start = self._range(request)
            if _cycle() < taken + self.latency - 1:
                port.valid.value = 0
                await self._until(taken + self.latency - 1)
            for address in range(start, start + request["beats"] * WORD_BYTES, WORD_BYTES):
                await self._stall(port)
                word = int.from_bytes(self.content[address : address + WORD_BYTES], "little")
                port.payload.value = word | (address in self.errors) << 64
                port.valid.value = 1
                await self._edge
                while not port.ready.value:
                    await self._edge
                self.beats_read += 1

    async def _do_writes(self, port: "_Port"):
        port.valid.value = 0
        while True:
            _, request = await self._writes.get()
            start = self._range(request)
            failed = False
            for beat in range(request["beats"]):
                taken, word = await self._beats.get()
                assert word["last"] == (beat == request["beats"] - 1), (
                    f"last of a write must mark beat {request['beats'] - 1}, beat {beat} has "
                    f"{word['last']}"
                )
                address = start + beat * WORD_BYTES
                failed |= address in self.errors
                self.content[address : address + WORD_BYTES] = word["data"].to_bytes(8, "little")
                self.beats_written += 1
            await self._until(taken + self.latency - 1)
            port.payload.value = pack(port.layout, {"error": failed})
            port.valid.value = 1
            await self._edge
            port.valid.value = 0

    async def _until(self, cycle: int):
        """Wait for the edge of that cycle; returns at once where it has passed."""
        if (cycles := cycle - _cycle()) > 0:
            await Timer(cycles * CLOCK_PERIOD - CLOCK_PERIOD // 2, "ns")
            await self._edge

    async def _stall(self, port: "_Port"):
        while self._random.random() < self.stalls:
            port.valid.value = 0
            await self._edge

    def _range(self, request: dict[str, int]) -> int:
        """Check a request and return its first byte address."""
        start, beats = request["address"], request["beats"]
        assert start % WORD_BYTES == 0, f"address must be 8-byte aligned, not {start:#x}"
        assert beats > 0, "a transfer must have at least one beat, not 0"
        end = start + beats * WORD_BYTES
        size = len(self.content)
        assert end <= size, f"a transfer must end within {size:#x} bytes, not at {end:#x}"
        return start


class _Port:
    """The signals of one stream, and its payload's layout."""

    def __init__(self, dut, memory: str, stream: str):
        name = f"{memory}__{stream}"
        self.valid = getattr(dut, f"{name}__valid")
        self.ready = getattr(dut, f"{name}__ready", None)
        self.payload = getattr(dut, f"{name}__payload")
        self.layout = payload_layout(memory_signature().members[stream].signature)
        self.name = name


class _Queue:
    """First in, first out, for one reader; `get` waits and `put` does not."""

    def __init__(self):
        self._items = deque()
        self._arrived = Event()

    def __bool__(self):
        return bool(self._items)

    def put(self, item):
        self._items.append(item)
        self._arrived.set()

    async def get(self):
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        return self._items.popleft()


def _cycle() -> int:
    return round(get_sim_time("ns")) // CLOCK_PERIOD
