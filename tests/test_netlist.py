"""What synthesis makes of the compact core computes as the golden model says."""

import dataclasses
import json

import numpy as np
from random_networks import random_case, random_images

from penstock.config import preset
from penstock.gold import runner as gold
from penstock.hw.compact.core import CompactCore
from penstock.memory_map import MemoryMap
from penstock.network import Classifier
from penstock.registers import Code
from penstock.sim.netlist import build_netlist
from penstock.sim.runner import run, run_folder
from penstock.sim.simulate import CORE_BENCH, Job, simulate_many, write_job

CONFIG = preset("icebreaker")
NETWORKS = 3


def gated_cases(count: int) -> list[Job]:
    """Random networks with open and closed gates, their results in memory: each way, two images."""
    rng, jobs = np.random.default_rng(11), []
    while len(jobs) < 2 * count:
        program, images = random_case(rng, CONFIG, cycles=4000)
        images = np.concatenate([images, random_images(rng, program.network.input, 1)])
        decisions = gold.run(program.network, images).decisions.values()
        some = any(0 < each.mean() < 1 for each in decisions)
        if some and isinstance(program.network.layers[-1], Classifier):
            jobs += [Job(program=program, images=images, gating=way) for way in (True, False)]
    return jobs


def test_netlist_of_the_compact_core():
    jobs = gated_cases(NETWORKS)
    build = build_netlist(CompactCore(dataclasses.replace(CONFIG, target="ice40")))
    folder = run_folder("netlist")
    parameters = {"jobs": [write_job(job, index, folder) for index, job in enumerate(jobs)]}
    run(build, CORE_BENCH, parameters, tests=1, folder=folder)
    results = json.loads((folder / "results.json").read_text())
    simulated = simulate_many(jobs, core_alone=True)
    for index, (job, result, rtl) in enumerate(zip(jobs, results, simulated, strict=True)):
        assert result["code"] == Code.OK
        logits = MemoryMap(job.program, len(job.images)).logits(
            (folder / f"output_{index}").read_bytes()
        )
        golden = gold.run(job.program.network, job.images, job.gating)
        np.testing.assert_array_equal(logits, golden.output)
        assert result["counters"] == rtl.counters  # cycles and tasks among them
