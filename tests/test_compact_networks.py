"""The compact engine on networks, bit by bit against the golden model, its cycles as modelled."""

import numpy as np
import pytest
from random_networks import random_case, random_images

from penstock.compact_cycles import estimate_stream
from penstock.compiler import compile_network
from penstock.config import preset
from penstock.gold import runner as gold
from penstock.images import held_out_digits
from penstock.network import SHIPPED, load_network
from penstock.registers import Code
from penstock.sim.simulate import Job, Run, compare, simulate_many

CONFIG = preset("icebreaker")
BATCHES = [(seed, 12) for seed in range(2)]
"""(seed, networks); the networks of one batch run one after the other without reset."""


def check_values(job: Job, run: Run):
    """Every tensor, counter and write is the golden model's."""
    assert run.code == Code.OK, run.counters
    for each in compare(run, job.program, job.images, job.gating):
        assert not each.mismatches, (each, run.errors)
    assert run.counters["IMAGE"] == len(job.images)


def check_cycles(job: Job, run: Run):
    """Each layer, and each image but the last, takes the cycles of the model."""
    decisions = gold.run(job.program.network, job.images).decisions
    for image in range(len(job.images)):
        taken = {name: each[image] for name, each in decisions.items()}
        model = estimate_stream(job.program, taken, job.gating, job.latency)
        assert run.layer_cycles[image].tolist() == [layer.running for layer in model.layers]
        if image < len(job.images) - 1:
            assert run.image_cycles[image] == model.cycles


def test_digits_gating_on_and_off():
    program = compile_network(load_network(SHIPPED["digits"]), CONFIG)
    images, _ = held_out_digits(1, 0)
    jobs = [Job(program=program, images=images, gating=way, latency=4) for way in (True, False)]
    gated, dense = runs = simulate_many(jobs, core_alone=True)
    for job, run in zip(jobs, runs, strict=True):
        check_values(job, run)
        check_cycles(job, run)
    reduction = gold.run(program.network, images).mac_reduction
    assert dense.cycles / gated.cycles / reduction > 0.9


@pytest.mark.parametrize("seed, count", BATCHES)
def test_random_networks_are_bit_exact(seed, count):
    rng = np.random.default_rng(seed)
    jobs = []
    for _ in range(count):
        program, images = random_case(rng, CONFIG, cycles=5000)
        more = random_images(rng, program.network.input, 1)
        jobs.append(
            Job(
                program=program,
                images=np.concatenate([images, more]),
                gating=bool(rng.random() < 0.7),
                latency=int(rng.integers(2, 48)),
                stalls=float(rng.choice([0.0, 0.0, 0.4])),
            )
        )
    runs = simulate_many(jobs, seed=seed, core_alone=True)
    for index, (job, run) in enumerate(zip(jobs, runs, strict=True)):
        try:
            check_values(job, run)
            if not job.stalls:
                check_cycles(job, run)
        except AssertionError as error:
            raise AssertionError(f"seed {seed} network {index}: {error}") from None
