"""Bench of the global average pooling: exact sums, channels interleaved as gating leaves them."""

import random

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from penstock.hw.pool import pool_input_layout, pooled_layout
from penstock.sim.runner import bench_config
from penstock.sim.streams import StreamSink, pack, start_clock


def random_pointer() -> dict:
    return {"u": random.randrange(3), "v": random.randrange(3), "address": random.randrange(99)}


def channel_groups(cfg, channel: int, pixels: int, is_signed: bool) -> tuple[list[dict], dict]:
    """The groups in which one channel's values come, and the sum that must leave."""
    low, high = (-128, 127) if is_signed else (0, 255)
    constants = {"channel": channel, "pointer": random_pointer(), "lane": channel % cfg.word}
    groups, total, left = [], 0, pixels
    while left:
        count = random.randint(1, min(cfg.rows, left))
        rows = set(random.sample(range(cfg.rows), count))
        values = random.choices([low, high, 0, random.randint(low, high)], k=cfg.rows)
        total += sum(values[row] for row in rows)
        valid = sum(1 << row for row in rows)
        groups.append({**constants, "values": [v & 0xFF for v in values], "valid": valid})
        left -= count
    sums = {"sum": total, "pointer": constants["pointer"], "lane": constants["lane"]}
    return groups, sums


async def pool_layer(dut, sink, pixels: int, channels: int, is_signed: bool, idle: float):
    """Send all groups, no more channels open at once than the pooling has places for."""
    cfg = bench_config()
    dut.pool__pixels.value = pixels
    dut.pool__signed.value = is_signed
    dut.pool__restart.value = 1
    await RisingEdge(dut.clk)
    dut.pool__restart.value = 0
    await RisingEdge(dut.clk)
    already = len(sink.words)
    expected, unopened, opened = [], [], []
    for channel in range(channels):
        groups, sums = channel_groups(cfg, channel, pixels, is_signed)
        unopened.append(groups)
        expected.append(sums)
    begun = 0
    while unopened or opened:
        room = cfg.pool_channels - (begun - (len(sink.words) - already))
        if unopened and room > 0 and (not opened or random.random() < 0.3):
            opened.append(unopened.pop(0))
            begun += 1
        send = opened and random.random() >= idle
        dut.pool__i__valid.value = bool(send)
        if send:
            groups = random.choice(opened)
            dut.pool__i__payload.value = pack(pool_input_layout(cfg), groups.pop(0))
            opened = [groups for groups in opened if groups]
        await RisingEdge(dut.clk)
    dut.pool__i__valid.value = 0
    await sink.wait_for(already + channels)
    await ClockCycles(dut.clk, 10)
    assert sink.words[already:] == expected


@cocotb.test(timeout_time=120, timeout_unit="us")
@cocotb.parametrize(stalls=[0.0, 0.8], idle=[0.0, 0.5])
async def sums_are_exact(dut, stalls, idle):
    """Layers of one to many pixels and channels, signed and not, one after the other."""
    cfg = bench_config()
    dut.pool__i__valid.value = 0
    dut.pool__restart.value = 0
    sink = StreamSink(dut, "pool__o", pooled_layout(cfg), stalls=stalls, seed=4)
    await start_clock(dut)
    for is_signed in (False, True):
        for pixels, channels in ((1, 1), (1, 9), (2, 5), (7, 20), (64, 6)):
            await pool_layer(dut, sink, pixels, channels, is_signed, idle)
