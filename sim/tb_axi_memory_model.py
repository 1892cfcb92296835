"""Bench of the AXI memory model: a master talks to it through plain wires, 32 to 128 bits wide."""

import random

import cocotb

from penstock.hw.axi import Response
from penstock.sim.axi_master import AxiMaster
from penstock.sim.axi_memory import AxiMemoryModel
from penstock.sim.runner import bench_parameters
from penstock.sim.streams import start_axi_clock

SIZE = 8192
OKAY, SLVERR, DECERR = (Response[name].value for name in ("OKAY", "SLVERR", "DECERR"))


async def started(dut, **options) -> tuple[AxiMemoryModel, AxiMaster]:
    bits, stalls = bench_parameters()["bits"], bench_parameters()["stalls"]
    memory = AxiMemoryModel(dut, f"memory{bits}", size=SIZE, stalls=stalls, **options)
    master = AxiMaster(dut, f"master{bits}", stalls=stalls, seed=1)
    await start_axi_clock(dut)
    return memory, master


def fields(words: list[dict[str, int]], name: str) -> list[int]:
    return [word[name] for word in words]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def reads_and_writes(dut):
    """What is written is read, bytes without a strobe are kept, data come in order."""
    memory, master = await started(dut)
    memory.content = bytearray(random.randbytes(SIZE))
    expected = bytearray(memory.content)
    size = master.bytes
    bursts = [(address, random.randint(1, 512 // size)) for address in range(0, SIZE, 512)]
    random.shuffle(bursts)
    for start, beats in bursts:
        data = [random.randbytes(size) for _ in range(beats)]
        strobes = [random.choice([0, (1 << size) - 1, random.getrandbits(size)]) for _ in data]
        master.write(start, [int.from_bytes(beat, "little") for beat in data], strobes)
        for index, (beat, strobe) in enumerate(zip(data, strobes, strict=True)):
            for lane in range(size):
                if strobe >> lane & 1:
                    expected[start + index * size + lane] = beat[lane]
    await master.wait_for("b", len(bursts))
    assert memory.content == expected
    assert fields(master.received["b"], "resp") == [OKAY] * len(bursts)
    assert memory.beats_written == sum(beats for _, beats in bursts)

    for start, beats in bursts:
        master.read(start, beats)
    addresses = [start + size * index for start, beats in bursts for index in range(beats)]
    await master.wait_for("r", len(addresses))
    words = master.received["r"]
    want = [int.from_bytes(expected[address : address + size], "little") for address in addresses]
    assert fields(words, "data") == want
    lasts = [index == beats - 1 for _, beats in bursts for index in range(beats)]
    assert fields(words, "last") == lasts
    assert {(word["resp"], word["id"]) for word in words} == {(OKAY, 0)}
    assert memory.beats_read == len(addresses)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def errors_are_answered(dut):
    """SLVERR for a word marked as bad, DECERR for addresses without a memory; nobody else."""
    memory, master = await started(dut)
    size = master.bytes
    end = SIZE - 16
    memory.content = bytearray(b"\xff" * end)
    bad = 1024 + 8
    memory.errors = {bad}
    master.read(1024, 32 // size)
    master.read(end - size, 2)
    master.read(SIZE, 1)
    await master.wait_for("r", 32 // size + 3)
    touched = [start < bad + 8 and bad < start + size for start in range(1024, 1056, size)]
    responses = [SLVERR if each else OKAY for each in touched]
    assert fields(master.received["r"], "resp") == [*responses, OKAY, DECERR, DECERR]
    assert fields(master.received["r"], "data")[-3:] == [(1 << 8 * size) - 1, 0, 0]

    master.write(1024, [0] * (32 // size))
    master.write(1056, [0])
    master.write(end - size, [0, 0])
    await master.wait_for("b", 3)
    assert fields(master.received["b"], "resp") == [SLVERR, OKAY, DECERR]
    assert memory.content[1056:] == bytes(size) + b"\xff" * (end - 1056 - 2 * size) + bytes(size)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency_and_rate(dut):
    """At full speed an answer comes `latency` cycles after its request, then a beat each cycle.

    Reads and writes do not hold up each other.
    """
    if bench_parameters()["stalls"]:
        return
    _, master = await started(dut, latency=20)
    beats = 12
    for _ in range(2):
        master.read(0, beats)
        master.write(0, [1] * beats)
    await master.wait_for("r", 2 * beats)
    await master.wait_for("b", 2)
    asked, sent = fields(master.sent["ar"], "cycle"), fields(master.sent["w"], "cycle")
    first = asked[0] + 20
    assert asked[1] < first
    assert fields(master.received["r"], "cycle") == list(range(first, first + 2 * beats))
    assert fields(master.received["b"], "cycle") == [
        sent[beats - 1] + 20,
        sent[2 * beats - 1] + 20,
    ]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_channel_stalls(dut):
    """A master at full speed is held up by a memory that is not, on each channel."""
    stalls = bench_parameters()["stalls"]
    if not stalls:
        return
    _, master = await started(dut, latency=1)
    master.stalls = 0
    bursts, beats = 20, 4
    for _ in range(bursts):
        master.read(0, beats)
        master.write(0, [0] * beats)
    await master.wait_for("r", bursts * beats)
    await master.wait_for("b", bursts)
    for channel, words in (*master.sent.items(), *master.received.items()):
        cycles = fields(words, "cycle")
        assert cycles[-1] - cycles[0] > len(words), channel
    ends = fields(master.sent["w"], "cycle")[beats - 1 :: beats]
    answers = zip(ends, fields(master.received["b"], "cycle"), strict=True)
    assert any(answer > end + 1 for end, answer in answers)
