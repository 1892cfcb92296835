"""The whole core under bad programs, aborts, memory errors and a silent memory."""

from pathlib import Path

import numpy as np
import pytest
from random_networks import ONE_ROW, random_case

from penstock.config import preset
from penstock.gold import runner as gold
from penstock.network import Classifier
from penstock.program import Program
from penstock.registers import Code
from penstock.sim.runner import Build, run, run_folder
from penstock.sim.simulate import Job, build_core, simulate_many, write_job

TESTS = 6


def classified_case(config):
    """A random program that ends with a classifier, so that memory shows what was computed."""
    rng = np.random.default_rng(5)
    while True:
        program, images = random_case(rng, config)
        if isinstance(program.network.layers[-1], Classifier) and len(program.descriptors) >= 4:
            return program, images


def core_fault_parameters(program: Program, images: np.ndarray, folder: Path, build: Build) -> dict:
    """What the bench takes: a program of more than 200 words that ends with a classifier."""
    job = Job(program=program, images=images)
    logits = gold.run(program.network, images).output
    length = len(program.to_words())
    (run,) = simulate_many([job], core_alone=True, build=build)
    return {
        "job": write_job(job, 0, folder),
        "expected": logits[0].astype("<i4").tobytes().hex(),
        "cycles": run.cycles,
        "corruptions": [
            (0, 1, Code.BAD_MAGIC),
            (0, 1 << 32, Code.BAD_VERSION),
            (1, 1, Code.BAD_CONFIG),
            (1, 1 << 32, Code.BAD_LENGTH),
            (3, 1 << 16, Code.BAD_LENGTH),
            (2, 1, Code.BAD_CRC),
            (8, 1 << 20, Code.BAD_CRC),
            (length - 1, 1 << 63, Code.BAD_CRC),
        ],
    }


@pytest.mark.parametrize("config", [preset("tiny"), ONE_ROW], ids=lambda config: config.name)
def test_faults_end_in_a_code_and_the_core_works_again(config):
    program, images = classified_case(config)
    folder = run_folder("faults")
    build = build_core(config)
    parameters = core_fault_parameters(program, images, folder, build)
    run(build, "penstock.sim.tb_core_faults", parameters, tests=TESTS, seed=1, folder=folder)
