"""Bench of the requantizer, against gold.requantize."""

import random

import cocotb
import numpy as np
from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from cocotb.triggers import ClockCycles

from penstock.gold.requantize import requantize
from penstock.hw.requantizer import LATENCY, RESIDUAL_DELAY, scale_layout
from penstock.sim.pipelines import Pipeline
from penstock.sim.runner import bench_config
from penstock.sim.streams import pack, start_clock

VECTORS = 40
BATCHES = 40
CONSTANTS = {
    "residual_multiplier": signed(16),
    "relu_before_add": unsigned(1),
    "raw": unsigned(1),
    "layer_scale": scale_layout(),
    "pool_scale": scale_layout(),
}


def requantizer(dut, cfg) -> Pipeline:
    rows = cfg.rows
    return Pipeline(
        dut,
        "requantizer",
        {
            "sums": (data.ArrayLayout(signed(cfg.accumulator_bits), rows), 0),
            "multipliers": (data.ArrayLayout(signed(16), rows), 0),
            "bias": (signed(40), 0),
            "pooled": (unsigned(1), 0),
            "residual": (data.ArrayLayout(signed(9), rows), RESIDUAL_DELAY),
        },
        {"values": data.ArrayLayout(unsigned(8), rows), "word": signed(32)},
    )


async def set_constants(dut, **constants):
    """Set what holds for a whole layer, and let the pipeline take it."""
    for name, value in constants.items():
        getattr(dut, f"requantizer__{name}").value = pack(CONSTANTS[name], value)
    await ClockCycles(dut.clk, LATENCY)


def random_scale() -> dict[str, int]:
    low, high = random.choice([(-128, 127), (0, 255), (0, 127), (-7, 5), (3, 3)])
    return {
        "shift": random.choice([1, 2, 3, 8, 16, random.randint(1, 31), 31]),
        "low": low,
        "high": high,
    }


def random_vector(cfg, scale: dict[str, int], residuals: tuple[int, int], kind: str) -> dict:
    """Operands of one cycle; ``ties`` lie halfway between two results."""
    low, high = -(1 << cfg.accumulator_bits - 1), (1 << cfg.accumulator_bits - 1) - 1
    vector = {"pooled": random.random() < 0.2}
    vector["residual"] = random.choices([*residuals, 0, random.randint(*residuals)], k=cfg.rows)
    if kind == "extremes":
        vector["sums"] = random.choices([low, high, -1, 0, 1], k=cfg.rows)
        vector["multipliers"] = [random.choice([-(2**15), 2**15 - 1, 1, -1])] * cfg.rows
        vector["bias"] = random.choice([-(2**39), 2**39 - 1, 0])
    elif kind == "ties":
        shift = min(scale["shift"], 20)
        steps = random.choices(range(-300, 300), k=cfg.rows)
        wanted = [(step << shift) + (1 << shift - 1) for step in steps]
        vector["sums"] = [min(max(value, low), high) for value in wanted]
        vector["multipliers"] = [random.choice([1, -1])] * cfg.rows
        vector["bias"] = 0
    else:
        vector["sums"] = [
            random.randint(low, high) >> random.randrange(20) for _ in range(cfg.rows)
        ]
        vector["multipliers"] = [random.randint(-(2**15), 2**15 - 1)] * cfg.rows
        vector["bias"] = random.randint(-(2**39), 2**39 - 1) >> random.randrange(39)
    return vector


def golden(vectors: list[dict], pooled: bool, constants: dict, is_signed: bool) -> np.ndarray:
    """What gold/ makes of each vector, as an activation or a pooled mean: (vectors, rows) int64."""
    psum = np.array([vector["sums"] for vector in vectors], np.int64)
    multiplier = np.array([vector["multipliers"][0] for vector in vectors], np.int16)
    bias = np.array([vector["bias"] for vector in vectors], np.int64)
    scale = constants["pool_scale" if pooled else "layer_scale"]
    residual = np.array([vector["residual"] for vector in vectors])
    residual = residual.astype(np.int8 if is_signed else np.uint8)[None, :, None]
    options = {
        "residual": residual,
        "residual_multiplier": constants["residual_multiplier"],
        "relu_before_add": bool(constants["relu_before_add"]),
    }
    result = requantize(
        psum[None, :, None], multiplier, bias, **scale, **({} if pooled else options)
    )
    return result[0, :, 0].astype(np.int64)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def equals_gold(dut):
    """All shifts and bounds, ties, extremes, residuals of both signs, pooled means in between."""
    cfg = bench_config()
    pipeline = requantizer(dut, cfg)
    await start_clock(dut)
    for batch in range(BATCHES):
        is_signed = bool(batch & 1)
        residuals = (-128, 127) if is_signed else (0, 255)
        constants = {
            "residual_multiplier": random.choice([0, 1, -(2**15), random.randint(-999, 999)]),
            "relu_before_add": random.getrandbits(1),
            "raw": 0,
            "layer_scale": random_scale(),
            "pool_scale": random_scale(),
        }
        kind = ("random", "ties", "extremes")[batch % 3]
        if kind == "ties":
            constants["residual_multiplier"] = 0
        await set_constants(dut, **constants)
        vectors = [
            random_vector(cfg, constants["layer_scale"], residuals, kind) for _ in range(VECTORS)
        ]
        results = await pipeline.run(vectors, LATENCY)
        values = np.array([result["values"] for result in results])
        plain, mean = (golden(vectors, pooled, constants, is_signed) for pooled in (False, True))
        pooled = np.array([vector["pooled"] for vector in vectors])[:, None]
        assert np.array_equal(values, np.where(pooled, mean, plain) & 0xFF), (batch, constants)


@cocotb.test(timeout_time=60, timeout_unit="us")
async def classifier_words(dut):
    """Raw layers return sum + bias of the first row, as signed 32 bits, neither rounded nor cut."""
    cfg = bench_config()
    pipeline = requantizer(dut, cfg)
    await start_clock(dut)
    scale = {"shift": 1, "low": 0, "high": 0}
    await set_constants(
        dut, residual_multiplier=0, relu_before_add=0, raw=1, layer_scale=scale, pool_scale=scale
    )
    high = (1 << cfg.accumulator_bits - 1) - 1
    room = 2**31 - 1 - high
    vectors = []
    for _ in range(200):
        sums = random.choices([-high - 1, high, -1, 0, random.randint(-high, high)], k=cfg.rows)
        bias = random.choice([-room, room, 0, -1, random.randint(-room, room)])
        vectors.append(
            {
                "sums": sums,
                "bias": bias,
                "multipliers": [1] * cfg.rows,
                "pooled": 0,
                "residual": [0] * cfg.rows,
            }
        )
    results = await pipeline.run(vectors, LATENCY)
    assert [result["word"] for result in results] == [
        vector["sums"][0] + vector["bias"] for vector in vectors
    ]
