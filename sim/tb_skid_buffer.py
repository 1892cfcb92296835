"""Bench of SkidBuffer: order, rate, no latency, and a ready that follows nothing within a cycle."""

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from penstock.sim.axi_blocks import WORDS, block_test, pass_words
from penstock.sim.axi_clients import check_registered
from penstock.sim.streams import StreamSink, StreamSource, start_clock


@block_test()
async def words_pass_in_order(dut, fault):
    """Every word, in order; a sink that always can refuses none."""
    dut.fault.value = fault
    await pass_words(dut, "skid", check_ready)


async def check_ready(dut, source: StreamSource, sink: StreamSink):
    """A sink without stalls, none is refused."""
    while len(sink.words) < WORDS - 1:
        await RisingEdge(dut.clk)
        assert sink.stalls or dut.skid__i__ready.value


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
