"""Bench of RegisterSlice: order, rate, and nothing that passes from side to side at once."""

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.sim.axi_blocks import SLICE_BITS, WORDS, block_test, pass_words
from penstock.sim.axi_clients import check_registered, cycle
from penstock.sim.streams import StreamMonitor, StreamSink, StreamSource, start_clock


@block_test()
async def words_pass_in_order(dut, fault):
    """Every word, in order; a side that always can, always does: the rate is full."""
    dut.fault.value = fault
    await pass_words(dut, "slice", check_rate)


async def check_rate(dut, source: StreamSource, sink: StreamSink):
    """A source without stalls leaves no cycle without a word; a sink without, none is refused."""
    await RisingEdge(dut.slice__o__valid)
    while len(sink.words) < WORDS - 1:
        await RisingEdge(dut.clk)
        assert source.stalls or dut.slice__o__valid.value or len(sink.words) >= WORDS - 1
        assert sink.stalls or dut.slice__i__ready.value


@block_test()
async def it_holds_two(dut, fault):
    """Latency of one cycle; two words wait in it, a third outside."""
    dut.fault.value = fault
    source = StreamSource(dut, "slice__i", SLICE_BITS)
    monitor = StreamMonitor(dut, "slice__i", SLICE_BITS)
    dut.slice__o__ready.value = 0
    await start_clock(dut)
    source.send(1, 2, 3)
    await monitor.wait_for(1)
    begun = cycle()
    await RisingEdge(dut.slice__o__valid)
    assert cycle() == begun  # valid to whoever looks at the next edge
    await ClockCycles(dut.clk, 20)
    assert monitor.words == [1, 2]
    sink = StreamSink(dut, "slice__o", SLICE_BITS)
    await sink.wait_for(3)
    assert sink.words == [1, 2, 3]


@block_test()
async def both_sides_are_registered(dut, fault):
    """No combinational path from an input to an output."""
    dut.fault.value = fault
    await start_clock(dut)
    inputs = [dut.slice__i__valid, dut.slice__i__payload, dut.slice__o__ready]
    outputs = [dut.slice__o__valid, dut.slice__o__payload, dut.slice__i__ready]
    await check_registered(dut.clk, inputs, outputs, cycles=500, seed=cocotb.RANDOM_SEED)
