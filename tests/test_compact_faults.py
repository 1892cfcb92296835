"""The compact engine under bad programs, aborts, memory errors and a silent memory."""

import numpy as np
from random_networks import random_case
from test_core_faults import TESTS

from penstock.config import preset
from penstock.gold import runner as gold
from penstock.network import Classifier
from penstock.registers import Code
from penstock.sim.runner import run, run_folder
from penstock.sim.simulate import Job, build_core, simulate_many, write_job

CONFIG = preset("icebreaker")


def test_faults_end_in_a_code_and_the_engine_works_again():
    rng = np.random.default_rng(5)
    while True:
        program, images = random_case(rng, CONFIG, cycles=5000)
        if isinstance(program.network.layers[-1], Classifier) and len(program.layers) >= 4:
            break
    folder, build = run_folder("faults"), build_core(CONFIG)
    job = Job(program=program, images=images)
    (good,) = simulate_many([job], core_alone=True, build=build)
    length = len(program.to_words())
    parameters = {
        "job": write_job(job, 0, folder),
        "expected": gold.run(program.network, images).output[0].astype("<i4").tobytes().hex(),
        "cycles": good.cycles,
        "corruptions": [
            (0, 1, Code.BAD_MAGIC),
            (0, 1 << 31, Code.BAD_MAGIC),
            (0, 1 << 32, Code.BAD_VERSION),
            (1, 1, Code.BAD_CONFIG),
            (1, 1 << 31, Code.BAD_CONFIG),
            (1, 1 << 32, Code.BAD_LENGTH),
            (1, 1 << 60, Code.BAD_LENGTH),
            (3, 1 << 16, Code.BAD_CRC),
            (8, 1 << 20, Code.BAD_CRC),
            (length - 1, 1 << 63, Code.BAD_CRC),
        ],
    }
    run(build, "penstock.sim.tb_core_faults", parameters, tests=TESTS, seed=1, folder=folder)
