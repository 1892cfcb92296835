"""Bench of AxiMemory: the core's requests on one side, a memory of cocotbext-axi on the other."""

import random

import cocotb
from amaranth.lib.wiring import In, Out
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiResp

from penstock.config import BURST_BEATS
from penstock.hw.axi import axi_signature
from penstock.hw.layouts import memory_signature, write_data_layout
from penstock.sim.axi_blocks import block_test
from penstock.sim.axi_clients import AxiChecker, AxiMemorySlave, check_registered, cycle
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    payload_layout,
)

SLVERR, DECERR = AxiResp.SLVERR, AxiResp.DECERR
SIZE = 1 << 15  # bytes of the memory
OUTSIDE = 1 << 20  # an address behind its end
WORD_BYTES = 8
BURST_BYTES = BURST_BEATS * WORD_BYTES
WRITE_ALIGNMENT = 64


class Bench:
    """AxiMemory with the core's side of its streams, and a memory behind it."""

    def __init__(self, dut, fault: int, stalls: tuple[float, float] = (0, 0)):
        parameters = bench_parameters()
        dut.fault.value = fault
        self.dut, self.block = dut, parameters["block"]
        self.bits = int(self.block.removeprefix("memory"))
        self.random = random.Random(f"{cocotb.RANDOM_SEED} {stalls}")
        self.core_stalls, self.bus_stalls = stalls
        self.latency = tuple(parameters["latency"])

    async def start(self) -> "Bench":
        """Reset, clients on both sides, random content."""
        dut, name = self.dut, self.block
        Clock(dut.clk, CLOCK_PERIOD, unit="ns").start()
        dut.rst.value = 1
        self.slave = AxiMemorySlave(
            dut,
            f"{name}__axi_",
            size=SIZE,
            latency=self.latency,
            stalls=self.bus_stalls,
            seed=self.random.getrandbits(32),
        )
        self.slave.content[:] = self.random.randbytes(SIZE)
        self.checker = AxiChecker(dut, f"{name}__axi_", bits=self.bits)
        self.read_requests = self._stream(StreamSource, "read_request")
        self.read_data = self._stream(StreamSink, "read_data")
        self.write_requests = self._stream(StreamSource, "write_request")
        self.write_data = self._stream(StreamSource, "write_data")
        self.taken = StreamMonitor(dut, f"{name}__memory__write_data", write_data_layout())
        done = memory_signature().members["write_done"].signature
        self.done = StreamMonitor(dut, f"{name}__memory__write_done", payload_layout(done))
        await ClockCycles(dut.clk, 2)
        for channel in ("ar", "aw", "w"):
            assert not getattr(dut, f"{name}__axi__{channel}valid").value, channel
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        return self

    def _stream(self, kind, name: str):
        layout = payload_layout(memory_signature().members[name].signature)
        seed = self.random.getrandbits(32)
        path = f"{self.block}__memory__{name}"
        return kind(self.dut, path, layout, stalls=self.core_stalls, seed=seed)

    def draw(self, low: int, high: int, alignment: int) -> dict[str, int]:
        """A request in ``low..high`` that crosses no boundary of 512 bytes; extremes are likely."""
        address = self.random.randrange(low, high, alignment)
        most = (BURST_BYTES - address % BURST_BYTES) // WORD_BYTES
        beats = self.random.choice((1, 2, most, self.random.randint(1, most)))
        return {"address": address, "beats": min(beats, most)}

    def send_writes(self, requests: list[dict[str, int]]) -> list[int]:
        """Queue writes of random words; the words."""
        words = []
        for request in requests:
            for beat in range(request["beats"]):
                words.append(self.random.getrandbits(64))
                self.write_data.send({"data": words[-1], "last": beat == request["beats"] - 1})
            self.write_requests.send(request)
        return words

    def read_expected(self, requests: list[dict[str, int]]) -> list[dict[str, int] | None]:
        """What reads give; None: an error, which a beat has for each of its words."""
        words = []
        beat = max(self.bits // 8, WORD_BYTES)  # bytes whose error is one
        for address in addresses(requests):
            start = address // beat * beat
            error = any(word in self.slave.errors for word in range(start, start + beat, 8))
            data = int.from_bytes(self.slave.content[address : address + 8], "little")
            words.append(None if error or address >= SIZE else {"data": data, "error": 0})
        return words

    def store(self, content: bytearray, requests: list[dict[str, int]], words: list[int]):
        """Do writes on a copy of the memory."""
        for address, word in zip(addresses(requests), words, strict=True):
            if address < SIZE:
                content[address : address + 8] = word.to_bytes(8, "little")

    def write_error(self, request: dict[str, int]) -> bool:
        """Whether a write reports an error."""
        return any(a in self.slave.errors or a >= SIZE for a in addresses([request]))

    async def settle(self):
        """A while after which nothing more may come."""
        await ClockCycles(self.dut.clk, 20)
        assert self.checker.idle


def addresses(requests: list[dict[str, int]]) -> list[int]:
    """Byte addresses of all words of the requests."""
    return [r["address"] + 8 * beat for r in requests for beat in range(r["beats"])]


def check_reads(got: list[dict[str, int]], expected: list[dict[str, int] | None]):
    """Every word is right, or has an error."""
    assert len(got) == len(expected)
    for index, (word, right) in enumerate(zip(got, expected, strict=True)):
        if right is None:
            assert word["error"], f"word {index} must have an error"
        else:
            assert word == right, f"word {index} must be {right}, not {word}"


@block_test(stalls=True)
async def reads_and_writes_at_once(dut, fault, stalls):
    """Every word and error, at random places, while data go both ways; nothing else is touched."""
    bench = await Bench(dut, fault, stalls).start()
    half = SIZE // 2
    failing = bench.random.sample(range(0, SIZE, WORD_BYTES), 25)
    bench.slave.errors = {a: bench.random.choice((SLVERR, DECERR)) for a in failing}
    requests = bench_parameters()["requests"]
    reads = [bench.draw(0, half, WORD_BYTES) for _ in range(requests)]
    writes = [bench.draw(half, SIZE, WRITE_ALIGNMENT) for _ in range(requests)]
    reads[5:5] = [{"address": OUTSIDE + 8, "beats": 5}, reads[5]]
    writes[7:7] = [{"address": OUTSIDE, "beats": 3}, writes[7]]
    expected, content = bench.read_expected(reads), bytearray(bench.slave.content)
    bench.read_requests.send(*reads)
    words = bench.send_writes(writes)
    await bench.done.wait_for(len(writes))
    await bench.read_data.wait_for(len(expected))
    await bench.settle()
    check_reads(bench.read_data.words, expected)
    assert [word["error"] for word in bench.done.words] == [bench.write_error(w) for w in writes]
    bench.store(content, writes, words)
    assert bench.slave.content == content
    assert bench.checker.bursts["ar"] == len(reads)
    assert bench.checker.bursts["aw"] == len(writes)

    bench.read_data.words.clear()  # what was written
    reads = [bench.draw(half, SIZE, WORD_BYTES) for _ in range(requests // 3)]
    bench.read_requests.send(*reads)
    expected = bench.read_expected(reads)
    await bench.read_data.wait_for(len(expected))
    await bench.settle()
    check_reads(bench.read_data.words, expected)


@block_test(stalls=True)
async def data_do_not_wait_for_the_address(dut, fault, stalls):
    """A memory that takes an address only behind the last beat of its data (A3.3.1)."""
    bench = await Bench(dut, fault, stalls).start()
    bench.slave.data_first = True
    requests = bench_parameters()["requests"] // 2
    writes = [bench.draw(0, SIZE, WRITE_ALIGNMENT) for _ in range(requests)]
    writes.append({"address": 0, "beats": BURST_BEATS})
    content = bytearray(bench.slave.content)
    bench.store(content, writes, bench.send_writes(writes))
    await bench.done.wait_for(len(writes))
    await bench.settle()
    assert bench.slave.content == content
    assert not any(word["error"] for word in bench.done.words)


@block_test()
async def full_speed(dut, fault):
    """Both ways at once, one word a cycle, at 32 bits one in two; bursts follow without a gap."""
    bench = await Bench(dut, fault).start()
    bench.slave.latency = 20
    reads = [{"address": BURST_BYTES * index + 8, "beats": 63} for index in range(6)]
    reads += [{"address": BURST_BYTES * index, "beats": BURST_BEATS} for index in range(6)]
    writes = [{"address": SIZE // 2 + r["address"] // 64 * 64, "beats": r["beats"]} for r in reads]
    expected, content = bench.read_expected(reads), bytearray(bench.slave.content)
    bench.read_requests.send(*reads)
    words = bench.send_writes(writes)
    bench.store(content, writes, words)
    cycles_per_word = 2 if bench.bits == 32 else 1
    spans = [
        cocotb.start_soon(span(stream, len(words))) for stream in (bench.read_data, bench.taken)
    ]
    for each in spans:
        assert await each == (len(words) - 1) * cycles_per_word
    await bench.done.wait_for(len(writes))
    await bench.settle()
    check_reads(bench.read_data.words, expected)
    assert bench.slave.content == content
    assert bench.checker.most_reads >= 8


async def span(stream: StreamMonitor, count: int) -> int:
    """Cycles from the first to the last of ``count`` words."""
    await stream.wait_for(1)
    first = cycle()
    await stream.wait_for(count)
    return cycle() - first


@block_test()
async def latencies(dut, fault):
    """A request and the last beat of read data take one cycle, the last word of a write none."""
    bench = await Bench(dut, fault).start()
    await ClockCycles(dut.clk, 5)
    bench.read_requests.send({"address": 0, "beats": 2})
    bench.send_writes([{"address": 64, "beats": 2}])
    streams = {name: f"{bench.block}__axi__{name}" for name in ("ar", "r", "aw", "w")}
    for name in ("read_request", "read_data", "write_request", "write_data"):
        streams[name] = f"{bench.block}__memory__{name}__"
    handshakes = {
        name: (getattr(dut, f"{path}valid"), getattr(dut, f"{path}ready"))
        for name, path in streams.items()
    }
    last = {}
    for _ in range(60):
        await RisingEdge(dut.clk)
        for name, (valid, ready) in handshakes.items():
            if valid.value and ready.value:
                last[name] = cycle()
    assert last["ar"] - last["read_request"] == last["aw"] - last["write_request"] == 1
    assert last["read_data"] - last["r"] == (2 if bench.bits == 128 else 1)  # two words of a beat
    assert last["w"] == last["write_data"]


@block_test()
async def the_bus_side_is_registered(dut, fault):
    """No combinational path from an input of the bus to an output of it."""
    bench = Bench(dut, fault)
    Clock(dut.clk, CLOCK_PERIOD, unit="ns").start()
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    memory = f"{bench.block}__memory__"
    for name in ("read_request", "write_request", "write_data"):
        getattr(dut, f"{memory}{name}__valid").value = 1
        layout = payload_layout(memory_signature().members[name].signature)
        getattr(dut, f"{memory}{name}__payload").value = (1 << layout.size) // 3
    getattr(dut, f"{memory}read_data__ready").value = 1
    await RisingEdge(dut.clk)
    ports = axi_signature(bench.bits).members
    inputs, outputs = (
        [getattr(dut, f"{bench.block}__axi__{name}") for name in ports if ports[name].flow == flow]
        for flow in (In, Out)
    )
    await check_registered(dut.clk, inputs, outputs, cycles=300, seed=cocotb.RANDOM_SEED)
