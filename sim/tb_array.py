"""Bench of the channel-gating array: sums of groups of steps, base and conditional."""

import random

import cocotb
import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from penstock.hw.array import sum_latency
from penstock.sim.pipelines import Pipeline
from penstock.sim.runner import bench_config
from penstock.sim.streams import start_clock

GROUPS = 80


def random_step(cfg, rng: np.random.Generator) -> dict:
    """Operands and weights of one step; a quarter of the steps at the extremes."""
    operands = rng.integers(-128, 256, (cfg.rows, cfg.lanes))
    weights = rng.integers(-128, 128, cfg.lanes)
    if rng.random() < 0.25:
        operands[:] = rng.choice([-128, 255])
        weights[:] = rng.choice([-128, 127])
    return {"operands": operands, "weights": weights}


@cocotb.test(timeout_time=60, timeout_unit="us")
async def groups_are_summed(dut):
    """Groups of one to six steps back to back; conditional ones start from their stored sums."""
    cfg = bench_config()
    sums = data.ArrayLayout(signed(cfg.accumulator_bits), cfg.rows)
    operand = signed(cfg.activation_bits + 1)
    late = sum_latency(cfg)
    pipeline = Pipeline(
        dut,
        "array",
        {
            "operands": (data.ArrayLayout(data.ArrayLayout(operand, cfg.lanes), cfg.rows), 0),
            "weights": (data.ArrayLayout(signed(cfg.weight_bits), cfg.lanes), 0),
            "first": (unsigned(cfg.rows), late),
            "conditional": (unsigned(1), late),
            "stored": (sums, late),
        },
        {"sums": sums},
    )
    await start_clock(dut)
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    limit = 1 << cfg.accumulator_bits - 2
    vectors, expected = [], {}
    for _ in range(GROUPS):
        conditional = bool(rng.integers(2))
        stored = rng.integers(-limit, limit, cfg.rows)
        total = stored if conditional else np.zeros(cfg.rows, np.int64)
        for step in range(random.randint(1, 6)):
            operands = random_step(cfg, rng)
            total = total + operands["operands"] @ operands["weights"]
            first = (1 << cfg.rows) - 1 if step == 0 else 0
            tag = {"first": first, "conditional": conditional, "stored": stored}
            vectors.append({**operands, **tag})
        assert abs(total).max() < 2 * limit
        expected[len(vectors) - 1] = total.tolist()  # only the last step's sums are of use
    results = await pipeline.run(vectors, late + 1)
    got = {index: results[index]["sums"] for index in expected}
    assert got == expected
