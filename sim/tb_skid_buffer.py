"""Bench of SkidBuffer: order, rate, no latency, and a ready that follows nothing within a cycle."""

import random

import cocotb
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from penstock.sim.axi_blocks import SLICE_BITS, block_test
from penstock.sim.axi_clients import check_registered
from penstock.sim.streams import StreamMonitor, StreamSink, StreamSource, start_clock

WORDS = 400


@block_test()
async def words_pass_in_order(dut, fault):
    """Every word, in order; a sink that always can refuses none."""
    dut.fault.value = fault
    source = StreamSource(dut, "skid__i", SLICE_BITS, seed=1)
    sink = StreamSink(dut, "skid__o", SLICE_BITS, seed=2)
    taken = StreamMonitor(dut, "skid__i", SLICE_BITS)
    await start_clock(dut)
    for stalls in ((0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3), (0.7, 0.3), (0.1, 0.9), (0, 0)):
        source.stalls, sink.stalls = stalls
        sink.words.clear()
        taken.words.clear()
        await ClockCycles(dut.clk, 3)  # a stall that was drawn before
        source.send(*(random.getrandbits(SLICE_BITS) for _ in range(WORDS)))
        while len(sink.words) < WORDS:
            await RisingEdge(dut.clk)
            assert sink.stalls or dut.skid__i__ready.value, "full rate"
        await ClockCycles(dut.clk, 5)
        assert sink.words == taken.words


@block_test()
async def no_latency(dut, fault):
    """A word is offered in the cycle in which it comes; one waits inside, the next one outside."""
    dut.fault.value = fault
    dut.skid__i__valid.value = dut.skid__o__ready.value = 0
    await start_clock(dut)
    for word, valid in ((1, 1), (2, 1), (2, 1)):
        dut.skid__i__valid.value, dut.skid__i__payload.value = valid, word
        await FallingEdge(dut.clk)
        assert (dut.skid__o__valid.value, dut.skid__o__payload.value) == (1, 1)
        assert dut.skid__i__ready.value == (word == 1)
        await RisingEdge(dut.clk)
    dut.skid__o__ready.value = 1
    await RisingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert (dut.skid__o__valid.value, dut.skid__o__payload.value) == (1, 2)
    assert dut.skid__i__ready.value


@block_test()
async def ready_is_a_register(dut, fault):
    """No combinational path to ``i.ready``."""
    dut.fault.value = fault
    await start_clock(dut)
    inputs = [dut.skid__i__valid, dut.skid__i__payload, dut.skid__o__ready]
    outputs = [dut.skid__i__ready]
    await check_registered(dut.clk, inputs, outputs, cycles=500, seed=cocotb.RANDOM_SEED)
