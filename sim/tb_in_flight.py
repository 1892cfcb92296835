"""Bench of the tags on their way through the array: each group finds its own, in order."""

import random
from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from penstock.hw.in_flight import GROUPS, READ_LATENCY
from penstock.hw.layouts import group_tag_layout
from penstock.sim.runner import bench_config
from penstock.sim.streams import start_clock

TAGS = 600
SHORTEST_WAY = 4
"""Cycles from a push to its pull; the array's are more."""
LONGEST_WAY = GROUPS - READ_LATENCY - 1
"""The array's are fewer."""


async def check(dut, spacing: float, way: int):
    """Groups after random pauses, each pulled ``way`` cycles after its push."""
    cfg = bench_config()
    layout = group_tag_layout(cfg)
    dut.in_flight__push.value = 0
    dut.in_flight__pull.value = 0
    await start_clock(dut)
    edge = RisingEdge(dut.clk)
    tags = [random.getrandbits(layout.size) for _ in range(TAGS)]
    waiting, pulls, heads = deque(tags), deque(), deque()
    head, cycle, seen = None, 0, 0
    while seen < TAGS or heads:
        push = bool(waiting) and random.random() >= spacing
        dut.in_flight__push.value = push
        tag = waiting.popleft() if push else random.getrandbits(layout.size)
        dut.in_flight__tag.value = tag
        if push:
            pulls.append((cycle + way, tag))
        pull = bool(pulls) and pulls[0][0] == cycle
        dut.in_flight__pull.value = pull
        if pull:
            heads.append((cycle + READ_LATENCY, pulls.popleft()[1]))
        assert len(pulls) <= GROUPS
        await edge
        if heads and heads[0][0] == cycle:
            head = heads.popleft()[1]
            seen += 1
        if head is not None:
            assert int(dut.in_flight__head.value) == head, f"group {seen - 1}"
        cycle += 1


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(spacing=[0.0, 0.3, 0.9])
async def tags_in_order(dut, spacing):
    """Every head is the tag of its group until the next one, whatever the pauses."""
    await check(dut, spacing, random.randint(SHORTEST_WAY, LONGEST_WAY))


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(short=[True, False])
async def nearest_and_farthest(dut, short):
    """With the shortest way, and with every place taken until its tag has been used."""
    await check(dut, 0.0, SHORTEST_WAY if short else LONGEST_WAY)
