"""Bench of the memory model: a master made of stream drivers talks to it through plain wires."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
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

SIZE = 4096


def layout(stream: str):
    """Payload layout of one of the memory's streams."""
    return payload_layout(memory_signature().members[stream].signature)


class Master:
    """The core's side of the memory."""

    def __init__(self, dut, stalls: float):
        self.read = StreamSource(dut, "core__read_request", layout("read_request"), stalls=stalls)
        self.data = StreamSink(dut, "core__read_data", layout("read_data"), stalls=stalls)
        self.write = StreamSource(dut, "core__write_request", layout("write_request"))
        self.beats = StreamSource(dut, "core__write_data", layout("write_data"), stalls=stalls)
        self.done = StreamMonitor(dut, "core__write_done", layout("write_done"))


async def started(dut, **options):
    stalls = bench_parameters()["stalls"]
    memory = MemoryModel(dut, size=SIZE, stalls=stalls, **options)
    master = Master(dut, stalls)
    await start_clock(dut)
    return memory, master


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_and_writes(dut):
    """What is written is read; data come in the order of the requests."""
    memory, master = await started(dut)
    addresses = random.sample(range(0, SIZE, 64), 12)
    expected = bytearray(SIZE)
    for address in addresses:
        beats = random.randint(1, 8)
        words = [random.getrandbits(64) for _ in range(beats)]
        master.write.send({"address": address, "beats": beats})
        for index, word in enumerate(words):
            master.beats.send({"data": word, "last": index == beats - 1})
            expected[address + 8 * index : address + 8 * index + 8] = word.to_bytes(8, "little")
    await master.done.wait_for(len(addresses))
    assert memory.content == expected
    assert master.done.words == [{"error": 0}] * len(addresses)
    master.read.send(*({"address": address, "beats": 8} for address in addresses))
    await master.data.wait_for(8 * len(addresses))
    want = [expected[address + 8 * i :][:8] for address in addresses for i in range(8)]
    assert [word["data"].to_bytes(8, "little") for word in master.data.words] == want
    assert not any(word["error"] for word in master.data.words)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_are_answered(dut):
    """A word marked as bad answers with an error, its neighbours do not."""
    memory, master = await started(dut)
    memory.errors = {72}
    master.read.send({"address": 64, "beats": 3})
    await master.data.wait_for(3)
    assert [word["error"] for word in master.data.words] == [0, 1, 0]
    master.write.send({"address": 72, "beats": 1}, {"address": 80, "beats": 1})
    master.beats.send({"data": 1, "last": 1}, {"data": 2, "last": 1})
    await master.done.wait_for(2)
    assert [word["error"] for word in master.done.words] == [1, 0]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency_and_rate(dut):
    """At full speed the first beat comes `latency` cycles after its request, then one a cycle."""
    _, master = await started(dut, latency=20)
    if bench_parameters()["stalls"]:
        return
    for beats in ([5], [1, 7, 4]):
        await ClockCycles(dut.clk, 3)
        already = len(master.data.words)
        master.read.send(*({"address": 0, "beats": count} for count in beats))
        while not (dut.core__read_request__valid.value and dut.core__read_request__ready.value):
            await RisingEdge(dut.clk)
        start = _cycle()
        await master.data.wait_for(already + 1)
        assert _cycle() - start == 20
        await master.data.wait_for(already + sum(beats))
        assert _cycle() - start == 20 + sum(beats) - 1


def _cycle() -> int:
    return round(get_sim_time("ns")) // CLOCK_PERIOD
