"""Random networks on accelerators and on the core alone, bit by bit against the golden model."""

import dataclasses

import numpy as np
import pytest
from random_networks import ONE_ROW, random_case, random_images
from run_checks import fault_of

from penstock.config import Config, preset
from penstock.sim.simulate import Job, simulate_many

TINY, ULX3S = preset("tiny"), preset("ulx3s-85f")
STREAMED = dataclasses.replace(TINY, name="tiny-streamed", weights="streamed")
BATCHES = [
    *((TINY, False, seed, 24) for seed in range(2)),
    (dataclasses.replace(STREAMED, axi_bits=32), False, 2, 24),
    (dataclasses.replace(STREAMED, axi_bits=128), False, 3, 24),
    *((ONE_ROW, True, seed, 20) for seed in range(3)),
    *((ULX3S, False, seed, 24) for seed in range(3)),
]
"""(configuration, whether its core alone, seed, networks).

The networks of one batch run one after the other without reset.
"""


def random_job(rng: np.random.Generator, config: Config) -> Job:
    """A random network that fits, its calibration images (with ties) and others, random stalls."""
    program, images = random_case(rng, config)
    more = random_images(rng, program.network.input, int(rng.integers(1, 3)))
    return Job(
        program=program,
        images=np.concatenate([images, more]),
        gating=bool(rng.random() < 0.8),
        latency=int(rng.integers(1, 48)),
        stalls=float(rng.choice([0.0, 0.3, 0.7])),
    )


def test_two_hundred_networks_are_run():
    assert sum(count for *_, count in BATCHES) >= 200
    widths = {config.axi_bits for config, core_alone, *_ in BATCHES if not core_alone}
    assert widths == {32, 64, 128}


def name(config: Config, core_alone: bool, seed: int, count: int) -> str:
    design = "core" if core_alone else f"axi{config.axi_bits}"
    return f"{config.name} {design} seed {seed}"


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: name(*batch))
def test_random_networks_are_bit_exact(batch):
    config, core_alone, seed, count = batch
    rng = np.random.default_rng(seed)
    jobs = [random_job(rng, config) for _ in range(count)]
    runs = simulate_many(jobs, seed=seed, core_alone=core_alone)
    for index, (job, run) in enumerate(zip(jobs, runs, strict=True)):
        where = f"{name(*batch)} network {index}"
        assert fault_of(job, run) is None, where
