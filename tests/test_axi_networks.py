"""Whole networks on the accelerator, with cocotbext-axi as memory and host, bit by bit."""

import dataclasses

import numpy as np
import pytest
from axi_cases import STREAMED
from random_networks import random_case
from run_checks import fault_of

from penstock.compiler import compile_network
from penstock.config import preset
from penstock.images import held_out_digits
from penstock.network import SHIPPED, load_network
from penstock.sim.simulate import Job, simulate_many

BENCH = "penstock.sim.tb_axi_networks"
TINY, ULX3S = preset("tiny"), preset("ulx3s-85f")
CONFIGS = {
    "resident-64": TINY,
    "streamed-32": dataclasses.replace(STREAMED, axi_bits=32),
    "streamed-128": dataclasses.replace(STREAMED, axi_bits=128),
}
NETWORKS = 6
IMAGES = 8


@pytest.mark.parametrize("name", CONFIGS)
def test_random_networks(name):
    config = CONFIGS[name]
    rng = np.random.default_rng(config.axi_bits)
    jobs = []
    for number in range(NETWORKS):
        program, images = random_case(rng, config, cycles=4000)
        stalls, latency = (0.0, 32) if number == 0 else (0.4, int(rng.integers(1, 40)))
        gating = bool(rng.random() < 0.8)
        jobs.append(
            Job(program=program, images=images, gating=gating, latency=latency, stalls=stalls)
        )
    runs = simulate_many(jobs, seed=config.axi_bits, bench=BENCH)
    for number, (job, run) in enumerate(zip(jobs, runs, strict=True)):
        assert fault_of(job, run) is None, f"{name} network {number}"


@pytest.mark.parametrize("weights", ["resident", "streamed"])
def test_digits(weights):
    """The shipped network at its size: eight images of one start, under stalls."""
    config = dataclasses.replace(ULX3S, weights=weights)
    program = compile_network(load_network(SHIPPED["digits"]), config)
    images, labels = held_out_digits(IMAGES)
    job = Job(program=program, images=images, latency=32, stalls=0.3)
    (run,) = simulate_many([job], seed=1, bench=BENCH)
    assert fault_of(job, run) is None, f"digits, weights {weights}"
    assert (run.logits.argmax(axis=1) == labels).sum() >= IMAGES - 1
    print(f"\n{weights}: {run.cycles:,} cycles, {run.speed:,.0f} cycles/s")
