"""The whole accelerator under faults of every kind, with cocotbext-axi at both of its ports."""

import dataclasses
import json

import pytest
from axi_cases import STREAMED, bench_job, small_case, wide_case

from penstock.config import preset
from penstock.program import WORD_BYTES
from penstock.registers import Code
from penstock.sim.runner import run
from penstock.sim.simulate import build_accelerator

TESTS = 13
CONFIGS = {
    "resident-64": (preset("tiny"), 0.0),
    "streamed-128": (dataclasses.replace(STREAMED, axi_bits=128), 0.3),
}
"""Configuration, and the probability of a stall."""


@pytest.mark.parametrize("name", CONFIGS)
def test_faults_end_in_a_code_and_the_accelerator_works_again(name, tmp_path):
    config, stalls = CONFIGS[name]
    cases = [small_case(config, seed=4), small_case(config, seed=3), wide_case(config)]
    jobs = [bench_job(*case, tmp_path, index) for index, case in enumerate(cases)]
    program = cases[0][0]
    length = len(program.to_words())
    streamed = config.weights == "streamed"
    parameters = {
        "bits": config.axi_bits,
        "jobs": jobs,
        "latency": (0, 30),
        "stalls": stalls,
        "weight_words": streamed * len(program.weights) * config.weight_beats,
        "input_bytes": program.header["input_beats"] * WORD_BYTES,
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
    build = build_accelerator(config)
    run(build, "penstock.sim.tb_axi_faults", parameters, tests=TESTS, seed=1, folder=tmp_path)
    reached = json.loads((tmp_path / "codes.json").read_text())
    assert set(reached) == {code.name for code in Code}
