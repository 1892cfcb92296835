"""Random networks on the whole core, bit by bit against the golden model."""

import numpy as np
import pytest
from random_networks import random_case, random_images

from penstock.config import Config, preset
from penstock.registers import Code
from penstock.sim.simulate import Job, compare, simulate_many

BATCHES = [
    *(("tiny", seed, 24) for seed in range(4)),
    *(("icebreaker", seed, 20) for seed in range(3)),
    *(("ulx3s-85f", seed, 24) for seed in range(3)),
]
"""(preset, seed, networks); those of one batch run one after the other without reset."""


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
    assert sum(count for _, _, count in BATCHES) >= 200


@pytest.mark.parametrize(("name", "seed", "count"), BATCHES)
def test_random_networks_are_bit_exact(name, seed, count):
    config = preset(name)
    rng = np.random.default_rng(seed)
    jobs = [random_job(rng, config) for _ in range(count)]
    runs = simulate_many(jobs, seed=seed)
    for index, (job, run) in enumerate(zip(jobs, runs, strict=True)):
        where = f"{name} seed {seed} network {index}"
        assert run.code == Code.OK, f"{where}: {run.code.name}, {run.counters}"
        for each in compare(run, job.program, job.images, job.gating):
            assert each.mismatches == 0, f"{where}: {each}, {run.errors}"
        assert_cycles_are_explained(run.counters, where)


def assert_cycles_are_explained(counters: dict[str, int], where: str):
    """Every cycle of a run has a step or one cause why not."""
    explained = sum(
        value
        for name, value in counters.items()
        if name.startswith("STALL_") or name.endswith("_STEPS")
    )
    assert abs(counters["CYCLES"] - explained) <= 2, f"{where}: {counters}"
