"""Bench of multipliers and memories made of ECP5's primitives."""

import random

import cocotb
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from cocotb.triggers import RisingEdge

from penstock.hw.multiplier import LATENCY
from penstock.hw.ram import LATENCY as RAM_LATENCY
from penstock.sim.ecp5_blocks import MEMORIES, MULTIPLIERS
from penstock.sim.pipelines import Pipeline
from penstock.sim.streams import start_clock

VECTORS = 300
WRITES = 400


def random_number(bits: int) -> int:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return random.choice([low, high, 0, -1, 1, random.randint(low, high)])


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(block=list(MULTIPLIERS))
async def products_are_exact(dut, block):
    """Random operands and extremes, a vector a cycle."""
    count, left, right = MULTIPLIERS[block].values()
    vector = {"left": left, "right": right}
    pipeline = Pipeline(
        dut,
        block,
        {name: (data.ArrayLayout(signed(bits), count), 0) for name, bits in vector.items()},
        {"product": data.ArrayLayout(signed(left + right), count)},
    )
    await start_clock(dut)
    vectors = [
        {name: [random_number(bits) for _ in range(count)] for name, bits in vector.items()}
        for _ in range(VECTORS)
    ]
    results = await pipeline.run(vectors, LATENCY)
    assert [result["product"] for result in results] == [
        [a * b for a, b in zip(v["left"], v["right"], strict=True)] for v in vectors
    ]


@cocotb.test(timeout_time=100, timeout_unit="us")
@cocotb.parametrize(block=list(MEMORIES))
async def words_are_kept(dut, block):
    """Writes to random addresses and lanes; then those words, in random order, a read a cycle."""
    size = {"lanes": 1} | MEMORIES[block]
    depth, width, lanes = size["depth"], size["width"], size["lanes"]
    ports = {n: getattr(dut, f"{block}__write_{n}") for n in ("enable", "address", "data")}
    ports["enable"].value = 0
    address = unsigned(ceil_log2(depth))
    pipeline = Pipeline(dut, block, {"read_address": (address, 0)}, {"read_data": unsigned(width)})
    await start_clock(dut)
    part = width // lanes
    content = [[0] * lanes for _ in range(depth)]
    edges = [address for end in range(0, depth + 1, 512) for address in (end - 1, end)]
    addresses = {address for address in edges if 0 <= address < depth}
    addresses |= set(random.sample(range(depth), min(depth, 70)))
    for _ in range(WRITES // 40):
        for _ in range(40):
            write = {
                "enable": random.getrandbits(lanes),
                "address": random.choice(list(addresses)),
                "data": random.getrandbits(width),
            }
            for name, value in write.items():
                ports[name].value = value
            for lane in range(lanes):
                if write["enable"] >> lane & 1:
                    value = write["data"] >> part * lane & (1 << part) - 1
                    content[write["address"]][lane] = value
            await RisingEdge(dut.clk)
        ports["enable"].value = 0
        reads = random.sample(list(addresses), len(addresses))
        results = await pipeline.run([{"read_address": each} for each in reads], RAM_LATENCY)
        assert [result["read_data"] for result in results] == [
            sum(value << part * lane for lane, value in enumerate(content[each])) for each in reads
        ]
