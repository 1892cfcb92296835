"""Bench of the gate comparator unit, against gold.gate."""

import random

import cocotb
import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from penstock.gold.gate import gate
from penstock.hw.gate import LATENCY
from penstock.sim.pipelines import Pipeline
from penstock.sim.runner import bench_config
from penstock.sim.streams import start_clock

VECTORS = 600


@cocotb.test(timeout_time=100, timeout_unit="us")
async def strictly_above(dut):
    """Random sums, sums at and beside the threshold, extremes, always on and always off."""
    cfg = bench_config()
    low, high = -(1 << cfg.accumulator_bits - 1), (1 << cfg.accumulator_bits - 1) - 1
    sums = data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)
    pipeline = Pipeline(
        dut,
        "gate",
        {"partial_sums": (sums, 0), "thresholds": (sums, 0), "asked": (unsigned(cfg.rows), 0)},
        {"keep": unsigned(cfg.rows)},
    )
    await start_clock(dut)
    vectors, everywhere = [], (1 << cfg.rows) - 1
    for _ in range(VECTORS):
        threshold = random.choice([low, high, 0, -1, random.randint(low, high)])
        near = [min(max(threshold + step, low), high) for step in (-1, 0, 0, 1)]
        choices = [*near, low, high, random.randint(low, high)]
        vectors.append(
            {
                "thresholds": [threshold] * cfg.rows,
                "partial_sums": random.choices(choices, k=cfg.rows),
                "asked": random.choice([everywhere, everywhere, random.getrandbits(cfg.rows)]),
            }
        )
    results = await pipeline.run(vectors, LATENCY)
    psum = np.array([vector["partial_sums"] for vector in vectors], np.int64)
    thresholds = np.array([vector["thresholds"][0] for vector in vectors], np.int32)
    asked = np.array(
        [[vector["asked"] >> row & 1 for row in range(cfg.rows)] for vector in vectors]
    )
    expected = gate(psum.reshape(1, VECTORS, 1, cfg.rows), thresholds)[0, :, 0] & (asked == 1)
    assert (psum == thresholds[:, None]).sum() > VECTORS // 4  # ties are there
    got = [[result["keep"] >> row & 1 for row in range(cfg.rows)] for result in results]
    assert np.array_equal(np.array(got, bool), expected)
