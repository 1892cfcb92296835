"""The cycle model against counts by hand and the golden model's MACs."""

import dataclasses

import numpy as np
import pytest
from random_networks import random_case

from penstock import cycles
from penstock.bench import single_layer
from penstock.compiler import compile_network
from penstock.config import PRESETS, Config, preset
from penstock.cycles import estimate
from penstock.errors import PenstockError
from penstock.gold.runner import run
from penstock.network import INPUT, Convolution, Network, Pool, Shape

ULX3S = preset("ulx3s-85f")
LEVELS = 6  # of the adder tree of 36 lanes
TO_WRITE = cycles.WRITE_LATENCY + LEVELS + ULX3S.rows - 1
TAIL = TO_WRITE + 1 + cycles.LAYER_OVERHEAD
"""Cycles of a layer behind its last step, where the write queue is otherwise empty."""


def bench_case(channels: int, size: int, density: float, config: Config = ULX3S):
    network, images = single_layer(channels, size, density, np.random.default_rng(1))
    golden = run(network, images)
    return compile_network(network, config), golden, {"layer": golden.decisions["layer"][0]}


@pytest.mark.parametrize("channels, size", [(16, 32), (32, 16), (64, 8)])
def test_bench_layers_at_both_ends(channels, size):
    """With no active output only base steps remain; a dense run has all steps.

    Between the four groups, the table's next entry takes longer than a block of few steps.
    """
    steps = channels * size**2 // ULX3S.rows * channels // ULX3S.word
    program, golden, decisions = bench_case(channels, size, 0)
    assert not golden.decisions["layer"].any()
    base, dense = (
        3 * max(1 + cycles.GROUP_LATENCY - block, 0) for block in (channels // 16, channels // 4)
    )
    assert estimate(program, decisions).cycles == steps // 4 + base + TAIL
    assert estimate(program, {}, gating=False).cycles == steps + dense + TAIL
    program, golden, decisions = bench_case(channels, size, 1)
    assert golden.decisions["layer"].all()
    gated, dense = estimate(program, decisions), estimate(program, decisions, gating=False)
    assert gated.layers[0].base_steps + gated.layers[0].conditional_steps == steps
    assert steps < gated.cycles <= 1.05 * dense.cycles


@pytest.mark.parametrize("channels, size", [(16, 32), (32, 16), (64, 8)])
@pytest.mark.parametrize("density", [0.25, 0.5, 0.75])
def test_bench_layers_between(channels, size, density):
    """Densities are as asked for, and the model stays within the project's bound."""
    program, golden, decisions = bench_case(channels, size, density)
    assert abs(golden.decisions["layer"].mean() - density) < 0.02
    layer = estimate(program, decisions).layers[0]
    active = decisions["layer"].sum(axis=(1, 2))
    conditional = channels // ULX3S.word * 3 // 4
    assert layer.conditional_steps == (-(-active // ULX3S.rows)).sum() * conditional
    assert layer.ideal <= layer.cycles <= 1.08 * layer.ideal


@pytest.mark.parametrize("name", PRESETS)
def test_random_networks(name):
    """MACs are the golden model's, cycles add up, and no layer beats its ideal."""
    for seed in range(25):
        program, images = random_case(np.random.default_rng(seed), preset(name))
        for gating in (True, False):
            golden = run(program.network, images[:1], gating)
            decisions = {key: value[0] for key, value in golden.decisions.items()}
            result = estimate(program, decisions, gating)
            assert sum(layer.macs for layer in result.layers) == golden.macs_executed[0]
            assert result.cycles == sum(layer.cycles for layer in result.layers)
            assert 0 <= result.utilization < 1
            for layer in result.layers:
                steps = layer.base_steps + layer.conditional_steps
                parts = steps + layer.idle + layer.drain + layer.overhead + layer.waiting
                assert layer.cycles == parts
                assert min(layer.idle, layer.drain, layer.waiting) >= 0


def test_short_task_queue_costs_cycles():
    """The queue delays base groups, never tasks: the same steps, more idle cycles."""
    short = dataclasses.replace(ULX3S, queue_groups=8)
    program, _, decisions = bench_case(16, 32, 0.5)
    bounded, _, _ = bench_case(16, 32, 0.5, short)
    long, tight = (estimate(each, decisions).layers[0] for each in (program, bounded))
    assert tight.conditional_steps == long.conditional_steps
    assert tight.idle > 10 * long.idle


@pytest.mark.parametrize("spread", [True, False])
def test_write_conflicts(spread):
    """Sixteen tasks a channel: in nine banks they cost nothing, in one bank four cycles a group."""
    channels, side = 8, 12
    program, decisions = conflict_case(channels, side, spread)
    base, tasks = channels * side**2 // 4, channels * 16 // 4
    result = estimate(program, decisions)
    busy = base + 4 * tasks  # cycles of the write port without the final, undisturbed groups
    assert result.layers[0].base_steps + result.layers[0].conditional_steps == base + tasks
    if spread:
        assert result.cycles < base + tasks + TAIL + 30
    else:
        assert result.cycles > busy


def conflict_case(channels: int, side: int, spread: bool):
    layer = Convolution(
        name="layer",
        source=INPUT,
        weights=np.ones((channels, channels, 3, 3), np.int8),
        multipliers=np.ones(channels, np.int16),
        bias=np.zeros(channels, np.int64),
        shift=8,
        low=0,
        high=255,
        padding=(1, 1, 1, 1),
        groups=2,
        thresholds=np.zeros(channels, np.int32),
    )
    shape = Shape(channels=channels, height=side, width=side, signed=False)
    network = Network(name="conflicts", input=shape, input_scale=1.0, layers=(layer,))
    decisions = np.zeros((channels, side, side), bool)
    if spread:
        decisions[:, :4, :4] = True  # whole blocks of four banks each
    else:
        decisions[:, ::3, ::3] = True  # side is a multiple of 3: one bank
    return compile_network(network, ULX3S), {"layer": decisions}


def test_fused_pooling_keeps_few_channels_open():
    """A channel opens when the one before the last is written: pairs follow each other."""
    shape = Shape(channels=4, height=2, width=2, signed=False)
    layer = Convolution(
        name="layer",
        source=INPUT,
        weights=np.ones((6, 4, 3, 3), np.int8),
        multipliers=np.ones(6, np.int16),
        bias=np.zeros(6, np.int64),
        shift=8,
        low=0,
        high=255,
        padding=(1, 1, 1, 1),
    )
    pool = Pool(name="pool", source="layer", kind="average", multiplier=64, shift=8)
    network = Network(name="pooled", input=shape, input_scale=1.0, layers=(layer, pool))
    config = dataclasses.replace(ULX3S, pool_channels=2)
    written = 1 + TO_WRITE + 1  # step, way to the pooling, a cycle there
    expected = 3 * written + 1 + cycles.LAYER_OVERHEAD  # three pairs, one step apart
    assert estimate(compile_network(network, config), {}).cycles == expected


def test_streamed_weights_are_waited_for():
    """A small layer waits for the weights of a large next one."""
    shape = Shape(channels=4, height=1, width=1, signed=False)
    sizes = ((4, 4), (64, 4))
    layers = tuple(
        Convolution(
            name=f"layer{index}",
            source=f"layer{index - 1}" if index else INPUT,
            weights=np.ones((*size, 1, 1), np.int8),
            multipliers=np.ones(size[0], np.int16),
            bias=np.zeros(size[0], np.int64),
            shift=8,
            low=0,
            high=255,
        )
        for index, size in enumerate(sizes)
    )
    network = Network(name="streamed", input=shape, input_scale=1.0, layers=layers)
    config = dataclasses.replace(ULX3S, weights="streamed")
    first, second = estimate(compile_network(network, config), {}).layers
    assert first.cycles == cycles.STREAM_LATENCY + 64 * config.weight_beats
    assert first.waiting > 0 and second.waiting == 0
    assert estimate(compile_network(network, ULX3S), {}).layers[0].waiting == 0


def test_refuses_missing_and_foreign_decisions():
    program, _, decisions = bench_case(16, 32, 0.5)
    with pytest.raises(PenstockError) as error:
        estimate(program, {})
    assert str(error.value) == "layer layer: decisions must be bool (16, 32, 32), not none"
    with pytest.raises(PenstockError) as error:
        estimate(program, {"layer": decisions["layer"][:8]})
    assert (
        str(error.value) == "layer layer: decisions must be bool (16, 32, 32), not bool (8, 32, 32)"
    )
