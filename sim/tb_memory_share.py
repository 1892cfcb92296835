"""Bench of two clients on one memory: each sees its own content, none waits for ever."""

import random

import cocotb
from cocotb.triggers import RisingEdge
from cocotb.utils import get_sim_time

from penstock.hw.layouts import memory_signature
from penstock.sim.memory import MemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    payload_layout,
    start_clock,
)

SIZE = 8192
HALF = SIZE // 2


def layout(stream: str):
    """Payload layout of one of the memory's streams."""
    return payload_layout(memory_signature().members[stream].signature)


class Client:
    """One of the two, with a half of the memory to write, and what it must hold."""

    def __init__(self, dut, index: int, stalls: float):
        name = f"share__{('core', 'link')[index]}"
        self.first = index * HALF
        self.content = bytearray(HALF)
        options = {"stalls": stalls, "seed": index}
        self.read = StreamSource(dut, f"{name}__read_request", layout("read_request"), **options)
        self.data = StreamSink(dut, f"{name}__read_data", layout("read_data"), **options)
        self.write = StreamSource(dut, f"{name}__write_request", layout("write_request"), **options)
        self.beats = StreamSource(dut, f"{name}__write_data", layout("write_data"), **options)
        self.done = StreamMonitor(dut, f"{name}__write_done", layout("write_done"))
        self.writes = 0

    def start_write(self, address: int, beats: int):
        """Ask for a write of random words; `content` has them at once."""
        self.write.send({"address": self.first + address, "beats": beats})
        for index in range(beats):
            word = random.getrandbits(64)
            self.beats.send({"data": word, "last": index == beats - 1})
            start = address + 8 * index
            self.content[start : start + 8] = word.to_bytes(8, "little")
        self.writes += 1

    def start_read(self, address: int, beats: int) -> list[dict]:
        """Ask for words; what must come."""
        self.read.send({"address": self.first + address, "beats": beats})
        return [
            {"data": int.from_bytes(self.content[start : start + 8], "little"), "error": 0}
            for start in range(address, address + 8 * beats, 8)
        ]


async def started(dut, **options):
    stalls = bench_parameters()["stalls"]
    memory = MemoryModel(dut, "share__memory", size=SIZE, stalls=stalls, **options)
    clients = [Client(dut, index, stalls) for index in range(2)]
    await start_clock(dut)
    return memory, clients


def random_burst() -> tuple[int, int]:
    """(address, beats) of a burst within 512 bytes, from a multiple of 64 on."""
    beats = random.choice((1, 2, 8, random.randint(1, 64)))
    address = random.randrange(0, HALF, 512) + 64 * random.randint(0, (64 - beats) // 8)
    return address, beats


async def work(client: Client, rounds: int):
    """Writes, all answered, then reads of them, and reads while others write."""
    expected = []
    for _ in range(rounds):
        for _ in range(random.randint(0, 4)):
            client.start_write(*random_burst())
        await client.done.wait_for(client.writes)
        for _ in range(random.randint(0, 6)):
            expected += client.start_read(*random_burst())
        await client.data.wait_for(len(expected))
    assert client.data.words == expected
    assert len(client.done.words) == client.writes


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(latency=[2, 32])
async def each_has_its_own(dut, latency):
    """Both read and write at random: data and answers reach whoever asked."""
    memory, clients = await started(dut, latency=latency)
    tasks = [cocotb.start_soon(work(client, 12)) for client in clients]
    for task in tasks:
        await task
    assert memory.content == clients[0].content + clients[1].content


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(patient=[0, 1])
async def nobody_starves(dut, patient):
    """While one asks without a pause the other waits for little more than its requests' time."""
    _, clients = await started(dut, latency=10)
    greedy, other = clients[1 - patient], clients[patient]
    for _ in range(60):
        greedy.start_write(0, 16)
        greedy.start_read(0, 16)
    for _ in range(5):
        for _ in range(100):
            await RisingEdge(dut.clk)
        began = get_sim_time("ns")
        other.start_write(0, 1)
        await other.done.wait_for(other.writes)
        expected = other.start_read(0, 1)
        await other.data.wait_for(other.writes)
        cycles = (get_sim_time("ns") - began) / CLOCK_PERIOD
        assert cycles < 250 * (1 + 4 * bench_parameters()["stalls"]), f"{cycles} cycles"
        assert other.data.words[-1:] == expected
    assert len(greedy.done.words) < 60, "the greedy one must still be asking"
    await greedy.done.wait_for(60)
    await greedy.data.wait_for(60 * 16)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def errors_reach_their_client(dut):
    """An error of a read or write is told to the client that asked, to no other."""
    memory, clients = await started(dut)
    memory.errors = {0, HALF + 64}
    for client in clients:
        for block in range(4):
            client.start_write(64 * block, 2)
            client.start_read(64 * block, 2)
    for client, wrong in zip(clients, (0, 1), strict=True):
        await client.done.wait_for(4)
        await client.data.wait_for(8)
        assert [word["error"] for word in client.done.words] == [b == wrong for b in range(4)]
        assert [word["error"] for word in client.data.words] == [
            beat == 2 * wrong for beat in range(8)
        ]
