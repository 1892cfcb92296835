"""Memories as cocotb models that sleep while nobody asks; that of the core's streams among them."""

import random
from collections import deque

import cocotb
from cocotb.triggers import Event, RisingEdge, Timer
from cocotb.utils import get_sim_time

from penstock.hw.layouts import memory_signature
from penstock.sim.streams import CLOCK_PERIOD, pack, payload_layout, unpack

WORD_BYTES = 8


class Channel:
    """A valid/ready channel of a bus; ``ready`` is None where the receiver is always ready."""

    def __init__(self, dut, name: str, separator: str):
        self.name = name
        self.valid = getattr(dut, f"{name}{separator}valid")
        self.ready = getattr(dut, f"{name}{separator}ready", None)
        self._offering = None

    def offer(self, offering: bool):
        """Drive ``valid``; no change costs nothing."""
        if self._offering != offering:
            self._offering = offering
            self.valid.value = offering

    def bits(self):
        """What is offered now; equal where it is the same."""
        raise NotImplementedError

    def fields(self, bits) -> dict[str, int]:
        """The fields of what was offered, by name."""
        raise NotImplementedError


class BusMemory:
    """Content and timing of a memory; what a bus adds is left to the subclasses.

    A read's first beat comes ``latency`` cycles after its request was taken, then one beat a cycle;
    requests queue without limit and their data follow in order. A write is done ``latency`` cycles
    after its last beat. Reads and writes run at the same time. ``stalls`` is the probability, each
    cycle, that a channel is held up; 0 is full speed. While no transfer is under way no Python
    runs.

    ``content`` (bytearray) may be replaced between transfers; ``errors`` is a set of byte addresses
    of 64-bit words that answer with an error. Raises AssertionError, which fails the test, where a
    transfer breaks the rules of its bus: a refused word changes, ``last`` is wrong.
    """

    def __init__(
        self,
        clock,
        *,
        read_request: Channel,
        read_data: Channel,
        write_request: Channel,
        write_data: Channel,
        write_done: Channel,
        beat_bytes: int,
        size: int,
        latency: int,
        stalls: float,
        seed: int,
    ):
        self.content = bytearray(size)
        self.errors: set[int] = set()
        self.latency = latency
        self.stalls = stalls
        self.beat_bytes = beat_bytes
        self.beats_read = 0
        self.beats_written = 0
        self._edge = RisingEdge(clock)
        self._random = random.Random(seed)
        self._reads, self._writes, self._beats = _Queue(), _Queue(), _Queue()
        cocotb.start_soon(self._take(read_request, self._reads))
        cocotb.start_soon(self._take(write_request, self._writes))
        cocotb.start_soon(self._take(write_data, self._beats))
        cocotb.start_soon(self._answer_reads(read_data))
        cocotb.start_soon(self._do_writes(write_done))

    @property
    def bytes_read(self) -> int:
        """Of all read beats so far."""
        return self.beats_read * self.beat_bytes

    @property
    def bytes_written(self) -> int:
        """Of all write beats so far."""
        return self.beats_written * self.beat_bytes

    def _addresses(self, request: dict[str, int]) -> range:
        """Check a request; the byte address of each of its beats."""
        raise NotImplementedError

    def _response(self, address: int) -> int:
        """What a beat is answered with: 0, or a code of an error; the worst is the highest."""
        raise NotImplementedError

    def _show_read(self, channel: Channel, address: int, response: int, last: bool):
        """Put a beat on the read data channel."""
        raise NotImplementedError

    def _store(self, address: int, beat: dict[str, int]):
        """Put a beat of write data into the content."""
        raise NotImplementedError

    def _show_done(self, channel: Channel, response: int):
        """Put the answer to a write on its channel."""
        raise NotImplementedError

    async def _take(self, channel: Channel, queue: "_Queue"):
        """Take words from one of the master's channels; asleep while its valid is low."""
        channel.ready.value = accepting = self.stalls == 0
        while True:
            if not channel.valid.value:
                await RisingEdge(channel.valid)
            await self._edge
            if not channel.valid.value:
                continue
            bits = channel.bits()
            while not accepting:
                accepting = self._random.random() >= self.stalls
                channel.ready.value = accepting
                await self._edge
                assert channel.valid.value and bits == channel.bits(), (
                    f"{channel.name}: a refused word must be held, {channel.fields(bits)} was not"
                )
            queue.put((_cycle(), channel.fields(bits)))
            accepting = self._random.random() >= self.stalls
            channel.ready.value = accepting

    async def _answer_reads(self, channel: Channel):
        channel.offer(False)
        while True:
            if not self._reads:
                channel.offer(False)
            taken, request = await self._reads.get()
            addresses = self._addresses(request)
            if _cycle() < taken + self.latency - 1:
                channel.offer(False)
                await self._until(taken + self.latency - 1)
            for address in addresses:
                await self._stall(channel)
                response = self._response(address)
                self._show_read(channel, address, response, address == addresses[-1])
                await self._offer(channel)
                self.beats_read += 1

    async def _do_writes(self, channel: Channel):
        channel.offer(False)
        while True:
            _, request = await self._writes.get()
            addresses = self._addresses(request)
            response = 0
            for address in addresses:
                taken, beat = await self._beats.get()
                assert beat["last"] == (address == addresses[-1]), (
                    f"last of a write must mark its beat to {addresses[-1]:#x} alone, the beat to "
                    f"{address:#x} has {beat['last']}"
                )
                response = max(response, self._response(address))
                self._store(address, beat)
                self.beats_written += 1
            await self._until(taken + self.latency - 1)
            await self._stall(channel)
            self._show_done(channel, response)
            await self._offer(channel)
            channel.offer(False)

    async def _offer(self, channel: Channel):
        """Hold what was put on a channel until it is taken; ``valid`` stays high."""
        channel.offer(True)
        await self._edge
        while channel.ready is not None and not channel.ready.value:
            await RisingEdge(channel.ready)
            await self._edge

    async def _until(self, cycle: int):
        """Wait for the edge of that cycle; returns at once where it has passed."""
        if (cycles := cycle - _cycle()) > 0:
            await Timer(cycles * CLOCK_PERIOD - CLOCK_PERIOD // 2, "ns")
            await self._edge

    async def _stall(self, channel: Channel):
        while self._random.random() < self.stalls:
            channel.offer(False)
            await self._edge


class MemoryModel(BusMemory):
    """Serves the streams of `penstock.hw.layouts.memory_signature`, 64 bits wide.

    Raises AssertionError, too, where a transfer leaves the content, is not aligned or is empty.
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
        channels = {stream: _Stream(dut, name, stream) for stream in memory_signature().members}
        super().__init__(
            dut.clk,
            **channels,
            beat_bytes=WORD_BYTES,
            size=size,
            latency=latency,
            stalls=stalls,
            seed=seed,
        )

    def _addresses(self, request):
        start, beats = request["address"], request["beats"]
        assert start % WORD_BYTES == 0, f"address must be 8-byte aligned, not {start:#x}"
        assert beats > 0, "a transfer must have at least one beat, not 0"
        end = start + beats * WORD_BYTES
        size = len(self.content)
        assert end <= size, f"a transfer must end within {size:#x} bytes, not at {end:#x}"
        return range(start, end, WORD_BYTES)

    def _response(self, address):
        return int(address in self.errors)

    def _show_read(self, channel, address, response, last):
        word = int.from_bytes(self.content[address : address + WORD_BYTES], "little")
        channel.payload.value = word | response << 8 * WORD_BYTES

    def _store(self, address, beat):
        self.content[address : address + WORD_BYTES] = beat["data"].to_bytes(WORD_BYTES, "little")

    def _show_done(self, channel, response):
        channel.payload.value = pack(channel.layout, {"error": response})


class _Stream(Channel):
    """One of the core's memory streams, its fields as its payload's layout has them."""

    def __init__(self, dut, memory: str, stream: str):
        super().__init__(dut, f"{memory}__{stream}", "__")
        self.payload = getattr(dut, f"{self.name}__payload")
        self.layout = payload_layout(memory_signature().members[stream].signature)

    def bits(self):
        return int(self.payload.value)

    def fields(self, bits):
        return unpack(self.layout, bits)


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
