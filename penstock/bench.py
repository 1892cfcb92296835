"""What gating saves in cycles, over what MAC counts promise: layers in RTL, arrays in the model."""

import dataclasses

import numpy as np

from penstock.compiler import compile_network
from penstock.config import Config
from penstock.cycles import estimate
from penstock.gold import runner as gold
from penstock.gold.convolution import base_path
from penstock.network import INPUT, Convolution, Network, Shape
from penstock.report import design_figures

SHAPES = ((1, 1), (2, 2), (2, 4), (4, 2), (4, 4), (9, 2), (4, 8), (9, 4), (6, 8))
"""Rows and channels per word of the arrays that the cycle model compares."""

GROUPS = 4
PADDING = (1, 1, 1, 1)
SHIFT = 12
LAYERS = ((16, 32), (32, 16), (64, 8))
"""Channels and size of the measured layers: those of a ResNet-20 on 32x32 pixels."""

DENSITIES = (0, 0.25, 0.5, 0.75, 1)
"""Share of the outputs that take the conditional path."""

ALWAYS_ON = -(2**25)


def single_layer(
    channels: int, size: int, density: float, rng: np.random.Generator
) -> tuple[Network, np.ndarray]:
    """A gated 3x3 layer of ``channels`` to ``channels`` on a random ``size`` x ``size`` image.

    Each channel's threshold lets a binomial number of its outputs on that image take the
    conditional path, ``density`` of them on average; none at 0 and all at 1. Returns the network
    and images (1, channels, size, size) uint8.
    """
    images = rng.integers(0, 256, (1, channels, size, size), dtype=np.uint8)
    weights = rng.integers(-127, 128, (channels, channels, 3, 3), dtype=np.int8)
    psum = base_path(images, weights, GROUPS, 1, PADDING)[0].reshape(channels, -1)
    layer = Convolution(
        name="layer",
        source=INPUT,
        weights=weights,
        multipliers=rng.integers(1, 16, channels).astype(np.int16),
        bias=rng.integers(-(2**12), 2**19, channels),
        shift=SHIFT,
        low=0,
        high=255,
        padding=PADDING,
        groups=GROUPS,
        thresholds=_thresholds(psum, density, rng),
    )
    shape = Shape(channels=channels, height=size, width=size, signed=False)
    return Network(name="bench", input=shape, input_scale=1.0, layers=(layer,)), images


def _thresholds(psum: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Thresholds (C,) int32 for psum (C, pixels), with a binomial number of pixels above each.

    The same number in every channel would fill the groups of tasks better than a real network does.
    """
    pixels = psum.shape[1]
    ordered = np.sort(psum, axis=1)[:, ::-1]
    counts = rng.binomial(pixels, density, len(psum))
    thresholds = [
        ALWAYS_ON if count == pixels else channel[count]
        for channel, count in zip(ordered, counts, strict=True)
    ]
    return np.array(thresholds, np.int32)


def gating(config: Config, seed: int = 0) -> dict:
    """Measure each layer at each density in the RTL, behind AXI, gating on and off.

    Cycles run from the layer's first base fetch to its last write, input and weights on chip.
    ``ratio`` = cycles / (executed MACs / multipliers); ``model_*`` are the cycle model's figures.
    Every output is compared with the golden model: ``mismatches``. Raises PenstockError where a
    layer does not fit the configuration.
    """
    from penstock.sim.simulate import Job, compare, simulate_many

    rng = np.random.default_rng(seed)
    cases = []
    for channels, size in LAYERS:
        for density in DENSITIES:
            network, images = single_layer(channels, size, density, rng)
            program = compile_network(network, config)
            cases.append((network, images, program))
    jobs = [
        Job(program=program, images=images, gating=gating)
        for _, images, program in cases
        for gating in (True, False)
    ]
    runs = simulate_many(jobs, seed=seed)
    differences = [
        sum(each.mismatches for each in compare(run, job.program, job.images, job.gating))
        for job, run in zip(jobs, runs, strict=True)
    ]
    rows = [
        _row(config, case, runs[2 * index : 2 * index + 2], sum(differences[2 * index :][:2]))
        for index, case in enumerate(cases)
    ]
    return {
        "config": config.name,
        **design_figures(config),
        "multipliers": config.multipliers,
        "seed": seed,
        "rows": rows,
    }


def _row(config: Config, case, runs, mismatches: int) -> dict:
    network, images, program = case
    golden = gold.run(network, images)
    decisions = {name: taken[0] for name, taken in golden.decisions.items()}
    layer = network.layers[0]
    macs = int(golden.macs_executed[0])
    cycles, cycles_dense = (int(run.layer_cycles[0, 0]) for run in runs)
    models = [
        estimate(program, decisions, gating=gating).layers[0].running for gating in (True, False)
    ]
    return {
        "channels": layer.weights.shape[0],
        "size": images.shape[2],
        "density": float(decisions[layer.name].mean()),
        "cycles": cycles,
        "cycles_dense": cycles_dense,
        "macs_executed": macs,
        "ratio": cycles * config.multipliers / macs,
        "ratio_to_dense": cycles / cycles_dense,
        "utilization_dense": golden.macs_dense / (cycles_dense * config.multipliers),
        "model_cycles": models[0],
        "model_cycles_dense": models[1],
        "mismatches": mismatches,
    }


def sizes(config: Config, network: Network, images: np.ndarray) -> dict:
    """Cycles of a network on arrays of other SHAPES, by the cycle model, on the images' own masks.

    images (N, C, H, W) as the network takes them. Memories are taken as large enough; everything
    else is as in ``config``. Each row has cycles per image with gating on and off, speed-up,
    efficiency and utilization.
    """
    golden = gold.run(network, images)
    masks = [
        {name: taken[index] for name, taken in golden.decisions.items()}
        for index in range(len(images))
    ]
    executed = float(golden.macs_executed.mean())
    rows = []
    for array_rows, word in SHAPES:
        shape = dataclasses.replace(
            config,
            name=f"{array_rows}x{9 * word}",
            rows=array_rows,
            word=word,
            map_words=2048,
            weight_words=65536,
            weights="resident",
        )
        program = compile_network(network, shape)
        cycles = float(np.mean([estimate(program, mask).cycles for mask in masks]))
        dense = estimate(program, {}, gating=False).cycles
        rows.append(
            {
                "rows": array_rows,
                "lanes": shape.lanes,
                "multipliers": shape.multipliers,
                "cycles_gated": cycles,
                "cycles_dense": dense,
                "speedup": dense / cycles,
                "efficiency": dense / cycles * executed / golden.macs_dense,
                "utilization": executed / (cycles * shape.multipliers),
                "utilization_dense": golden.macs_dense / (dense * shape.multipliers),
            }
        )
    return {"network": network.name, "images": len(images), "rows": rows}
