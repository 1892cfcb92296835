"""The whole core under bad programs, aborts, memory errors and a silent memory."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from random_networks import random_case

from penstock.config import preset
from penstock.gold import runner as gold
from penstock.network import Classifier
from penstock.registers import Code
from penstock.sim.runner import build_root, run
from penstock.sim.simulate import Job, build_core, simulate, write_job

TESTS = 6


def classified_case(config):
    """A random program that ends with a classifier, so that memory shows what was computed."""
    rng = np.random.default_rng(5)
    while True:
        program, images = random_case(rng, config)
        if isinstance(program.network.layers[-1], Classifier) and len(program.descriptors) >= 4:
            return program, images


@pytest.mark.parametrize("name", ["tiny", "icebreaker"])
def test_faults_end_in_a_code_and_the_core_works_again(name):
    program, images = classified_case(preset(name))
    folder = build_root() / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=folder, prefix="faults-"))
    job = Job(program=program, images=images)
    logits = gold.run(program.network, images).output
    length = len(program.to_words())
    parameters = {
        "job": write_job(job, 0, folder),
        "expected": logits[0].astype("<i4").tobytes().hex(),
        "cycles": simulate(program, images, core_alone=True).cycles,
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
    run(
        build_core(preset(name)),
        "penstock.sim.tb_core_faults",
        parameters,
        tests=TESTS,
        seed=1,
        folder=folder,
    )
