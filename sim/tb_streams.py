"""Bench of the stream drivers themselves, on a buffer from stream ``i`` to stream ``o``."""

import random

import cocotb
from amaranth.hdl import signed
from amaranth.lib import data
from cocotb.utils import get_sim_time

from penstock.sim.runner import bench_parameters
from penstock.sim.streams import (
    CLOCK_PERIOD,
    StreamMonitor,
    StreamSink,
    StreamSource,
    start_clock,
    unpack,
)

LAYOUT = data.StructLayout(
    {"signed": signed(8), "nested": data.ArrayLayout(data.StructLayout({"low": 3, "high": 1}), 2)}
)
WORDS = 200


@cocotb.test(timeout_time=200, timeout_unit="us")
async def words_pass_in_order(dut):
    """Every word arrives once, in order; at full speed in one cycle a word and a short latency."""
    stalls = bench_parameters()
    dut.fault.value = stalls.pop("fault")
    source = StreamSource(dut, "i", LAYOUT, stalls=stalls["source"], seed=1)
    sink = StreamSink(dut, "o", LAYOUT, stalls=stalls["sink"], seed=2)
    taken = StreamMonitor(dut, "i", LAYOUT)
    await start_clock(dut)
    words = [unpack(LAYOUT, random.getrandbits(LAYOUT.size)) for _ in range(WORDS)]
    start = get_sim_time("ns")
    source.send(*words)
    await sink.wait_for(WORDS)
    cycles = (get_sim_time("ns") - start) / CLOCK_PERIOD
    await source.drained()
    assert taken.words == words
    assert sink.words == words
    if not any(stalls.values()):
        assert cycles <= WORDS + 4
    else:
        assert cycles >= WORDS / (1 - max(stalls.values())) * 0.8
